-- Commands to many devices, and what becomes of each device.
--
-- `body` is what does not change: the order, the plan. `counts` are those of the items, by state, written with them. A job
-- is `preparing` while its items are written down in batches; nobody sees it before it is begun.

CREATE TABLE job (
    id          uuid             NOT NULL CONSTRAINT job_pkey PRIMARY KEY,
    tenant_id   uuid             NOT NULL CONSTRAINT job_tenant_fkey REFERENCES tenant (id) ON DELETE CASCADE,
    kind        text COLLATE "C" NOT NULL,
    name        text             NOT NULL,
    state       text COLLATE "C" NOT NULL,
    body        text             NOT NULL CONSTRAINT job_body_is_json CHECK (body::json IS NOT NULL),
    counts      text             NOT NULL CONSTRAINT job_counts_is_json CHECK (counts::json IS NOT NULL),
    spent_ms    bigint           NOT NULL,
    attempts    bigint           NOT NULL,
    created_by  text             NOT NULL,
    retry_of    uuid,
    created_at  bigint           NOT NULL,
    updated_at  bigint           NOT NULL,
    finished_at bigint,
    CONSTRAINT job_id_tenant_key UNIQUE (id, tenant_id)
);

CREATE INDEX job_tenant_idx ON job (tenant_id, created_at, id);
-- What a restart takes up.
CREATE INDEX job_unfinished_idx ON job (created_at) WHERE finished_at IS NULL;
CREATE INDEX job_finished_idx ON job (finished_at) WHERE finished_at IS NOT NULL;

ALTER TABLE job ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY job_scope ON job
    USING (tenant_id = ANY ((SELECT downbeat_tenants())::uuid[]) OR (SELECT downbeat_platform()))
    WITH CHECK (tenant_id = ANY ((SELECT downbeat_tenants())::uuid[]) OR (SELECT downbeat_platform()));
GRANT SELECT, INSERT, UPDATE, DELETE ON job TO downbeat_service;

-- A device without a DevEUI, or that nobody knows, is left out of the job and says so here.
CREATE TABLE job_item (
    job_id            uuid             NOT NULL,
    tenant_id         uuid             NOT NULL,
    seq               bigint           NOT NULL,
    device_id         uuid,
    network_server_id uuid,
    dev_eui           text COLLATE "C",
    -- The command's id, chosen before it is given: whoever takes the job up looks it up.
    downlink_id       uuid             NOT NULL,
    state             text COLLATE "C" NOT NULL,
    reason            text,
    attempts          bigint           NOT NULL,
    handed_over_at    bigint,
    finished_at       bigint,
    CONSTRAINT job_item_pkey PRIMARY KEY (job_id, seq),
    CONSTRAINT job_item_job_fkey FOREIGN KEY (job_id, tenant_id) REFERENCES job (id, tenant_id) ON DELETE CASCADE
);

CREATE INDEX job_item_state_idx ON job_item (job_id, state, seq);

ALTER TABLE job_item ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY job_item_scope ON job_item
    USING (tenant_id = ANY ((SELECT downbeat_tenants())::uuid[]) OR (SELECT downbeat_platform()))
    WITH CHECK (tenant_id = ANY ((SELECT downbeat_tenants())::uuid[]) OR (SELECT downbeat_platform()));
GRANT SELECT, INSERT, UPDATE, DELETE ON job_item TO downbeat_service;
