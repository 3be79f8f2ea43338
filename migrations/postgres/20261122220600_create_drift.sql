-- Where ChirpStack and the registry differ, as the last comparison found, and when that was.

CREATE TABLE drift_check (
    tenant_id  uuid   NOT NULL CONSTRAINT drift_check_pkey PRIMARY KEY
                      CONSTRAINT drift_check_tenant_fkey REFERENCES tenant (id) ON DELETE CASCADE,
    checked_at bigint NOT NULL
);

ALTER TABLE drift_check ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY drift_check_scope ON drift_check
    USING (tenant_id = ANY ((SELECT downbeat_tenants())::uuid[]) OR (SELECT downbeat_platform()))
    WITH CHECK (tenant_id = ANY ((SELECT downbeat_tenants())::uuid[]) OR (SELECT downbeat_platform()));
GRANT SELECT, INSERT, UPDATE, DELETE ON drift_check TO downbeat_service;

CREATE TABLE drift (
    tenant_id         uuid             NOT NULL CONSTRAINT drift_tenant_fkey REFERENCES tenant (id) ON DELETE CASCADE,
    dev_eui           text COLLATE "C" NOT NULL,
    device_id         uuid,
    kind              text             NOT NULL,
    chirpstack_name   text,
    application_id    text,
    device_profile_id text,
    differences       text             NOT NULL
                                       CONSTRAINT drift_differences_is_json CHECK (differences::json IS NOT NULL),
    found_at          bigint           NOT NULL,
    ignored           boolean          NOT NULL,
    CONSTRAINT drift_pkey PRIMARY KEY (tenant_id, dev_eui)
);

ALTER TABLE drift ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY drift_scope ON drift
    USING (tenant_id = ANY ((SELECT downbeat_tenants())::uuid[]) OR (SELECT downbeat_platform()))
    WITH CHECK (tenant_id = ANY ((SELECT downbeat_tenants())::uuid[]) OR (SELECT downbeat_platform()));
GRANT SELECT, INSERT, UPDATE, DELETE ON drift TO downbeat_service;
