-- Decoded fields of uplinks over time, kept for a while. A device's field is one contiguous stretch, in the order of time.

CREATE TABLE telemetry (
    device_id BLOB    NOT NULL,
    field     TEXT    NOT NULL,
    at        INTEGER NOT NULL,
    tenant_id BLOB    NOT NULL,
    number    REAL,
    text      TEXT,
    CONSTRAINT telemetry_pkey PRIMARY KEY (device_id, field, at),
    CONSTRAINT telemetry_is_one_value CHECK ((number IS NULL) <> (text IS NULL))
) STRICT, WITHOUT ROWID;

-- What is old enough is deleted.
CREATE INDEX telemetry_at_idx ON telemetry (at);
