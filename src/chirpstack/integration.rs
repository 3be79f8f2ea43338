//! ChirpStack's HTTP integration of an application: one list of URLs, one set of headers, one encoding.

use std::collections::BTreeMap;
use std::fmt;

use chirpstack_api::api;
use downbeat_actors::port::NetworkServerError;
use uuid::Uuid;

use super::client::ChirpStackClient;
use super::failure::{Meaning, Subject};
use super::registry::no_application;
use crate::webhook::Encoding;

/// Where ChirpStack posts an application's events. Printing it shows no header's value and no URL: both hold secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpIntegration {
    /// The URLs as ChirpStack keeps them: one text, separated by commas.
    pub endpoints: String,
    /// Sent with every post, to every URL.
    pub headers: BTreeMap<String, String>,
    /// Of the bodies.
    pub encoding: Encoding,
}

impl fmt::Debug for HttpIntegration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpIntegration")
            .field("headers", &self.headers.keys())
            .field("encoding", &self.encoding)
            .finish_non_exhaustive()
    }
}

impl ChirpStackClient {
    /// The HTTP integration of an application; `None` if it has none. [`NetworkServerError::Invalid`] if there is no such
    /// application for this key.
    pub async fn http_integration(
        &self,
        application_id: Uuid,
    ) -> Result<Option<HttpIntegration>, NetworkServerError> {
        let get = self.request(api::GetHttpIntegrationRequest {
            application_id: application_id.to_string(),
        });
        let mut applications = self.applications_api();
        let answer = self
            .within_deadline(applications.get_http_integration(get))
            .await;
        match answer {
            Ok(answer) => Ok(answer.integration.map(read)),
            // A global key is told the same of an application that does not exist.
            Err(failure) if failure.is_not_found() => {
                self.application(application_id).await?;
                Ok(None)
            }
            Err(failure) => match failure.meaning(Subject::Server) {
                Meaning::Error(error) => Err(error),
                Meaning::NoRight => {
                    self.check_key().await?;
                    Err(NetworkServerError::Invalid(no_application(application_id)))
                }
            },
        }
    }

    /// Sets the HTTP integration of an application. `is_new` tells that it has none: two callers that believe so are told
    /// apart by ChirpStack, which keeps one.
    pub async fn set_http_integration(
        &self,
        application_id: Uuid,
        integration: &HttpIntegration,
        is_new: bool,
    ) -> Result<(), NetworkServerError> {
        let integration = Some(api::HttpIntegration {
            application_id: application_id.to_string(),
            headers: integration.headers.clone().into_iter().collect(),
            encoding: match integration.encoding {
                Encoding::Json => api::Encoding::Json,
                Encoding::Protobuf => api::Encoding::Protobuf,
            }
            .into(),
            event_endpoint_url: integration.endpoints.clone(),
        });
        let absent = || {
            format!(
                "this key may not change application {application_id}: it is read-only, or there is no such application"
            )
        };
        let mut applications = self.applications_api();
        if is_new {
            let create = self.request(api::CreateHttpIntegrationRequest { integration });
            let call = applications.create_http_integration(create);
            self.of_object(Subject::Server, call, absent).await
        } else {
            let update = self.request(api::UpdateHttpIntegrationRequest { integration });
            let call = applications.update_http_integration(update);
            self.of_object(Subject::Server, call, absent).await
        }
    }

    /// The name of an application. [`NetworkServerError::Invalid`] if there is no such application for this key.
    pub async fn application(&self, application_id: Uuid) -> Result<String, NetworkServerError> {
        let get = self.request(api::GetApplicationRequest {
            id: application_id.to_string(),
        });
        let mut applications = self.applications_api();
        let answer = self
            .of_object(Subject::Server, applications.get(get), || {
                no_application(application_id)
            })
            .await?;
        Ok(answer.application.unwrap_or_default().name)
    }
}

fn read(integration: api::HttpIntegration) -> HttpIntegration {
    let encoding = match integration.encoding() {
        api::Encoding::Json => Encoding::Json,
        api::Encoding::Protobuf => Encoding::Protobuf,
    };
    HttpIntegration {
        endpoints: integration.event_endpoint_url,
        headers: integration.headers.into_iter().collect(),
        encoding,
    }
}
