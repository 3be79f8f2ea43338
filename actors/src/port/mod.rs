//! What the actors need of the outside, as traits. `downbeat` implements them; tests and simulations do, too.

pub mod network_server;
pub mod store;

pub use network_server::{
    ListedApplication, ListedDevice, NetworkServer, NetworkServerError, NewQueueItem,
};
pub use store::{DeviceChange, DeviceStore, HistoryEntry, StoreError, StoredDevice};
