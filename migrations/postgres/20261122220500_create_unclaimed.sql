-- Devices that spoke and that nobody has registered. Each tenant has its own: what one of them delivers takes nothing
-- from another's list.

CREATE TABLE unclaimed (
    -- Its place in lists.
    id                uuid             NOT NULL CONSTRAINT unclaimed_id_unique UNIQUE,
    -- The nil UUID: not known, so only the platform sees it.
    tenant_id         uuid             NOT NULL,
    network_server_id uuid             NOT NULL,
    dev_eui           text COLLATE "C" NOT NULL,
    name              text             NOT NULL,
    application_id    text,
    device_profile_id text,
    first_seen        bigint           NOT NULL,
    last_seen         bigint           NOT NULL,
    events            bigint           NOT NULL,
    rssi_dbm          integer,
    CONSTRAINT unclaimed_pkey PRIMARY KEY (tenant_id, network_server_id, dev_eui)
);

CREATE INDEX unclaimed_tenant_idx ON unclaimed (tenant_id, first_seen, id);
CREATE INDEX unclaimed_first_seen_idx ON unclaimed (first_seen, id);
CREATE INDEX unclaimed_dev_eui_idx ON unclaimed (dev_eui);
-- Those not seen for longest give way.
CREATE INDEX unclaimed_last_seen_idx ON unclaimed (tenant_id, last_seen);

ALTER TABLE unclaimed ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY unclaimed_scope ON unclaimed
    USING (tenant_id = ANY ((SELECT downbeat_tenants())::uuid[]) OR (SELECT downbeat_platform()))
    WITH CHECK (tenant_id = ANY ((SELECT downbeat_tenants())::uuid[]) OR (SELECT downbeat_platform()));
GRANT SELECT, INSERT, UPDATE, DELETE ON unclaimed TO downbeat_service;
