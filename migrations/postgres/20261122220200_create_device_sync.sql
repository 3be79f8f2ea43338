-- Wishes for ChirpStack: one for each DevEUI of a network server that it is to hold, or was to hold until its absence is
-- confirmed.
--
-- What is wanted is not told here: it is the registered device of that DevEUI, if it names an application and a device
-- profile; else its absence. The registry writes the wish (`generation`, `force`) and sets the rest to the beginning;
-- whoever carries it out writes the rest.

-- Rows are changed below, and the owner sees none otherwise.
SELECT set_config('downbeat.scope', 'platform', true);

CREATE TABLE device_sync (
    network_server_id uuid             NOT NULL,
    dev_eui           text COLLATE "C" NOT NULL,
    tenant_id         uuid             NOT NULL CONSTRAINT device_sync_tenant_fkey REFERENCES tenant (id),
    -- The device that was wanted last. Not a reference: it stays when that one is deleted.
    device_id         uuid             NOT NULL,
    generation        bigint           NOT NULL,
    force             boolean          NOT NULL DEFAULT false,
    machine           text,
    synced_generation bigint           NOT NULL DEFAULT 0,
    sync_state        text             NOT NULL DEFAULT 'pending',
    sync_error        text,
    sync_attempts     bigint           NOT NULL DEFAULT 0,
    next_attempt_at   bigint,
    -- There is something to do without a new wish.
    unfinished        boolean          NOT NULL DEFAULT true,
    CONSTRAINT device_sync_pkey PRIMARY KEY (network_server_id, dev_eui)
) WITH (fillfactor = 70);

CREATE INDEX device_sync_tenant_idx ON device_sync (tenant_id);
-- Wishes that are not tried yet come before those that wait for their time.
CREATE INDEX device_sync_unfinished_idx ON device_sync (network_server_id, next_attempt_at NULLS FIRST, dev_eui)
    WHERE unfinished;

ALTER TABLE device_sync ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
-- A tenant whose DevEUI was another's before takes the wish over as the platform.
CREATE POLICY device_sync_scope ON device_sync
    USING (tenant_id = ANY ((SELECT downbeat_tenants())::uuid[]) OR (SELECT downbeat_platform()))
    WITH CHECK (tenant_id = ANY ((SELECT downbeat_tenants())::uuid[]) OR (SELECT downbeat_platform()));
GRANT SELECT, INSERT, UPDATE, DELETE ON device_sync TO downbeat_service;

-- Where generations come from. One counter for all, which never goes back: a DevEUI that was gone and is wanted again has
-- a greater generation than any it had, so nothing that was under way for the old wish passes for the new one. It is
-- drawn while the wish's row is locked; nobody waits for anybody else's wish.
CREATE SEQUENCE sync_generation START 2;
GRANT USAGE ON SEQUENCE sync_generation TO downbeat_service;

INSERT INTO device_sync (network_server_id, dev_eui, tenant_id, device_id, generation)
SELECT network_server_id, dev_eui, tenant_id, id, 1 FROM device
WHERE dev_eui IS NOT NULL AND chirpstack_app_id IS NOT NULL AND device_profile_id IS NOT NULL;
