//! Devices from a CSV file. Lines are looked at in their order and carried out several at a time, each for itself.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use downbeat_core::id::{DevEui, DeviceId, DeviceKey, NetworkServerId, TenantId};
use downbeat_core::time::Timestamp;
use futures_util::{StreamExt as _, stream};
use sha2::{Digest as _, Sha256};
use tokio::sync::{OnceCell, mpsc};
use tokio_stream::wrappers::UnboundedReceiverStream;
use uuid::Uuid;

use crate::csv::Record;
use crate::http::auth::Caller;
use crate::http::devices::create::new_device;
use crate::http::devices::fields::{WantedDevice, WriteDevice};
use crate::http::etag::IfMatch;
use crate::http::problem::{ApiError, Conflict, FieldError};
use crate::http::{AppState, registry};
use crate::store::{By, Device, DeviceFilter, NewDevice, PAGE_MAX, PageRequest, Scope, Tenant};

use super::column::{self, Column};
use super::file::File;
use super::{Done, ImportResult, ImportSummary, NDJSON, Outcome, of_one_device};

/// How many lines are carried out at once. A commit holds all that wait for it, so that more lines at once cost little.
const AT_ONCE: usize = 32;

/// How many lines are read before they are carried out.
const BATCH: usize = 256;

/// Imports the file in a request's body.
pub(super) async fn import(
    state: &AppState,
    caller: &Caller,
    tenant: &Tenant,
    request: Request,
    dry_run: bool,
    streamed: bool,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let mut file = File::of(&parts.headers, body)?;
    let Some(header) = file.next_record().await? else {
        return Err(ApiError::Malformed("The file is empty.".to_owned()));
    };
    let cells = header.cells.map_err(|error| {
        let line = header.line;
        ApiError::Malformed(format!("Line {line} {error}."))
    })?;
    let import = Import::new(state, caller, tenant, column::of_header(&cells)?, dry_run).await?;
    if !streamed {
        let mut summary = ImportSummary {
            dry_run,
            results: Some(Vec::new()),
            ..ImportSummary::default()
        };
        import.run(file, &mut summary, |_| true).await;
        return Ok(Json(summary).into_response());
    }
    // Whoever sends a file to its end before reading an answer is not waited for: what is kept for it is bounded by the
    // file's lines.
    let (results, lines) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut summary = ImportSummary {
            dry_run,
            ..ImportSummary::default()
        };
        let told = results.clone();
        let tell = move |result: &ImportResult| told.send(ndjson(result)).is_ok();
        import.run(file, &mut summary, tell).await;
        // Fails when the reader is gone.
        let _ = results.send(ndjson(&summary));
    });
    let lines = UnboundedReceiverStream::new(lines).map(Ok::<_, std::convert::Infallible>);
    Ok(([(CONTENT_TYPE, NDJSON)], Body::from_stream(lines)).into_response())
}

fn ndjson(value: &impl serde::Serialize) -> Bytes {
    let mut line = serde_json::to_vec(value).expect("texts, numbers and lists of them are JSON");
    line.push(b'\n');
    line.into()
}

/// A file's import.
struct Import {
    state: AppState,
    tenant_id: TenantId,
    scope: Scope,
    server: NetworkServerId,
    by: By,
    dry_run: bool,
    columns: Vec<Column>,
    /// How many devices may still be registered, as far as a dry run can tell.
    room: AtomicU64,
    /// The devices without a DevEUI, by their names.
    nameless: OnceCell<HashMap<NameHash, Named>>,
}

/// What stands for a name: there may be as many as a tenant has devices.
type NameHash = [u8; 16];

/// Who has a name.
#[derive(Debug, Clone, Copy)]
enum Named {
    One(DeviceId),
    Several,
}

/// A line that is to be carried out.
struct Ready {
    cells: Vec<String>,
    dev_eui: Option<DevEui>,
    name: String,
    /// If it is to be registered: chosen when the line is read, so that devices are listed in the file's order.
    id: DeviceId,
    created_at: Timestamp,
}

/// What the lines so far were about: the line of each DevEUI and each name.
#[derive(Default)]
struct Seen {
    dev_euis: HashMap<DevEui, u64>,
    names: HashMap<NameHash, u64>,
}

