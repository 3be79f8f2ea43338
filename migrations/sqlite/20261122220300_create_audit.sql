-- Who did what, when, from where, with before and after. Entries are only ever added; they refer to nothing, because
-- they outlive everything.

CREATE TABLE audit (
    id         BLOB    NOT NULL CONSTRAINT audit_pkey PRIMARY KEY
                       CONSTRAINT audit_id_is_uuid CHECK (length(id) = 16),
    at         INTEGER NOT NULL,
    -- None: it is the platform's.
    tenant_id  BLOB,
    -- None: it was done on the command line, or by Downbeat itself.
    key_id     BLOB,
    by_name    TEXT    NOT NULL,
    address    TEXT,
    request_id TEXT,
    action     TEXT    NOT NULL,
    object_id  TEXT    NOT NULL,
    before     TEXT    CONSTRAINT audit_before_is_json CHECK (json_valid(before)),
    after      TEXT    CONSTRAINT audit_after_is_json CHECK (json_valid(after))
) STRICT;

CREATE INDEX audit_at_idx ON audit (at, id);
CREATE INDEX audit_tenant_idx ON audit (tenant_id, at, id);
CREATE INDEX audit_object_idx ON audit (object_id, at, id);

CREATE TRIGGER audit_is_never_changed BEFORE UPDATE ON audit BEGIN
    SELECT raise(ABORT, 'the audit log is only ever added to');
END;

CREATE TRIGGER audit_is_never_deleted BEFORE DELETE ON audit BEGIN
    SELECT raise(ABORT, 'the audit log is only ever added to');
END;
