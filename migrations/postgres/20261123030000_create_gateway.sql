-- What is known of gateways, and of how each device gets on with them. Written once a minute what changed, and read when
-- the service starts: what shows them asks the service's memory.

CREATE TABLE gateway (
    -- Whose network server it is on: a tenant's own, or the nil UUID for the configuration's, which only the platform
    -- reads here.
    tenant_id  uuid             NOT NULL,
    gateway_id text COLLATE "C" NOT NULL CONSTRAINT gateway_id_is_eui64 CHECK (gateway_id ~ '^[0-9a-f]{16}$'),
    record     text             NOT NULL CONSTRAINT gateway_record_is_json CHECK (record::json IS NOT NULL),
    updated_at bigint           NOT NULL,
    CONSTRAINT gateway_pkey PRIMARY KEY (tenant_id, gateway_id)
);

-- What is old enough is deleted.
CREATE INDEX gateway_updated_idx ON gateway (updated_at);

ALTER TABLE gateway ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY gateway_scope ON gateway
    USING (tenant_id = ANY ((SELECT downbeat_tenants())::uuid[]) OR (SELECT downbeat_platform()))
    WITH CHECK (tenant_id = ANY ((SELECT downbeat_tenants())::uuid[]) OR (SELECT downbeat_platform()));
GRANT SELECT, INSERT, UPDATE, DELETE ON gateway TO downbeat_service;

CREATE TABLE device_link (
    device_id  uuid             NOT NULL CONSTRAINT device_link_pkey PRIMARY KEY,
    tenant_id  uuid             NOT NULL,
    -- As the device was called: under another one it is another, as far as gateways hear.
    dev_eui    text COLLATE "C" NOT NULL,
    -- All links of the device: they are read and written together, and there are only so many.
    links      text             NOT NULL CONSTRAINT device_link_links_is_json CHECK (links::json IS NOT NULL),
    updated_at bigint           NOT NULL,
    CONSTRAINT device_link_device_fkey FOREIGN KEY (device_id, tenant_id)
        REFERENCES device (id, tenant_id) ON UPDATE CASCADE ON DELETE CASCADE
) WITH (fillfactor = 70);

ALTER TABLE device_link ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY device_link_scope ON device_link
    USING (tenant_id = ANY ((SELECT downbeat_tenants())::uuid[]) OR (SELECT downbeat_platform()))
    WITH CHECK (tenant_id = ANY ((SELECT downbeat_tenants())::uuid[]) OR (SELECT downbeat_platform()));
GRANT SELECT, INSERT, UPDATE, DELETE ON device_link TO downbeat_service;