impl Import {
    async fn new(
        state: &AppState,
        caller: &Caller,
        tenant: &Tenant,
        columns: Vec<Column>,
        dry_run: bool,
    ) -> Result<Self, ApiError> {
        let scope = Scope::Tenant(tenant.id);
        let room = match tenant.fields.devices_max {
            Some(max) if dry_run => {
                let all = DeviceFilter::default();
                let count = state.store().count_devices(scope, &all).await?;
                u64::from(max).saturating_sub(count)
            }
            Some(_) | None => u64::MAX,
        };
        Ok(Self {
            state: state.clone(),
            tenant_id: tenant.id,
            scope,
            server: state.store().network_server_of(tenant.id).await?,
            by: caller.by(),
            dry_run,
            columns,
            room: AtomicU64::new(room),
            nameless: OnceCell::new(),
        })
    }

    /// Imports all lines, and tells of each, until nobody listens.
    async fn run(
        &self,
        mut file: File,
        summary: &mut ImportSummary,
        mut tell: impl FnMut(&ImportResult) -> bool,
    ) {
        let mut seen = Seen::default();
        let mut is_over = false;
        while !is_over {
            let mut batch = Vec::with_capacity(BATCH);
            let mut broken = None;
            while batch.len() < BATCH {
                match file.next_record().await {
                    Ok(Some(record)) => batch.push((record.line, self.ready(record, &mut seen))),
                    Ok(None) => {
                        is_over = true;
                        break;
                    }
                    Err(error) => {
                        broken = Some(error.to_string());
                        break;
                    }
                }
            }
            if self.state.stopping().is_cancelled() {
                summary.stopped = Some("the service is stopping".to_owned());
                return;
            }
            let mut results = stream::iter(batch)
                .map(|(line, ready)| self.carry_out(line, ready))
                .buffered(AT_ONCE);
            while let Some(result) = results.next().await {
                match result {
                    Ok(result) => {
                        summary.count(&result);
                        if !tell(&result) {
                            return;
                        }
                    }
                    Err((line, error)) => {
                        tracing::warn!(error = %error, "import.stopped");
                        summary.stopped = Some(format!("line {line}: {error}"));
                        return;
                    }
                }
            }
            if broken.is_some() {
                summary.stopped = broken;
                return;
            }
        }
    }

    /// A line as it is to be carried out, or what is wrong with it by itself.
    fn ready(&self, record: Record, seen: &mut Seen) -> Result<Ready, Vec<FieldError>> {
        let cells = record
            .cells
            .map_err(|error| wrong("line", error.to_string()))?;
        if cells.len() != self.columns.len() {
            let (has, header) = (cells.len(), self.columns.len());
            return Err(wrong(
                "line",
                format!("has {has} cells, the header {header}"),
            ));
        }
        let cell = |column| column::cell(&self.columns, &cells, &column);
        let name = cell(Column::Name).unwrap_or_default().to_owned();
        let dev_eui = match cell(Column::DevEui).map(str::parse) {
            None => None,
            Some(Ok(dev_eui)) => Some(dev_eui),
            Some(Err(_)) => {
                // Names this field, and the others that are wrong.
                return Err(match self.wanted(&cells, WriteDevice::default()) {
                    Err(ApiError::Invalid(errors)) => errors,
                    Err(_) | Ok(_) => wrong("lorawan_dev_eui", "must be 16 hex digits"),
                });
            }
        };
        let (field, earlier) = match dev_eui {
            Some(dev_eui) => (
                "lorawan_dev_eui",
                earlier(&mut seen.dev_euis, dev_eui, record.line),
            ),
            None => (
                "name",
                earlier(&mut seen.names, name_hash(&name), record.line),
            ),
        };
        match earlier {
            Some(line) => Err(wrong(field, format!("is the same as in line {line}"))),
            None => Ok(Ready {
                cells,
                dev_eui,
                name,
                id: DeviceId::from_uuid(Uuid::now_v7()),
                created_at: self.state.clock().now(),
            }),
        }
    }

    /// What became of a line; an error ends the import.
    async fn carry_out(
        &self,
        line: u64,
        ready: Result<Ready, Vec<FieldError>>,
    ) -> Result<ImportResult, (u64, ApiError)> {
        let done = match ready {
            Err(errors) => Err(errors),
            Ok(ready) => match self.one(ready).await {
                Ok(done) => done,
                Err(error) => Err(of_one_device(error).map_err(|error| (line, error))?),
            },
        };
        Ok(ImportResult::new(Some(line), None, done))
    }

