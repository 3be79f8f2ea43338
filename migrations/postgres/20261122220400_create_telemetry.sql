-- Decoded fields of uplinks over time, kept for a while. The primary key finds a device's field in the order of time.

CREATE TABLE telemetry (
    device_id uuid             NOT NULL,
    field     text COLLATE "C" NOT NULL,
    at        bigint           NOT NULL,
    tenant_id uuid             NOT NULL,
    number    double precision,
    text      text,
    CONSTRAINT telemetry_pkey PRIMARY KEY (device_id, field, at),
    CONSTRAINT telemetry_is_one_value CHECK ((number IS NULL) <> (text IS NULL))
);

-- What is old enough is deleted.
CREATE INDEX telemetry_at_idx ON telemetry (at);

ALTER TABLE telemetry ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY telemetry_scope ON telemetry
    USING (tenant_id = ANY ((SELECT downbeat_tenants())::uuid[]) OR (SELECT downbeat_platform()))
    WITH CHECK (tenant_id = ANY ((SELECT downbeat_tenants())::uuid[]) OR (SELECT downbeat_platform()));
GRANT SELECT, INSERT, UPDATE, DELETE ON telemetry TO downbeat_service;
