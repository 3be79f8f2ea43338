-- What the network server said of each device, kept for a while.
--
-- The id begins with the time (UUIDv7) and ends in a hash of the event: a batch that is written twice is stored once,
-- and the oldest rows are the first of the primary key.

CREATE TABLE device_event (
    id        uuid   NOT NULL CONSTRAINT device_event_pkey PRIMARY KEY,
    device_id uuid   NOT NULL,
    tenant_id uuid   NOT NULL,
    at        bigint NOT NULL,
    kind      text   NOT NULL,
    body      text   NOT NULL
);

CREATE INDEX device_event_device_idx ON device_event (device_id, id);

ALTER TABLE device_event ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY device_event_scope ON device_event
    USING (tenant_id = ANY ((SELECT downbeat_tenants())::uuid[]) OR (SELECT downbeat_platform()))
    WITH CHECK (tenant_id = ANY ((SELECT downbeat_tenants())::uuid[]) OR (SELECT downbeat_platform()));
GRANT SELECT, INSERT, DELETE ON device_event TO downbeat_service;
