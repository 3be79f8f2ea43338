//! Things break while commands are given without pause. After each fault every promise is checked.

mod chirpstack;
mod database;
mod disk;
mod kill;
mod registry;
mod stop;
mod webhooks;
