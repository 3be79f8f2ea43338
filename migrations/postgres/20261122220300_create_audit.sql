-- Who did what, when, from where, with before and after. Entries are only ever added; they refer to nothing, because
-- they outlive everything.

CREATE TABLE audit (
    id         uuid   NOT NULL CONSTRAINT audit_pkey PRIMARY KEY,
    at         bigint NOT NULL,
    -- None: it is the platform's.
    tenant_id  uuid,
    -- None: it was done on the command line, or by Downbeat itself.
    key_id     uuid,
    by_name    text   NOT NULL,
    address    text,
    request_id text,
    action     text   NOT NULL,
    object_id  text COLLATE "C" NOT NULL,
    before     text   CONSTRAINT audit_before_is_json CHECK (before IS NULL OR before::json IS NOT NULL),
    after      text   CONSTRAINT audit_after_is_json CHECK (after IS NULL OR after::json IS NOT NULL)
);

CREATE INDEX audit_at_idx ON audit (at, id);
CREATE INDEX audit_tenant_idx ON audit (tenant_id, at, id);
CREATE INDEX audit_object_idx ON audit (object_id, at, id);

ALTER TABLE audit ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
-- A tenant has its own entries; those of the platform (no tenant) are the platform's alone.
CREATE POLICY audit_scope ON audit
    USING (tenant_id = ANY ((SELECT downbeat_tenants())::uuid[]) OR (SELECT downbeat_platform()))
    WITH CHECK (tenant_id = ANY ((SELECT downbeat_tenants())::uuid[]) OR (SELECT downbeat_platform()));
GRANT SELECT, INSERT ON audit TO downbeat_service;

-- The owner is stopped, too.
CREATE FUNCTION downbeat_audit_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is only ever added to';
END
$$;

CREATE TRIGGER audit_is_never_changed BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION downbeat_audit_stays();
