-- Wishes for ChirpStack: one for each DevEUI of a network server that it is to hold, or was to hold until its absence is
-- confirmed.
--
-- What is wanted is not told here: it is the registered device of that DevEUI, if it names an application and a device
-- profile; else its absence. The registry writes the wish (`generation`, `force`) and sets the rest to the beginning;
-- whoever carries it out writes the rest.

CREATE TABLE device_sync (
    network_server_id BLOB    NOT NULL,
    dev_eui           TEXT    NOT NULL,
    tenant_id         BLOB    NOT NULL CONSTRAINT device_sync_tenant_fkey REFERENCES tenant (id),
    -- The device that was wanted last. Not a reference: it stays when that one is deleted.
    device_id         BLOB    NOT NULL,
    generation        INTEGER NOT NULL,
    force             INTEGER NOT NULL DEFAULT 0 CONSTRAINT device_sync_force_is_bool CHECK (force IN (0, 1)),
    machine           TEXT,
    synced_generation INTEGER NOT NULL DEFAULT 0,
    sync_state        TEXT    NOT NULL DEFAULT 'pending',
    sync_error        TEXT,
    sync_attempts     INTEGER NOT NULL DEFAULT 0,
    next_attempt_at   INTEGER,
    -- There is something to do without a new wish.
    unfinished        INTEGER NOT NULL DEFAULT 1
                              CONSTRAINT device_sync_unfinished_is_bool CHECK (unfinished IN (0, 1)),
    CONSTRAINT device_sync_pkey PRIMARY KEY (network_server_id, dev_eui)
) STRICT, WITHOUT ROWID;

CREATE INDEX device_sync_tenant_idx ON device_sync (tenant_id);
CREATE INDEX device_sync_unfinished_idx ON device_sync (network_server_id, next_attempt_at, dev_eui)
    WHERE unfinished = 1;

-- Where generations come from. One counter for all, which never goes back: a DevEUI that was gone and is wanted again has
-- a greater generation than any it had, so nothing that was under way for the old wish passes for the new one.
CREATE TABLE sync_generation (
    id   INTEGER NOT NULL CONSTRAINT sync_generation_pkey PRIMARY KEY
                 CONSTRAINT sync_generation_is_one_row CHECK (id = 1),
    last INTEGER NOT NULL
) STRICT;

INSERT INTO sync_generation (id, last) VALUES (1, 1);

INSERT INTO device_sync (network_server_id, dev_eui, tenant_id, device_id, generation)
SELECT network_server_id, dev_eui, tenant_id, id, 1 FROM device
WHERE dev_eui IS NOT NULL AND chirpstack_app_id IS NOT NULL AND device_profile_id IS NOT NULL;
