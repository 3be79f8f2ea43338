//! What the actors need of the outside, as traits. `downbeat` implements them; tests and simulations do, too.

pub mod audit;
pub mod job;
pub mod machine;
pub mod network_server;
pub mod store;

pub use audit::{AuditEntry, By};
pub use job::{JobChange, JobOrder, JobProgress, JobStore, LateProof, LoadedJob, StoredJob};
pub use machine::{Machine, Uptime};
pub use network_server::{
    ListedApplication, ListedDevice, NetworkServer, NetworkServerError, NewQueueItem,
};
pub use store::{
    DeviceChange, DeviceStore, FieldPath, GatewayMemory, HistoryEntry, StoreError, StoredDevice,
    StoredGateway, StoredLinks, StoredSync, SyncChange, TelemetryValue,
};