    async fn one(&self, ready: Ready) -> Result<Done, ApiError> {
        let existing = match ready.dev_eui {
            Some(dev_eui) => self.by_dev_eui(dev_eui).await?,
            None => match self.by_name(&ready.name).await? {
                Some(Named::Several) => {
                    let message = "is the name of several devices without a DevEUI";
                    return Ok(Err(wrong("name", message)));
                }
                Some(Named::One(id)) => self.state.store().device(self.scope, id).await?,
                None => None,
            },
        };
        match existing {
            Some(device) => self.update(&device, &ready.cells).await.map(Ok),
            None => self.create(&ready).await.map(Ok),
        }
    }

    async fn create(&self, ready: &Ready) -> Result<(Outcome, Option<DeviceId>), ApiError> {
        let wanted = self.wanted(&ready.cells, WriteDevice::default())?;
        if !self.dry_run {
            let device = NewDevice {
                created_at: ready.created_at,
                ..new_device(ready.id, self.tenant_id, wanted, &self.state)
            };
            registry::create(&self.state, self.scope, device, self.by.clone()).await?;
            return Ok((Outcome::Created, Some(ready.id)));
        }
        if let Some(dev_eui) = ready.dev_eui
            && registry::is_taken(&self.state, self.server, dev_eui).await?
        {
            return Err(ApiError::Conflict(Conflict::DevEuiTaken));
        }
        let take = |room: u64| room.checked_sub(1);
        let taken = self
            .room
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        match taken {
            Ok(_) => Ok((Outcome::Created, None)),
            Err(_) => Err(ApiError::Conflict(Conflict::TenantFull)),
        }
    }

    async fn update(
        &self,
        device: &Device,
        cells: &[String],
    ) -> Result<(Outcome, Option<DeviceId>), ApiError> {
        let wanted = |device: &Device| self.wanted(cells, WriteDevice::of(device));
        let is_changed = if self.dry_run {
            let wanted = wanted(device)?;
            registry::difference(&self.state, device, &wanted)
                .await?
                .is_some()
        } else {
            let any = IfMatch::Any;
            let written =
                registry::update(&self.state, self.scope, device.id, &any, &self.by, wanted);
            written.await?.is_changed
        };
        let outcome = if is_changed {
            Outcome::Updated
        } else {
            Outcome::Unchanged
        };
        Ok((outcome, Some(device.id)))
    }

    fn wanted(&self, cells: &[String], current: WriteDevice) -> Result<WantedDevice, ApiError> {
        column::wanted(&self.columns, cells, current)
    }

    async fn by_dev_eui(&self, dev_eui: DevEui) -> Result<Option<Device>, ApiError> {
        let server = self.server;
        let key = DeviceKey { server, dev_eui };
        Ok(self.state.store().device_by_key(self.scope, key).await?)
    }

    async fn by_name(&self, name: &str) -> Result<Option<Named>, ApiError> {
        let nameless = self.nameless.get_or_try_init(|| self.read_names()).await?;
        Ok(nameless.get(&name_hash(name)).copied())
    }

    async fn read_names(&self) -> Result<HashMap<NameHash, Named>, ApiError> {
        let mut names = HashMap::new();
        let mut page = PageRequest::first(PAGE_MAX);
        loop {
            let filter = DeviceFilter::default();
            let found = self.state.store().list_devices(self.scope, &filter, page);
            let found = found.await?;
            let without = found.items.iter().filter(|it| it.fields.dev_eui.is_none());
            for device in without {
                names
                    .entry(name_hash(&device.fields.name))
                    .and_modify(|named| *named = Named::Several)
                    .or_insert(Named::One(device.id));
            }
            match found.next {
                Some(cursor) => page.after = Some(cursor),
                None => return Ok(names),
            }
        }
    }
}

/// The line that was about the same, if one was; else this line is from now on.
fn earlier<T: Eq + std::hash::Hash>(seen: &mut HashMap<T, u64>, what: T, line: u64) -> Option<u64> {
    match seen.entry(what) {
        std::collections::hash_map::Entry::Occupied(entry) => Some(*entry.get()),
        std::collections::hash_map::Entry::Vacant(entry) => {
            entry.insert(line);
            None
        }
    }
}

fn name_hash(name: &str) -> NameHash {
    let digest: [u8; 32] = Sha256::digest(name.as_bytes()).into();
    let mut hash = NameHash::default();
    hash.copy_from_slice(&digest[..16]);
    hash
}

fn wrong(field: &str, message: impl Into<String>) -> Vec<FieldError> {
    vec![FieldError {
        field: field.to_owned(),
        message: message.into(),
    }]
}
