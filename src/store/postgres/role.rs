//! Which role does what: the tables' owner migrates, the service works as a role that row-level security binds.
//!
//! One URL is enough where its role owns the tables or is a superuser: it makes the role [`SERVICE_ROLE`], migrates, and
//! every connection of the pool becomes that role. With a URL whose role is merely a member of [`SERVICE_ROLE`] the
//! schema has to be there already. Either way a service that row-level security would not bind does not start.

use downbeat_actors::port::StoreError;
use sqlx::migrate::MigrateError;
use sqlx::{AssertSqlSafe, Executor as _, FromRow, PgConnection};

use super::MIGRATIONS;
use super::error::store_error;
use super::session::Session;
use crate::store::OpenStoreError;
use crate::store::migration::{migrate_error, newest};

/// The role that the service works as. It cannot log in; all databases of a cluster share it.
pub(super) const SERVICE_ROLE: &str = "downbeat_service";

/// The oldest PostgreSQL that is supported, as `server_version_num` has it.
const OLDEST_SERVER: i32 = 130_000;

/// Why the database's roles do not do.
#[derive(Debug, thiserror::Error)]
pub enum RoleError {
    /// The server is too old.
    #[error("PostgreSQL 13 or later is needed; this server has {0}")]
    ServerTooOld(String),
    /// The URL's role migrates, and cannot make the service's role.
    #[error(
        "the role {login} may not create the role downbeat_service: have a superuser run \
         CREATE ROLE downbeat_service NOLOGIN; GRANT downbeat_service TO {login};"
    )]
    MayNotCreate {
        /// The URL's role, quoted.
        login: String,
    },
    /// The URL's role migrates, and cannot become the service's role.
    #[error(
        "the role {login} may not become downbeat_service: have a superuser run GRANT downbeat_service TO {login};"
    )]
    MayNotBecome {
        /// The URL's role, quoted.
        login: String,
    },
    /// Row-level security would not bind the service.
    #[error(
        "the service would work as the role {role}, which {why}: row-level security would not hold"
    )]
    TooMighty {
        /// The role, quoted.
        role: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A table's rows are open to every tenant.
    #[error(
        "row-level security of the table {table} is not forced; run ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
    )]
    Unprotected {
        /// The table.
        table: String,
    },
}

/// What the URL's role is, before anything is done.
#[derive(FromRow)]
struct Login {
    version: i32,
    version_text: String,
    name: String,
    superuser: bool,
    /// Where the tables are or will be, quoted; none when there is no schema to make them in.
    schema: Option<String>,
    /// The owner of the schema's tables, quoted; none in a database that was never migrated.
    owner: Option<String>,
    may_migrate: bool,
}

/// Migrates if the role may, checks the schema otherwise, and tells how the pool's connections have to work.
pub(super) async fn prepare(connection: &mut PgConnection) -> Result<Session, OpenStoreError> {
    let login: Login = sqlx::query_as(
        "SELECT current_setting('server_version_num')::integer AS version,
                current_setting('server_version') AS version_text,
                quote_ident(session_user) AS name,
                role.rolsuper AS superuser,
                coalesce(history.relnamespace::regnamespace::text, quote_ident(current_schema())) AS schema,
                quote_ident(pg_get_userbyid(history.relowner)) AS owner,
                CASE WHEN history.oid IS NULL
                     THEN coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)
                     ELSE pg_has_role(history.relowner, 'USAGE') END AS may_migrate
         FROM pg_roles AS role LEFT JOIN pg_class AS history ON history.oid = to_regclass('_sqlx_migrations')
         WHERE role.rolname = session_user",
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(store_error)?;
    if login.version < OLDEST_SERVER {
        return Err(RoleError::ServerTooOld(login.version_text).into());
    }
    if login.may_migrate {
        make_service_role(connection, &login).await?;
        migrate(connection, &login).await?;
    }
    let role = may_become(connection, &login)
        .await?
        .then_some(SERVICE_ROLE);
    if let Some(role) = role {
        execute(connection, &format!("SET ROLE {role}")).await?;
    }
    if !login.may_migrate {
        check_schema(connection).await?;
    }
    let schema = sqlx::query_scalar(
        "SELECT quote_ident(nspname) FROM pg_namespace
         WHERE oid = (SELECT relnamespace FROM pg_class WHERE oid = '_sqlx_migrations'::regclass)",
    );
    let schema: String = schema
        .fetch_one(&mut *connection)
        .await
        .map_err(store_error)?;
    check_power(connection).await?;
    Ok(Session { role, schema })
}

/// Another process, with another database of the cluster, may do the same at the same time.
async fn make_service_role(
    connection: &mut PgConnection,
    login: &Login,
) -> Result<(), OpenStoreError> {
    if !service_role_exists(connection).await? {
        let created = connection
            .execute(AssertSqlSafe(format!("CREATE ROLE {SERVICE_ROLE} NOLOGIN")))
            .await;
        match created {
            Err(error) if is_refusal(&error, "42501") => {
                return Err(RoleError::MayNotCreate {
                    login: login.name.clone(),
                }
                .into());
            }
            // Whatever else went wrong: if the role is there now, it does not matter.
            Err(error) if !service_role_exists(connection).await? => {
                return Err(store_error(error).into());
            }
            Ok(_) | Err(_) => {}
        }
    }
    if !may_become(connection, login).await? {
        let granted = connection
            .execute(AssertSqlSafe(format!(
                "GRANT {SERVICE_ROLE} TO {}",
                login.name
            )))
            .await;
        match granted {
            Err(error) if is_refusal(&error, "42501") => {
                return Err(RoleError::MayNotBecome {
                    login: login.name.clone(),
                }
                .into());
            }
            Err(error) if !may_become(connection, login).await? => {
                return Err(store_error(error).into());
            }
            Ok(_) | Err(_) => {}
        }
    }
    Ok(())
}

