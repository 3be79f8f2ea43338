-- What the platform's administrators decide about tenants, tenants' own network servers, and the proof that secrets are
-- sealed with the key that is configured.

-- Rows are changed below, and the owner sees none otherwise.
SELECT set_config('downbeat.scope', 'platform', true);

ALTER TABLE tenant
    ADD COLUMN chirpstack_tenant_id text COLLATE "C"
        CONSTRAINT tenant_chirpstack_tenant_id_is_uuid CHECK (length(chirpstack_tenant_id) = 36)
        -- A webhook tells ChirpStack's tenant: it must not be two of ours.
        CONSTRAINT tenant_chirpstack_tenant_id_unique UNIQUE,
    ADD COLUMN devices_max bigint CONSTRAINT tenant_devices_max_not_negative CHECK (devices_max >= 0),
    ADD COLUMN commands_per_minute bigint
        CONSTRAINT tenant_commands_per_minute_not_negative CHECK (commands_per_minute >= 0),
    ADD COLUMN updated_at bigint NOT NULL DEFAULT 0,
    ADD COLUMN version bigint NOT NULL DEFAULT 1;

UPDATE tenant SET updated_at = created_at;

GRANT UPDATE, DELETE ON tenant TO downbeat_service;

ALTER TABLE api_key ADD COLUMN requests_per_minute bigint
    CONSTRAINT api_key_requests_per_minute_positive CHECK (requests_per_minute >= 1);

CREATE TABLE network_server (
    tenant_id  uuid   NOT NULL CONSTRAINT network_server_pkey PRIMARY KEY
                      CONSTRAINT network_server_tenant_fkey REFERENCES tenant (id) ON DELETE CASCADE,
    url        text   NOT NULL,
    -- Sealed.
    api_key    bytea  NOT NULL,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    version    bigint NOT NULL DEFAULT 1
);

ALTER TABLE network_server ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY network_server_scope ON network_server
    USING (tenant_id = ANY ((SELECT downbeat_tenants())::uuid[]) OR (SELECT downbeat_platform()))
    WITH CHECK (tenant_id = ANY ((SELECT downbeat_tenants())::uuid[]) OR (SELECT downbeat_platform()));
GRANT SELECT, INSERT, UPDATE, DELETE ON network_server TO downbeat_service;

-- One row: a constant, sealed. What does not open it opens no other secret here.
CREATE TABLE seal_check (
    id     integer NOT NULL CONSTRAINT seal_check_pkey PRIMARY KEY
                   CONSTRAINT seal_check_is_one_row CHECK (id = 1),
    sealed bytea   NOT NULL
);

ALTER TABLE seal_check ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
-- No tenant's affair.
CREATE POLICY seal_check_scope ON seal_check
    USING ((SELECT downbeat_platform())) WITH CHECK ((SELECT downbeat_platform()));
GRANT SELECT, INSERT ON seal_check TO downbeat_service;
