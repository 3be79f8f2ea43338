-- An uplink moved its device within the index of those that are to count as silent one day. Now that index is by when
-- the device was last heard as of the last look, which happens once in the time that it may be silent.
ALTER TABLE device ADD COLUMN last_seen_at_look INTEGER;

UPDATE device SET revision = revision + 1, last_seen_at_look = last_seen WHERE last_seen IS NOT NULL;

DROP INDEX device_silent_idx;
CREATE INDEX device_silent_idx ON device (last_seen_at_look) WHERE presence = 'online' AND uplink_interval_ms IS NULL;
DROP INDEX device_silent_own_idx;
CREATE INDEX device_silent_own_idx ON device (last_seen_at_look + 2 * uplink_interval_ms)
    WHERE presence = 'online' AND uplink_interval_ms IS NOT NULL;
