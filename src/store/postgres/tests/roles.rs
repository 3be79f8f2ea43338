//! Who migrates, and as whom the service works.

use downbeat_testdb::{Database, Server};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::super::role::SERVICE_ROLE;
use super::{MIGRATIONS, database, open, postgres, superuser};
use crate::store::conformance::{default_tenant, on_default, register};
use crate::store::{OpenStoreError, RoleError, Scope, Store};
use downbeat_actors::port::DeviceStore as _;

async fn run(connection: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(connection)
        .await
        .unwrap();
}

/// As whom statements run, and whose the tables are.
async fn role_and_owner(store: &Store) -> (String, String) {
    let mut transaction = postgres(store)
        .sessions
        .begin(Scope::Platform)
        .await
        .unwrap();
    sqlx::query_as(
        "SELECT current_user::text, tableowner::text FROM pg_tables WHERE tablename = 'device'",
    )
    .fetch_one(&mut *transaction)
    .await
    .unwrap()
}

async fn use_it(store: &Store) {
    register(store, default_tenant(store).await, 1).await;
    assert!(store.load(on_default(1)).await.unwrap().is_some());
    store.ping().await.unwrap();
}

#[tokio::test]
async fn a_superusers_url_is_enough_for_everything() {
    let database = Database::empty();
    let store = open(&database.url()).await.unwrap();
    let (role, owner) = role_and_owner(&store).await;
    assert_eq!(role, SERVICE_ROLE);
    assert_ne!(owner, SERVICE_ROLE);
    use_it(&store).await;
    let again = open(&database.url()).await.unwrap();
    assert!(again.load(on_default(1)).await.unwrap().is_some());
}

#[tokio::test]
async fn an_owners_url_is_enough_for_everything() {
    let mut database = Database::empty();
    let owner = database.new_role("LOGIN CREATEROLE");
    run(
        &mut superuser(&database).await,
        &format!("CREATE SCHEMA {owner} AUTHORIZATION {owner}"),
    )
    .await;
    let store = open(&database.url_as(&owner)).await.unwrap();
    assert_eq!(
        role_and_owner(&store).await,
        (SERVICE_ROLE.to_owned(), owner.clone())
    );
    use_it(&store).await;
    // A superuser who migrates later leaves the tables whose they are.
    let mut root = superuser(&database).await;
    let path = format!(
        "DO $$ BEGIN
            EXECUTE format('ALTER DATABASE %I SET search_path = {owner}', current_database());
         END $$"
    );
    run(&mut root, &path).await;
    let later = open(&database.url()).await.unwrap();
    assert_eq!(
        role_and_owner(&later).await,
        (SERVICE_ROLE.to_owned(), owner)
    );
}

#[tokio::test]
async fn a_member_of_the_services_role_works_on_a_schema_that_is_there() {
    let mut database = database().await;
    for attributes in ["LOGIN INHERIT", "LOGIN NOINHERIT"] {
        let member = database.new_role(&format!("{attributes} IN ROLE {SERVICE_ROLE}"));
        let store = open(&database.url_as(&member)).await.unwrap();
        assert_eq!(role_and_owner(&store).await.0, SERVICE_ROLE);
        store.ping().await.unwrap();
        default_tenant(&store).await;
    }
}

#[tokio::test]
async fn a_role_with_grants_of_its_own_works_as_itself() {
    let mut database = database().await;
    let role = database.new_role("LOGIN");
    let grants = format!(
        "GRANT SELECT ON _sqlx_migrations TO {role};
         GRANT USAGE ON SEQUENCE sync_generation TO {role};
         GRANT SELECT, INSERT ON seal_check, audit TO {role};
         GRANT SELECT, INSERT, UPDATE, DELETE
            ON tenant, api_key, device, device_state, device_sync, network_server, unclaimed TO {role}"
    );
    run(&mut superuser(&database).await, &grants).await;
    let store = open(&database.url_as(&role)).await.unwrap();
    assert_eq!(role_and_owner(&store).await.0, role);
    use_it(&store).await;
}

