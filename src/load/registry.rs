//! The registry under load: devices are made, read, listed, changed and taken out, and counted in between.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use reqwest::{Client, Method, RequestBuilder, StatusCode, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::measure::{Measurement, Measuring, Report};

/// What a device's tag says of the run that made it, so that a run counts and removes its own.
const TAG: &str = "loadtest";

/// Rows of a page of the list.
const PAGE: usize = 100;

/// What to do to which Downbeat.
#[derive(Debug, Clone)]
pub struct RegistryLoad {
    /// Where it listens, `http://…`.
    pub url: Url,
    /// A key with the role admin.
    pub key: SecretString,
    /// The tenant's id or name.
    pub tenant: String,
    /// Callers at once.
    pub connections: usize,
    /// Devices to make.
    pub devices: u64,
    /// `ChirpStack`'s application and device profile, for devices that are to be kept in step with it.
    pub chirpstack: Option<(Uuid, Uuid)>,
}

/// Why a run could not be made.
#[derive(Debug, thiserror::Error)]
pub enum RegistryLoadError {
    /// The HTTP client.
    #[error("the HTTP client could not be made")]
    Client(#[source] reqwest::Error),
    /// The address.
    #[error("{0} is no address that a path can be added to")]
    Url(Url),
    /// The devices of the run could not be counted.
    #[error("the devices could not be counted: {0}")]
    Count(String),
}

/// One caller's view of the run.
#[derive(Debug, Clone)]
struct Target {
    client: Client,
    devices: Url,
    key: Arc<SecretString>,
    run: String,
    chirpstack: Option<(Uuid, Uuid)>,
}

#[derive(Debug, Clone, Copy)]
enum Operation {
    Create,
    Get,
    List,
    Update,
    Delete,
}

impl Operation {
    const fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Get => "get",
            Self::List => "list",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }

    const fn expected(self) -> StatusCode {
        match self {
            Self::Create => StatusCode::CREATED,
            Self::Get | Self::List | Self::Update => StatusCode::OK,
            Self::Delete => StatusCode::NO_CONTENT,
        }
    }
}

impl RegistryLoad {
    /// Makes the run. `progress` hears how many requests are done, of how many.
    pub async fn run(
        &self,
        progress: impl Fn(u64, u64) + Send + Clone + 'static,
    ) -> Result<Report, RegistryLoadError> {
        let client = Client::builder()
            .pool_max_idle_per_host(self.connections)
            .timeout(Duration::from_mins(1))
            .build()
            .map_err(RegistryLoadError::Client)?;
        let path = format!("/api/v1/tenants/{}/devices", self.tenant);
        let target = Target {
            client,
            devices: self
                .url
                .join(&path)
                .map_err(|_| RegistryLoadError::Url(self.url.clone()))?,
            key: Arc::new(self.key.clone()),
            run: Uuid::now_v7().simple().to_string(),
            chirpstack: self.chirpstack,
        };
        let total = self.devices * 5;
        let done = Arc::new(AtomicU64::new(0));
        let note = move || progress(done.fetch_add(1, Ordering::Relaxed) + 1, total);
        let mut discrepancies = Vec::new();
        let mut measurements = Vec::new();

        let (created, ids) = self.measure(&target, Operation::Create, None, &note).await;
        let ids = Arc::new(ids);
        let made = created.requests;
        measurements.push(created);
        expect(&mut discrepancies, "made", made, target.count().await?);
        for operation in [
            Operation::Get,
            Operation::List,
            Operation::Update,
            Operation::Delete,
        ] {
            let some = Some(Arc::clone(&ids));
            let (measured, _) = self.measure(&target, operation, some, &note).await;
            measurements.push(measured);
        }
        let deleted = measurements.last().map_or(0, |measured| measured.requests);
        let left = made.saturating_sub(deleted);
        expect(&mut discrepancies, "left", left, target.count().await?);
        Ok(Report {
            connections: self.connections,
            measurements,
            discrepancies,
        })
    }

