//! What is known of the API key: whether it is accepted, and how far it reaches.

use std::time::Duration;

use chirpstack_api::api;
use chirpstack_api::api::tenant_service_client::TenantServiceClient;
use downbeat_actors::port::NetworkServerError;
use downbeat_core::id::DevEui;
use tokio::time::Instant;
use uuid::Uuid;

use super::client::{ChirpStackClient, unreadable};
use super::convert;
use super::failure::{Meaning, Subject};
use super::inspect::KeyVerdict;

/// For how long a key that was accepted counts as good, so that an unknown device costs no second call each time.
const KEY_GOOD_FOR: Duration = Duration::from_secs(10);

/// What is known of the API key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    pub(super) reach: Reach,
    /// When ChirpStack last granted something to it.
    pub(super) good_at: Option<Instant>,
    /// Something that it may see, from which its tenant can be learnt.
    pub(super) witness: Option<Witness>,
}

/// How far a key reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    Unknown,
    /// A global key.
    Everything,
    /// One tenant, configured or learnt.
    Tenant(Uuid),
}

/// Something that a key may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Witness {
    Device(DevEui),
    Application(Uuid),
}

impl Key {
    pub(super) fn new(reach: Reach) -> Self {
        Self {
            reach,
            good_at: None,
            witness: None,
        }
    }
}

impl ChirpStackClient {
    /// Finds out whether the key is accepted, after ChirpStack refused something without saying why.
    pub(super) async fn check_key(&self) -> Result<(), NetworkServerError> {
        let good_at = self.key().good_at;
        if good_at.is_some_and(|at| at.elapsed() < KEY_GOOD_FOR) {
            return Ok(());
        }
        self.ask_for_key().await
    }

    /// Asks whether the key is accepted, whatever is known of it.
    pub(super) async fn ask_for_key(&self) -> Result<(), NetworkServerError> {
        match self.try_key().await {
            // That the question got no answer does not put what was asked before in doubt: it was refused.
            Err(NetworkServerError::AnswerLost(cause)) => {
                Err(NetworkServerError::Unavailable(cause))
            }
            // A tenant's key whose tenant is not known yet can be asked for no right of its own; that it is one can.
            Err(NetworkServerError::Unauthenticated) if self.key().reach == Reach::Unknown => {
                match self.key_verdict().await? {
                    KeyVerdict::Global | KeyVerdict::Tenant => {
                        self.granted(|_| ());
                        Ok(())
                    }
                    KeyVerdict::Deleted | KeyVerdict::Foreign => {
                        Err(NetworkServerError::Unauthenticated)
                    }
                }
            }
            other => other,
        }
    }

    /// Counts the tenant's applications, or all tenants: both ask for the key's rights, which listing gateways does not
    /// in all versions.
    pub(super) async fn try_key(&self) -> Result<(), NetworkServerError> {
        let key = self.key();
        match key.reach {
            Reach::Tenant(tenant_id) => self.try_tenant(tenant_id).await,
            Reach::Everything | Reach::Unknown => self.try_everything(key).await,
        }
    }

    async fn try_tenant(&self, tenant_id: Uuid) -> Result<(), NetworkServerError> {
        let mut applications = self.applications_api();
        let count = self.request(api::ListApplicationsRequest {
            tenant_id: tenant_id.to_string(),
            ..api::ListApplicationsRequest::default()
        });
        self.of_server(applications.list(count)).await?;
        self.granted(|_| ());
        Ok(())
    }

    /// As a global key's holder; a key that turns out to be a tenant's is asked what its tenant is.
    async fn try_everything(&self, known: Key) -> Result<(), NetworkServerError> {
        let mut tenants = TenantServiceClient::new(self.channel());
        let count = self.request(api::ListTenantsRequest::default());
        let Err(failure) = self.within_deadline(tenants.list(count)).await else {
            self.granted(|key| key.reach = Reach::Everything);
            return Ok(());
        };
        match (failure.meaning(Subject::Server), known.witness) {
            (Meaning::Error(error), _) => Err(error),
            (Meaning::NoRight, Some(witness)) if known.reach == Reach::Unknown => {
                let tenant_id = self.tenant_of(witness).await?;
                self.granted(|key| key.reach = Reach::Tenant(tenant_id));
                Ok(())
            }
            (Meaning::NoRight, _) => Err(NetworkServerError::Unauthenticated),
        }
    }

    /// How far the key reaches, asked if it is not known.
    pub(super) async fn reach(&self) -> Result<Reach, NetworkServerError> {
        if self.key().reach == Reach::Unknown {
            self.try_key().await?;
        }
        Ok(self.key().reach)
    }

    /// The tenant that something belongs to.
    async fn tenant_of(&self, witness: Witness) -> Result<Uuid, NetworkServerError> {
        let application_id = match witness {
            Witness::Application(id) => id.to_string(),
            Witness::Device(dev_eui) => {
                let get = self.request(api::GetDeviceRequest {
                    dev_eui: dev_eui.to_string(),
                });
                let device = self.of_server(self.devices_api().get(get)).await?.device;
                device.unwrap_or_default().application_id
            }
        };
        let get = self.request(api::GetApplicationRequest { id: application_id });
        let mut applications = self.applications_api();
        let application = self.of_server(applications.get(get)).await?.application;
        convert::tenant_id(&application.unwrap_or_default().tenant_id).map_err(unreadable)
    }
}