#[tokio::test]
async fn a_member_needs_the_schema_that_it_knows() {
    let mut database = database().await;
    let mut empty = Database::empty();
    let member = empty.new_role(&format!("LOGIN IN ROLE {SERVICE_ROLE}"));
    run(
        &mut superuser(&empty).await,
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
    )
    .await;
    let refused = open(&empty.url_as(&member)).await;
    assert!(
        matches!(refused, Err(OpenStoreError::SchemaOlder { found: 0, .. })),
        "{refused:?}"
    );

    let member = database.new_role(&format!("LOGIN IN ROLE {SERVICE_ROLE}"));
    let mut root = superuser(&database).await;
    let newest = MIGRATIONS.iter().last().unwrap().version;
    run(
        &mut root,
        &format!("UPDATE _sqlx_migrations SET checksum = 'x' WHERE version = {newest}"),
    )
    .await;
    let refused = open(&database.url_as(&member)).await;
    assert!(
        matches!(refused, Err(OpenStoreError::Migrate(_))),
        "{refused:?}"
    );
    run(
        &mut root,
        &format!("DELETE FROM _sqlx_migrations WHERE version = {newest}"),
    )
    .await;
    let refused = open(&database.url_as(&member)).await;
    assert!(
        matches!(refused, Err(OpenStoreError::SchemaOlder { known, .. }) if known == newest),
        "{refused:?}"
    );
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("run `downbeat migrate` with the URL of the tables' owner")
    );
    run(
        &mut root,
        "INSERT INTO _sqlx_migrations VALUES (99990101000000, 'of the future', now(), true, 'x', 0)",
    )
    .await;
    for url in [database.url_as(&member), database.url()] {
        let refused = open(&url).await;
        let Err(OpenStoreError::SchemaNewer { found, known }) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!((found, known), (99_990_101_000_000, newest));
    }
}

#[tokio::test]
async fn nobody_whom_row_level_security_does_not_bind_serves() {
    let mut database = database().await;
    let mut root = superuser(&database).await;
    let mighty = database.new_role("LOGIN BYPASSRLS");
    run(
        &mut root,
        &format!("GRANT SELECT ON _sqlx_migrations TO {mighty}"),
    )
    .await;
    let refused = open(&database.url_as(&mighty)).await;
    assert!(
        matches!(
            refused,
            Err(OpenStoreError::Role(RoleError::TooMighty {
                why: "has BYPASSRLS",
                ..
            }))
        ),
        "{refused:?}"
    );
    run(&mut root, "ALTER TABLE device NO FORCE ROW LEVEL SECURITY").await;
    let refused = open(&database.url()).await;
    let Err(OpenStoreError::Role(RoleError::Unprotected { table })) = &refused else {
        panic!("{refused:?}")
    };
    assert_eq!(table, "device");
    run(&mut root, &format!("ALTER TABLE device FORCE ROW LEVEL SECURITY; ALTER TABLE device OWNER TO {SERVICE_ROLE}")).await;
    let refused = open(&database.url()).await;
    assert!(
        matches!(
            refused,
            Err(OpenStoreError::Role(RoleError::TooMighty {
                why: "owns tables",
                ..
            }))
        ),
        "{refused:?}"
    );
    run(&mut root, "ALTER TABLE device OWNER TO CURRENT_USER").await;
}

#[tokio::test]
async fn an_owner_who_may_not_become_the_services_role_is_told_what_to_run() {
    let mut database = Database::empty();
    let owner = database.new_role("LOGIN");
    let mut root = superuser(&database).await;
    run(
        &mut root,
        &format!("GRANT CREATE ON SCHEMA public TO {owner}"),
    )
    .await;
    let refused = open(&database.url_as(&owner)).await;
    assert!(
        matches!(
            refused,
            Err(OpenStoreError::Role(RoleError::MayNotBecome { .. }))
        ),
        "{refused:?}"
    );
    let text = refused.unwrap_err().to_string();
    let told = format!("GRANT {SERVICE_ROLE} TO {owner};");
    assert!(text.ends_with(&told), "{text}");
    run(&mut root, &told).await;
    use_it(&open(&database.url_as(&owner)).await.unwrap()).await;
}

/// The role belongs to the whole server: this needs one where nobody has made it.
#[tokio::test]
async fn many_databases_of_a_new_server_are_opened_at_once() {
    let server = Server::start_own();
    let mut root = PgConnection::connect(&server.url("postgres"))
        .await
        .unwrap();
    run(&mut root, "CREATE ROLE poor LOGIN").await;
    run(&mut root, "CREATE DATABASE poor OWNER poor").await;
    let url = server.url("poor").replace("postgres@", "poor@");
    run(
        &mut PgConnection::connect(&server.url("poor")).await.unwrap(),
        "GRANT CREATE ON SCHEMA public TO poor",
    )
    .await;
    let refused = open(&url).await;
    assert!(
        matches!(
            refused,
            Err(OpenStoreError::Role(RoleError::MayNotCreate { .. }))
        ),
        "{refused:?}"
    );

    let mut urls = Vec::new();
    for number in 0..4 {
        run(&mut root, &format!("CREATE DATABASE many{number}")).await;
        // Each of them twice, as two processes do.
        urls.extend([
            server.url(&format!("many{number}")),
            server.url(&format!("many{number}")),
        ]);
    }
    let opened = futures_util::future::join_all(urls.iter().map(|url| open(url))).await;
    for store in opened {
        default_tenant(&store.unwrap()).await;
    }
}
