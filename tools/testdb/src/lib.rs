//! PostgreSQL for the tests: a real server of their own, which is gone when they are done.
//!
//! The first test that asks boots one server for all processes of the run; each test gets a database of its own there,
//! empty or copied from a template that is filled once. Each process holds a lock; a watchdog beside them stops the
//! server and deletes its files when nobody has held it for a while, however the processes ended. PostgreSQL refuses to
//! run as root: then it runs as `postgres`, or as `nobody` where there is no such user.
//!
//! `DOWNBEAT_TEST_PG_URL`, the URL of a superuser, has the tests use another server instead. Without it and without
//! PostgreSQL they fail: they never pass by not running.

mod database;
mod installation;
mod server;

pub use database::Database;
pub use server::Server;

/// The URL of a superuser on the server to use instead of an own one.
pub const URL_VARIABLE: &str = "DOWNBEAT_TEST_PG_URL";
