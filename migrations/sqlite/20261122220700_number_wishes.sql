-- What follows from a change by itself, so that a registration is few statements: a wish's generation is one more than
-- the last of all, and a device that is registered is not unclaimed.

CREATE TRIGGER device_sync_is_numbered AFTER INSERT ON device_sync BEGIN
    UPDATE sync_generation SET last = new.generation WHERE last < new.generation;
END;

CREATE TRIGGER device_sync_is_numbered_anew AFTER UPDATE OF generation ON device_sync BEGIN
    UPDATE sync_generation SET last = new.generation WHERE last < new.generation;
END;

CREATE TRIGGER device_is_claimed AFTER INSERT ON device WHEN new.dev_eui IS NOT NULL BEGIN
    DELETE FROM unclaimed WHERE dev_eui = new.dev_eui AND network_server_id = new.network_server_id;
END;

CREATE TRIGGER device_claims_another AFTER UPDATE OF dev_eui ON device
WHEN new.dev_eui IS NOT NULL AND new.dev_eui IS NOT old.dev_eui BEGIN
    DELETE FROM unclaimed WHERE dev_eui = new.dev_eui AND network_server_id = new.network_server_id;
END;
