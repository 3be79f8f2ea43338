-- The registry, and what each device's actor keeps of it.

CREATE TABLE device (
    id                uuid             NOT NULL CONSTRAINT device_pkey PRIMARY KEY,
    tenant_id         uuid             NOT NULL CONSTRAINT device_tenant_fkey REFERENCES tenant (id),
    name              text             NOT NULL,
    description       text             NOT NULL,
    device_type       text             NOT NULL,
    tags              text             NOT NULL CONSTRAINT device_tags_is_json CHECK (tags::json IS NOT NULL),
    codec             text             NOT NULL,
    -- Unique over all tenants, as in ChirpStack: an uplink names nothing else.
    dev_eui           text COLLATE "C" CONSTRAINT device_dev_eui_unique UNIQUE
                                       CONSTRAINT device_dev_eui_is_eui64 CHECK (dev_eui ~ '^[0-9a-f]{16}$'),
    chirpstack_app_id text,
    device_profile_id text,
    join_eui          text COLLATE "C" CONSTRAINT device_join_eui_is_eui64 CHECK (join_eui ~ '^[0-9a-f]{16}$'),
    created_at        bigint           NOT NULL,
    updated_at        bigint           NOT NULL,
    version           bigint           NOT NULL DEFAULT 1,

    -- Written by the device's actor only, for lists to read.
    last_seen         bigint,
    rssi_dbm          integer,
    snr_db            real,
    battery_percent   real,
    desired_color     text,
    desired_on_time   bigint,
    desired_off_time  bigint,
    reported_color    text,
    reported_on_time  bigint,
    reported_off_time bigint,
    reported_at       bigint,
    -- There is work that a restart has to take up.
    unfinished        boolean          NOT NULL DEFAULT false,

    -- For references that may not cross tenants.
    CONSTRAINT device_id_tenant_unique UNIQUE (id, tenant_id),
    CONSTRAINT device_desired_whole CHECK (
        (desired_color IS NULL) = (desired_on_time IS NULL) AND (desired_color IS NULL) = (desired_off_time IS NULL)
    ),
    CONSTRAINT device_reported_whole CHECK (
        (reported_color IS NULL) = (reported_on_time IS NULL)
        AND (reported_color IS NULL) = (reported_off_time IS NULL)
        AND (reported_color IS NULL) = (reported_at IS NULL)
    )
-- Room beside each row for its next version: most changes touch no index.
) WITH (fillfactor = 70);

CREATE INDEX device_tenant_idx ON device (tenant_id, created_at, id);
-- Lists over all tenants.
CREATE INDEX device_created_idx ON device (created_at, id);
-- A restart with 100,000 devices reads the few that matter.
CREATE INDEX device_unfinished_idx ON device (dev_eui) WHERE unfinished;

ALTER TABLE device ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY device_scope ON device
    USING (tenant_id = ANY ((SELECT downbeat_tenants())::uuid[]) OR (SELECT downbeat_platform()))
    WITH CHECK (tenant_id = ANY ((SELECT downbeat_tenants())::uuid[]) OR (SELECT downbeat_platform()));
GRANT SELECT, INSERT, UPDATE, DELETE ON device TO downbeat_service;

-- The state of the device's machine as text. Apart from `device`, because it is larger, changes with every event and is
-- read by the actor alone.
CREATE TABLE device_state (
    device_id uuid NOT NULL CONSTRAINT device_state_pkey PRIMARY KEY,
    tenant_id uuid NOT NULL,
    state     text NOT NULL,
    CONSTRAINT device_state_device_fkey FOREIGN KEY (device_id, tenant_id)
        REFERENCES device (id, tenant_id) ON UPDATE CASCADE ON DELETE CASCADE
) WITH (fillfactor = 70);

ALTER TABLE device_state ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY device_state_scope ON device_state
    USING (tenant_id = ANY ((SELECT downbeat_tenants())::uuid[]) OR (SELECT downbeat_platform()))
    WITH CHECK (tenant_id = ANY ((SELECT downbeat_tenants())::uuid[]) OR (SELECT downbeat_platform()));
GRANT SELECT, INSERT, UPDATE, DELETE ON device_state TO downbeat_service;
