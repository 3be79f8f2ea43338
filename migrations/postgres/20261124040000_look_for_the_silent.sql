-- An uplink moved its device within the index of those that are to count as silent one day, and so its row had to be
-- entered anew in all indexes. Now that index is by when the device was last heard as of the last look, which happens
-- once in the time that it may be silent, and an uplink changes no indexed column.

-- Rows are changed below, and the owner sees none otherwise.
SELECT set_config('downbeat.scope', 'platform', true);

ALTER TABLE device ADD COLUMN last_seen_at_look bigint, DROP COLUMN silent_from;

UPDATE device SET last_seen_at_look = last_seen WHERE last_seen IS NOT NULL;

ALTER TABLE device
    -- As it was: a column, because under row-level security an index serves comparisons of columns and no arithmetic.
    ADD COLUMN silent_from bigint
        GENERATED ALWAYS AS (last_seen_at_look + 2 * least(uplink_interval_ms, 1000000000000000)) STORED;

DROP INDEX device_silent_idx;
CREATE INDEX device_silent_idx ON device (last_seen_at_look) WHERE presence = 'online' AND uplink_interval_ms IS NULL;
CREATE INDEX device_silent_own_idx ON device (silent_from) WHERE presence = 'online' AND uplink_interval_ms IS NOT NULL;
