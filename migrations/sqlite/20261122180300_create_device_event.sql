-- What the network server said of each device, kept for a while.
--
-- The id begins with the time (UUIDv7) and ends in a hash of the event: a batch that is written twice is stored once,
-- and the oldest rows are the first of the primary key.

CREATE TABLE device_event (
    id        BLOB    NOT NULL CONSTRAINT device_event_pkey PRIMARY KEY
                      CONSTRAINT device_event_id_is_uuid CHECK (length(id) = 16),
    device_id BLOB    NOT NULL,
    tenant_id BLOB    NOT NULL,
    at        INTEGER NOT NULL,
    kind      TEXT    NOT NULL,
    body      TEXT    NOT NULL
) STRICT;

CREATE INDEX device_event_device_idx ON device_event (device_id, id);
