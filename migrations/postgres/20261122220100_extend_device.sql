-- A DevEUI is unique on a network server and no longer over all: tenants may have servers of their own. Root keys,
-- presence and uplink counts come with it.

-- Rows are changed below, and the owner sees none otherwise.
SELECT set_config('downbeat.scope', 'platform', true);

ALTER TABLE device
    -- The tenant whose server it is on, or the nil UUID for the configuration's.
    ADD COLUMN network_server_id  uuid    NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    ADD COLUMN uplink_interval_ms bigint,
    -- Sealed.
    ADD COLUMN app_key            bytea,
    -- Grows with every key that is set, also when it is cleared in between.
    ADD COLUMN app_key_revision   bigint  NOT NULL DEFAULT 0,
    ADD COLUMN app_key_default    boolean NOT NULL DEFAULT false,
    -- Written by the device's actor only, for lists to read.
    ADD COLUMN presence           text COLLATE "C" NOT NULL DEFAULT 'never_seen',
    ADD COLUMN uplinks_heard      bigint  NOT NULL DEFAULT 0,
    ADD COLUMN uplinks_missed     bigint  NOT NULL DEFAULT 0,
    -- When a device with an interval of its own has been silent for twice as long. A column, because under row-level
    -- security an index serves comparisons of columns and no arithmetic.
    ADD COLUMN silent_from          bigint
        GENERATED ALWAYS AS (last_seen + 2 * least(uplink_interval_ms, 1000000000000000)) STORED;

-- ChirpStack's ids were free text: those that are UUIDs in any spelling are kept in the usual one, others dropped.
UPDATE device SET
    chirpstack_app_id = CASE WHEN replace(lower(chirpstack_app_id), '-', '') ~ '^[0-9a-f]{32}$'
        THEN replace(chirpstack_app_id, '-', '')::uuid::text END,
    device_profile_id = CASE WHEN replace(lower(device_profile_id), '-', '') ~ '^[0-9a-f]{32}$'
        THEN replace(device_profile_id, '-', '')::uuid::text END,
    -- Whoever was heard counts as there, until the silence is noticed.
    presence = CASE WHEN last_seen IS NULL THEN 'never_seen' ELSE 'online' END;

ALTER TABLE device
    DROP CONSTRAINT device_dev_eui_unique,
    ADD CONSTRAINT device_dev_eui_unique UNIQUE (network_server_id, dev_eui),
    ADD CONSTRAINT device_chirpstack_app_id_is_uuid CHECK (length(chirpstack_app_id) = 36),
    ADD CONSTRAINT device_device_profile_id_is_uuid CHECK (length(device_profile_id) = 36);

-- A comparison with ChirpStack goes through a tenant's devices in the order of their DevEUIs.
CREATE INDEX device_tenant_dev_eui_idx ON device (tenant_id, dev_eui);
-- The platform names a device by its DevEUI alone.
CREATE INDEX device_dev_eui_idx ON device (dev_eui, network_server_id);
-- A restart with 100,000 devices reads the few that matter.
DROP INDEX device_unfinished_idx;
CREATE INDEX device_unfinished_idx ON device (dev_eui, network_server_id) WHERE unfinished;
-- Who is silent for longest comes first: by the configuration's interval, or when a device's own has passed twice.
CREATE INDEX device_silent_idx ON device (last_seen) WHERE presence = 'online' AND uplink_interval_ms IS NULL;
CREATE INDEX device_silent_own_idx ON device (silent_from) WHERE presence = 'online' AND uplink_interval_ms IS NOT NULL;