/// As the tables' owner, whoever logged in: all tables then have one owner.
async fn migrate(connection: &mut PgConnection, login: &Login) -> Result<(), OpenStoreError> {
    // The path may begin with the schema of whoever is asking.
    if let Some(schema) = &login.schema {
        execute(connection, &format!("SET search_path = {schema}")).await?;
    }
    if let Some(owner) = &login.owner {
        execute(connection, &format!("SET ROLE {owner}")).await?;
    }
    MIGRATIONS
        .run(&mut *connection)
        .await
        .map_err(|error| migrate_error(error, &MIGRATIONS, store_error))?;
    let usable = sqlx::query_scalar("SELECT has_schema_privilege($1, current_schema(), 'USAGE')")
        .bind(SERVICE_ROLE)
        .fetch_one(&mut *connection)
        .await;
    if let (false, Some(schema)) = (usable.map_err(store_error)?, &login.schema) {
        let grant = format!("GRANT USAGE ON SCHEMA {schema} TO {SERVICE_ROLE}");
        execute(connection, &grant).await?;
    }
    execute(connection, "RESET ROLE").await?;
    Ok(())
}

/// Refuses a schema that another version made: this role cannot change it.
async fn check_schema(connection: &mut PgConnection) -> Result<(), OpenStoreError> {
    let known = newest(&MIGRATIONS);
    let there = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL");
    if !there
        .fetch_one(&mut *connection)
        .await
        .map_err(store_error)?
    {
        return Err(OpenStoreError::SchemaOlder { found: 0, known });
    }
    let applied: Vec<(i64, Vec<u8>)> = sqlx::query_as(
        "SELECT version, checksum FROM _sqlx_migrations WHERE success ORDER BY version",
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(store_error)?;
    let found = applied.last().map_or(0, |(version, _)| *version);
    if found > known {
        return Err(OpenStoreError::SchemaNewer { found, known });
    }
    for migration in MIGRATIONS.iter() {
        match applied
            .iter()
            .find(|(version, _)| *version == migration.version)
        {
            None => return Err(OpenStoreError::SchemaOlder { found, known }),
            Some((_, checksum)) if **checksum != *migration.checksum => {
                let error = MigrateError::VersionMismatch(migration.version);
                return Err(OpenStoreError::Migrate(Box::new(error)));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// Refuses to work as somebody whom row-level security does not bind, and on tables that it does not guard.
async fn check_power(connection: &mut PgConnection) -> Result<(), OpenStoreError> {
    let (role, superuser, bypasses): (String, bool, bool) = sqlx::query_as(
        "SELECT quote_ident(rolname), rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user",
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(store_error)?;
    let tables: Vec<(String, bool, bool)> = sqlx::query_as(
        "SELECT quote_ident(relname), pg_has_role(relowner, 'USAGE'),
                NOT (relrowsecurity AND relforcerowsecurity)
                AND has_table_privilege(oid, 'INSERT, UPDATE, DELETE, TRUNCATE')
         FROM pg_class
         WHERE relkind IN ('r', 'p')
           AND relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = '_sqlx_migrations'::regclass)
         ORDER BY relname",
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(store_error)?;
    let why = if superuser {
        Some("is a superuser")
    } else if bypasses {
        Some("has BYPASSRLS")
    } else if tables.iter().any(|(_, own, _)| *own) {
        Some("owns tables")
    } else {
        None
    };
    if let Some(why) = why {
        return Err(RoleError::TooMighty { role, why }.into());
    }
    match tables.into_iter().find(|(_, _, open)| *open) {
        Some((table, _, _)) => Err(RoleError::Unprotected { table }.into()),
        None => Ok(()),
    }
}

async fn service_role_exists(connection: &mut PgConnection) -> Result<bool, StoreError> {
    sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = $1)")
        .bind(SERVICE_ROLE)
        .fetch_one(connection)
        .await
        .map_err(store_error)
}

/// Whether the URL's role can `SET ROLE` to the service's. Being a member was enough before PostgreSQL 16.
async fn may_become(connection: &mut PgConnection, login: &Login) -> Result<bool, StoreError> {
    if !service_role_exists(connection).await? {
        return Ok(false);
    }
    if login.superuser {
        return Ok(true);
    }
    let privilege = if login.version < 160_000 {
        "MEMBER"
    } else {
        "SET"
    };
    sqlx::query_scalar("SELECT pg_has_role(session_user, $1, $2)")
        .bind(SERVICE_ROLE)
        .bind(privilege)
        .fetch_one(connection)
        .await
        .map_err(store_error)
}

/// Names in it are constants or were quoted by the server.
async fn execute(connection: &mut PgConnection, sql: &str) -> Result<(), StoreError> {
    connection
        .execute(AssertSqlSafe(sql.to_owned()))
        .await
        .map(drop)
        .map_err(store_error)
}

fn is_refusal(error: &sqlx::Error, code: &str) -> bool {
    error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .is_some_and(|found| found == code)
}