    /// One operation on every device, by all callers. Gives the ids of devices that were made.
    async fn measure(
        &self,
        target: &Target,
        operation: Operation,
        ids: Option<Arc<Vec<String>>>,
        note: &(impl Fn() + Send + Clone + 'static),
    ) -> (Measurement, Vec<String>) {
        let next = Arc::new(AtomicU64::new(0));
        let count = ids.as_ref().map_or(self.devices, |ids| ids.len() as u64);
        let started = Instant::now();
        let mut callers = JoinSet::new();
        for _ in 0..self.connections {
            let (target, next, ids, note) =
                (target.clone(), Arc::clone(&next), ids.clone(), note.clone());
            callers.spawn(async move {
                let (mut times, mut made) = (Measuring::default(), Vec::new());
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return (times, made);
                    }
                    let index = usize::try_from(number).unwrap_or(usize::MAX);
                    let id = ids.as_ref().and_then(|ids| ids.get(index));
                    let request = target.request(operation, number, id.map(String::as_str));
                    let began = Instant::now();
                    match answered(request, operation.expected()).await {
                        Ok(body) => {
                            times.note(began.elapsed());
                            if let Operation::Create = operation {
                                let device = serde_json::from_slice::<Created>(&body);
                                made.extend(device.map(|device| device.id));
                            }
                        }
                        Err(error) => times.note_error(error),
                    }
                    note();
                }
            });
        }
        let (mut times, mut made) = (Measuring::default(), Vec::new());
        while let Some(caller) = callers.join_next().await {
            match caller {
                Ok((of_caller, made_by_caller)) => {
                    times.add(of_caller);
                    made.extend(made_by_caller);
                }
                Err(error) => times.note_error(error.to_string()),
            }
        }
        (times.finish(operation.name(), started.elapsed()), made)
    }
}

impl Target {
    fn request(&self, operation: Operation, number: u64, id: Option<&str>) -> RequestBuilder {
        let mut url = self.devices.clone();
        if let Some(id) = id {
            url.set_path(&format!("{}/{id}", self.devices.path()));
        }
        match operation {
            Operation::Create => {
                let mut body = json!({
                    "name": format!("Load {number}"),
                    "lorawan_dev_eui": self.dev_eui(number),
                    "tags": {TAG: self.run},
                });
                if let Some((application, profile)) = self.chirpstack {
                    body["chirpstack_app_id"] = application.to_string().into();
                    body["device_profile_id"] = profile.to_string().into();
                }
                self.call(Method::POST, self.devices.clone()).json(&body)
            }
            Operation::Get => self.call(Method::GET, url),
            Operation::List => {
                let request = self.call(Method::GET, self.devices.clone());
                request.query(&[("limit", PAGE)])
            }
            Operation::Update => {
                let body = json!({"name": format!("Load {number}, changed")});
                self.call(Method::PATCH, url).json(&body)
            }
            Operation::Delete => self.call(Method::DELETE, url),
        }
    }

    fn call(&self, method: Method, url: Url) -> RequestBuilder {
        self.client
            .request(method, url)
            .bearer_auth(self.key.expose_secret())
    }

    /// Different in each run: the run's random digits and the number.
    fn dev_eui(&self, number: u64) -> String {
        let random = &self.run[self.run.len() - 8..];
        format!("{random}{number:08x}")
    }

    /// How many devices of this run there are, by reading the whole list.
    async fn count(&self) -> Result<u64, RegistryLoadError> {
        let (mut count, mut cursor) = (0, None);
        loop {
            let tag = format!("{TAG}:{}", self.run);
            let mut query = vec![("tag", tag), ("limit", "1000".to_owned())];
            query.extend(cursor.map(|cursor| ("cursor", cursor)));
            let request = self.call(Method::GET, self.devices.clone()).query(&query);
            let page = answered(request, StatusCode::OK).await;
            let page = page.map_err(RegistryLoadError::Count)?;
            let page: Listed = serde_json::from_slice(&page)
                .map_err(|error| RegistryLoadError::Count(error.to_string()))?;
            count += page.devices.len() as u64;
            match page.next_cursor {
                Some(next) => cursor = Some(next),
                None => return Ok(count),
            }
        }
    }
}

/// A device that was made.
#[derive(Deserialize)]
struct Created {
    id: String,
}

/// A page of the list.
#[derive(Deserialize)]
struct Listed {
    devices: Vec<IgnoredAny>,
    next_cursor: Option<String>,
}

/// The body of an answer with the right status. The whole body is read, because a list that was not read is not done; but
/// it is not taken apart, because callers do that on machines of their own.
async fn answered(request: RequestBuilder, expected: StatusCode) -> Result<Bytes, String> {
    let answer = request.send().await.map_err(|error| error.to_string())?;
    let status = answer.status();
    let body = answer.bytes().await.map_err(|error| error.to_string())?;
    if status != expected {
        let words = String::from_utf8_lossy(&body);
        return Err(format!("{status}: {words}"));
    }
    Ok(body)
}

fn expect(discrepancies: &mut Vec<String>, what: &str, expected: u64, found: u64) {
    if expected != found {
        discrepancies.push(format!("{expected} devices {what}, the list has {found}"));
    }
}
