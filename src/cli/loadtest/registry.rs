//! The registry under load: devices are made, read, listed, changed and taken out, and counted in between.

use std::sync::Arc;

use reqwest::{Method, RequestBuilder, StatusCode};
use serde::Deserialize;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

use super::measure::{Measurement, Measuring};
use super::pace::Pace;
use super::report::Report;
use super::server::Snapshot;
use super::target::{LoadError, TAG, Target, body_of};

/// Rows of a page of the list.
const PAGE: usize = 100;

/// What to do to which Downbeat.
#[derive(Debug, Clone)]
pub(super) struct RegistryLoad {
    pub(super) target: Target,
    /// Callers at once.
    pub(super) connections: usize,
    /// Devices to make.
    pub(super) devices: u64,
    /// `ChirpStack`'s application and device profile, for devices that are to be kept in step with it.
    pub(super) chirpstack: Option<(Uuid, Uuid)>,
}

/// A device that was made.
#[derive(Deserialize)]
struct Created {
    id: String,
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
    /// Makes the run. `progress` hears of each request that is done; there are five for each device.
    pub(super) async fn run(
        &self,
        progress: impl Fn() + Send + Clone + 'static,
    ) -> Result<Report, LoadError> {
        let before = Snapshot::of(&self.target).await;
        let mut report = Report {
            what: format!("Registry, {} callers at once", self.connections),
            ..Report::default()
        };
        let (created, ids) = self.measure(Operation::Create, None, &progress).await;
        let ids = Arc::new(ids);
        let made = created.requests;
        report.measurements.push(created);
        self.expect(&mut report, "made", made).await?;
        for operation in [
            Operation::Get,
            Operation::List,
            Operation::Update,
            Operation::Delete,
        ] {
            let some = Some(Arc::clone(&ids));
            let (measured, _) = self.measure(operation, some, &progress).await;
            report.measurements.push(measured);
        }
        let deleted = report.measurements.last().map_or(0, |it| it.requests);
        let left = made.saturating_sub(deleted);
        self.expect(&mut report, "left", left).await?;
        if let Some(before) = before
            && let Some(between) = before.until_now(&self.target).await
        {
            report.figures = between.usage();
        }
        Ok(report)
    }

    /// One operation on every device, by all callers. Gives the ids of devices that were made.
    async fn measure(
        &self,
        operation: Operation,
        ids: Option<Arc<Vec<String>>>,
        progress: &(impl Fn() + Send + Clone + 'static),
    ) -> (Measurement, Vec<String>) {
        let count = ids.as_ref().map_or(self.devices, |ids| ids.len() as u64);
        let (pace, started) = (Pace::closed(count), Instant::now());
        let mut callers = JoinSet::new();
        for _ in 0..self.connections {
            let (load, pace, ids, progress) =
                (self.clone(), pace.clone(), ids.clone(), progress.clone());
            callers.spawn(async move {
                let (mut times, mut made) = (Measuring::default(), Vec::new());
                while let Some(due) = pace.next().await {
                    let index = usize::try_from(due.number).unwrap_or(usize::MAX);
                    let id = ids.as_ref().and_then(|ids| ids.get(index));
                    let request = load.request(operation, due.number, id.map(String::as_str));
                    match body_of(request, operation.expected()).await {
                        Ok(body) => {
                            times.note(due.at.elapsed());
                            if let Operation::Create = operation {
                                let device = serde_json::from_slice::<Created>(&body);
                                made.extend(device.map(|device| device.id));
                            }
                        }
                        Err(error) => times.note_error(error),
                    }
                    progress();
                }
                (times, made)
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

    fn request(&self, operation: Operation, number: u64, id: Option<&str>) -> RequestBuilder {
        let target = &self.target;
        let path = id.map_or_else(String::new, |id| format!("/devices/{id}"));
        match operation {
            Operation::Create => {
                let mut body = json!({
                    "name": format!("Load {number}"),
                    "lorawan_dev_eui": target.dev_eui(number),
                    "tags": {TAG: target.run()},
                });
                if let Some((application, profile)) = self.chirpstack {
                    body["chirpstack_app_id"] = application.to_string().into();
                    body["device_profile_id"] = profile.to_string().into();
                }
                target.of_tenant(Method::POST, "/devices").json(&body)
            }
            Operation::Get => target.of_tenant(Method::GET, &path),
            Operation::List => {
                let request = target.of_tenant(Method::GET, "/devices");
                request.query(&[("limit", PAGE)])
            }
            Operation::Update => {
                let body = json!({"name": format!("Load {number}, changed")});
                target.of_tenant(Method::PATCH, &path).json(&body)
            }
            Operation::Delete => target.of_tenant(Method::DELETE, &path),
        }
    }

    /// Compares how many devices of this run there are, by reading the whole list.
    async fn expect(
        &self,
        report: &mut Report,
        what: &str,
        expected: u64,
    ) -> Result<(), LoadError> {
        let found = self.target.devices().await?.len() as u64;
        if expected != found {
            let words = format!("{expected} devices {what}, the list has {found}");
            report.discrepancies.push(words);
        }
        Ok(())
    }
}
