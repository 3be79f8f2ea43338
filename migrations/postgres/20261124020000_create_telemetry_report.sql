-- Decoded fields again, one row for each report in place of one for each field: of a light's 13 fields each lay in a page of its own
-- to be written. What is in `telemetry` stays there, is read along with this, and is gone when it has been kept long enough.

CREATE TABLE telemetry_report (
    device_id uuid   NOT NULL,
    at        bigint NOT NULL,
    tenant_id uuid   NOT NULL,
    -- Numbers and texts by the fields' paths. Not text, as other JSON here: queries look into it.
    fields    jsonb  NOT NULL,
    CONSTRAINT telemetry_report_pkey PRIMARY KEY (device_id, at),
    CONSTRAINT telemetry_report_is_object CHECK (jsonb_typeof(fields) = 'object')
);

-- What is old enough is deleted.
CREATE INDEX telemetry_report_at_idx ON telemetry_report (at);

ALTER TABLE telemetry_report ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY telemetry_report_scope ON telemetry_report
    USING (tenant_id = ANY ((SELECT downbeat_tenants())::uuid[]) OR (SELECT downbeat_platform()))
    WITH CHECK (tenant_id = ANY ((SELECT downbeat_tenants())::uuid[]) OR (SELECT downbeat_platform()));
GRANT SELECT, INSERT, UPDATE, DELETE ON telemetry_report TO downbeat_service;
