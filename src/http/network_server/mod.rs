//! A tenant's own network server.
//!
//! Downbeat connects to the address that is set, from its own place in the network. So the platform's administrators
//! alone may set and try one, unless the configuration lets tenants' administrators.

use std::sync::Arc;

use downbeat_actors::port::NetworkServer;
use secrecy::SecretString;

/// Makes clients of network servers, for the edge, which knows no network server itself.
pub trait Connect: Send + Sync + 'static {
    /// A client that connects when it is used first.
    fn connect(
        &self,
        url: &str,
        api_key: &SecretString,
    ) -> Result<Arc<dyn NetworkServer>, ConnectError>;
}

/// Why there can be no client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {message}")]
pub struct ConnectError {
    /// What is wrong: `url` or `api_key`.
    pub field: &'static str,
    /// What it has to be. The key is not repeated here.
    pub message: &'static str,
}
