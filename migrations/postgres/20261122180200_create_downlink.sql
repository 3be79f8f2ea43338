-- Commands and their timelines.
--
-- A downlink names its device without a foreign key: it stays when the device is deleted, and a device deleted in the
-- same instant must not refuse a batch that holds other devices' work. The columns beside `body` are copies for lists
-- and counts; `body` is the whole downlink as its device's machine described it last.

CREATE TABLE downlink (
    id          uuid             NOT NULL CONSTRAINT downlink_pkey PRIMARY KEY,
    device_id   uuid             NOT NULL,
    tenant_id   uuid             NOT NULL,
    dev_eui     text COLLATE "C" NOT NULL,
    state       text COLLATE "C" NOT NULL,
    reason      text,
    attempts    bigint           NOT NULL,
    created_at  bigint           NOT NULL,
    updated_at  bigint           NOT NULL,
    finished_at bigint,
    -- The newest step that `body` reflects, so that a repeated write never puts an older one in its place.
    steps       bigint           NOT NULL,
    body        text             NOT NULL
);

CREATE INDEX downlink_tenant_idx ON downlink (tenant_id, created_at, id);
CREATE INDEX downlink_dev_eui_idx ON downlink (dev_eui, created_at, id);
CREATE INDEX downlink_created_idx ON downlink (created_at, id);
CREATE INDEX downlink_state_idx ON downlink (state, created_at, id);

ALTER TABLE downlink ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY downlink_scope ON downlink
    USING (tenant_id = ANY ((SELECT downbeat_tenants())::uuid[]) OR (SELECT downbeat_platform()))
    WITH CHECK (tenant_id = ANY ((SELECT downbeat_tenants())::uuid[]) OR (SELECT downbeat_platform()));
GRANT SELECT, INSERT, UPDATE ON downlink TO downbeat_service;

CREATE TABLE downlink_step (
    downlink_id uuid   NOT NULL,
    tenant_id   uuid   NOT NULL,
    seq         bigint NOT NULL,
    at          bigint NOT NULL,
    body        text   NOT NULL,
    CONSTRAINT downlink_step_pkey PRIMARY KEY (downlink_id, seq)
);

ALTER TABLE downlink_step ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY downlink_step_scope ON downlink_step
    USING (tenant_id = ANY ((SELECT downbeat_tenants())::uuid[]) OR (SELECT downbeat_platform()))
    WITH CHECK (tenant_id = ANY ((SELECT downbeat_tenants())::uuid[]) OR (SELECT downbeat_platform()));
GRANT SELECT, INSERT ON downlink_step TO downbeat_service;
