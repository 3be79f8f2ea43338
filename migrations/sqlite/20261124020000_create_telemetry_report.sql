-- Decoded fields again, one row for each report in place of one for each field: of a light's 13 fields each lay in a page of its own
-- to be written, read back and written again. What is in `telemetry` stays there, is read along with this, and is gone when it
-- has been kept long enough.

CREATE TABLE telemetry_report (
    device_id BLOB    NOT NULL,
    at        INTEGER NOT NULL,
    tenant_id BLOB    NOT NULL,
    -- A JSON object: numbers and texts by the fields' paths.
    fields    TEXT    NOT NULL,
    CONSTRAINT telemetry_report_pkey PRIMARY KEY (device_id, at),
    CONSTRAINT telemetry_report_is_object CHECK (json_type(fields) = 'object')
) STRICT, WITHOUT ROWID;

-- What is old enough is deleted.
CREATE INDEX telemetry_report_at_idx ON telemetry_report (at);
