-- Who uses Downbeat, and the keys they use it with.
--
-- Ids are UUIDs, times are milliseconds of UTC since the Unix epoch, in every table.
--
-- A transaction says whose rows it is about: `downbeat.tenants` holds tenants' ids, separated by commas, and
-- `downbeat.scope` is `platform` where the work is nobody's in particular (a device found by its DevEUI, a key by its
-- hash, the history's cleaning). Without either nothing is visible and nothing can be written. Row-level security is
-- forced, so that it binds the tables' owner as well. Policies ask for the settings by a sub-select, which is
-- evaluated once a statement and not once a row.

CREATE FUNCTION downbeat_tenants() RETURNS uuid[]
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT pg_catalog.string_to_array(pg_catalog.current_setting('downbeat.tenants', true), ',')::uuid[] $$;

CREATE FUNCTION downbeat_platform() RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT pg_catalog.current_setting('downbeat.scope', true) IS NOT DISTINCT FROM 'platform' $$;

CREATE TABLE tenant (
    id         uuid             NOT NULL CONSTRAINT tenant_pkey PRIMARY KEY,
    name       text COLLATE "C" NOT NULL CONSTRAINT tenant_name_unique UNIQUE
                                CONSTRAINT tenant_name_not_empty CHECK (name <> ''),
    created_at bigint           NOT NULL
);

ALTER TABLE tenant ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
-- A tenant sees itself.
CREATE POLICY tenant_scope ON tenant
    USING (id = ANY ((SELECT downbeat_tenants())::uuid[]) OR (SELECT downbeat_platform()))
    WITH CHECK (id = ANY ((SELECT downbeat_tenants())::uuid[]) OR (SELECT downbeat_platform()));
GRANT SELECT, INSERT ON tenant TO downbeat_service;

-- The key itself is never stored. Without a tenant it is a key of the platform.
CREATE TABLE api_key (
    id           uuid   NOT NULL CONSTRAINT api_key_pkey PRIMARY KEY,
    tenant_id    uuid   CONSTRAINT api_key_tenant_fkey REFERENCES tenant (id) ON DELETE CASCADE,
    role         text   NOT NULL
                        CONSTRAINT api_key_role_known CHECK (role IN ('admin', 'operator', 'viewer', 'webhook')),
    name         text   NOT NULL,
    prefix       text   NOT NULL,
    hash         bytea  NOT NULL CONSTRAINT api_key_hash_unique UNIQUE
                        CONSTRAINT api_key_hash_is_sha256 CHECK (octet_length(hash) = 32),
    created_at   bigint NOT NULL,
    expires_at   bigint,
    revoked_at   bigint,
    last_used_at bigint
);

CREATE INDEX api_key_tenant_idx ON api_key (tenant_id);

ALTER TABLE api_key ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
-- A tenant has its own keys; those of the platform (no tenant) are the platform's alone.
CREATE POLICY api_key_scope ON api_key
    USING (tenant_id = ANY ((SELECT downbeat_tenants())::uuid[]) OR (SELECT downbeat_platform()))
    WITH CHECK (tenant_id = ANY ((SELECT downbeat_tenants())::uuid[]) OR (SELECT downbeat_platform()));
GRANT SELECT, INSERT, UPDATE ON api_key TO downbeat_service;

-- To compare what was applied with what the binary brings.
GRANT SELECT ON _sqlx_migrations TO downbeat_service;
