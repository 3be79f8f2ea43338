-- A device as the API shows it is made once for each revision, not for each list that it stands in.
ALTER TABLE device ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;

-- Whoever forgets to count is told by the first test, not by a list that shows what was.
CREATE TRIGGER device_revision_counts BEFORE UPDATE ON device WHEN new.revision <= old.revision BEGIN
    SELECT raise(ABORT, 'every change of a device counts in its revision');
END;

-- How far its newest wish is, is shown with it.
CREATE TRIGGER device_sync_counts_as_inserted AFTER INSERT ON device_sync BEGIN
    UPDATE device SET revision = revision + 1 WHERE id = new.device_id;
END;

CREATE TRIGGER device_sync_counts_as_updated AFTER UPDATE ON device_sync BEGIN
    UPDATE device SET revision = revision + 1 WHERE id = new.device_id;
END;

-- Another device of that DevEUI is wanted now.
CREATE TRIGGER device_sync_counts_as_moved AFTER UPDATE OF device_id ON device_sync
WHEN new.device_id <> old.device_id BEGIN
    UPDATE device SET revision = revision + 1 WHERE id = old.device_id;
END;

CREATE TRIGGER device_sync_counts_as_deleted AFTER DELETE ON device_sync BEGIN
    UPDATE device SET revision = revision + 1 WHERE id = old.device_id;
END;
