//! `GET /api/v1/tenants/{tenant_id}/events`: what happens, as Server-Sent Events.
//!
//! A reader pulls from the feed at its own pace; one that falls behind what is kept gets `reset` and loads everything
//! anew, so a slow reader costs nothing. `Last-Event-ID` resumes where a connection broke.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName};
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use downbeat_actors::observe::{FeedBody, FeedEvent, FeedItem, FeedPosition, Subscription};
use downbeat_core::id::TenantId;
use futures_util::stream::{self, Stream};
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Interval, MissedTickBehavior};
use utoipa::{IntoParams, ToSchema};

use super::auth::{Caller, Viewer};
use super::devices::DeviceChangeBody;
use super::devices::queue_findings::QueueFindingBody;
use super::downlinks::DownlinkBody;
use super::downlinks::timeline::TimelineEntryBody;
use super::extract::{Fields, QueryFields};
use super::gateways::GatewayBody;
use super::gateways::visible::TenantView;
use super::jobs::JobEventBody;
use super::problem::{ApiError, Problem};
use super::{AppState, tenants};

/// A comment is sent when nothing else was for this long, so that a broken connection shows.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How often it is asked whether the reader's key or session still holds.
const HOLDS_CHECKED_EVERY: Duration = Duration::from_secs(30);

/// How soon a reader comes back.
const RETRY: Duration = Duration::from_secs(2);

/// Where to begin.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EventsQuery {
    /// Like the header `Last-Event-ID`, for readers that cannot send one.
    last_event_id: Option<String>,
}

/// A `downlink` event: the command, and the step that it just took.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DownlinkEventBody {
    #[serde(flatten)]
    downlink: DownlinkBody,
    step: TimelineEntryBody,
}

/// A `sync` event: how far ChirpStack is in step with a device.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SyncEventBody {
    /// The device's id.
    id: String,
    lorawan_dev_eui: String,
    /// Whether ChirpStack holds what the registry says.
    chirpstack_synced: bool,
    /// `pending`, `synced`, `failing`, `conflict` or `rejected`.
    state: &'static str,
    /// What is in the way.
    error: Option<String>,
    /// Attempts that failed.
    attempts: u32,
    /// RFC 3339.
    next_attempt_at: Option<String>,
}

/// A `gateway` event: a gateway after a change.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct GatewayEventBody {
    #[serde(flatten)]
    gateway: GatewayBody,
    /// What changed: `came_online`, `went_offline`, `fell_mute`, `sends_again` or `revived` (worth sending to again).
    change: &'static str,
}

/// A `queue` event: a device's queue in ChirpStack does not move and is reported, or was flushed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct QueueEventBody {
    /// `stuck` or `flushed`.
    state: &'static str,
    /// The device's id.
    id: String,
    lorawan_dev_eui: String,
    /// Items in the queue, or that were.
    items: u32,
    /// What is stuck there.
    finding: Option<QueueFindingBody>,
}

/// A `registry` event: a device was registered, changed or deleted, by whomever. What it is now is to be looked up.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RegistryEventBody {
    /// `created`, `changed` or `deleted`.
    change: &'static str,
    /// The device's id.
    id: String,
    /// Its DevEUI after the change, or the last one that it had; null if it is not on LoRaWAN.
    lorawan_dev_eui: Option<String>,
}

/// What happens, as Server-Sent Events
///
/// `device`: what is known of a device after a change. `sync`: how far ChirpStack is in step with a device. `downlink`: a command and its newest step. `gateway`: a gateway
/// after a change. `queue`: a device's queue in ChirpStack that does not move. `registry`: a device was registered, changed or
/// deleted.
/// `job`: how far a job is, once a second at the most. `reset`: events are missing, load everything anew.
#[utoipa::path(
    get,
    path = "/api/v1/tenants/{tenant_id}/events",
    tag = "live",
    params(
        ("tenant_id" = String, Path, description = "The tenant's id or name"),
        ("Last-Event-ID" = Option<String>, Header, description = "the last event that was received"),
        EventsQuery,
    ),
    responses(
        (status = 200, description = "The stream", body = DownlinkEventBody, content_type = "text/event-stream"),
        (status = 404, description = "No such tenant", body = Problem),
        (status = 503, description = "As many streams are open as can be", body = Problem),
    ),
)]
pub(super) async fn events(
    State(state): State<AppState>,
    Viewer(caller): Viewer,
    Path(tenant): Path<String>,
    QueryFields(query): QueryFields<EventsQuery>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, ApiError> {
    let tenant_id = tenants::id_of_path(&state, &caller, &tenant).await?;
    let gateways = TenantView::of(&state, tenant_id).await?;
    let after = last_event(&headers, query.last_event_id.as_deref())?;
    let place = state.admission().stream()?;
    let mut checks = tokio::time::interval(HOLDS_CHECKED_EVERY);
    checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    checks.reset();
    let revocations = state.revocations();
    let reader = Reader {
        revocations,
        subscription: state.system().feed().subscribe(after),
        tenant_id,
        gateways,
        caller,
        checks,
        opened: false,
        state,
        _place: place,
    };
    // A proxy that buffers would hold events back.
    let unbuffered = [(HeaderName::from_static("x-accel-buffering"), "no")];
    let sse = Sse::new(reader.events()).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    Ok((unbuffered, sse))
}

/// Where the reader was; a place that is none is as good as a missed one, so it is not an error of the header, which
/// browsers send by themselves.
fn last_event(headers: &HeaderMap, query: Option<&str>) -> Result<Option<FeedPosition>, ApiError> {
    let mut fields = Fields::default();
    let of_query = fields.parsed("last_event_id", query);
    let of_query = fields.done(of_query)?;
    let Some(header) = headers.get("last-event-id") else {
        return Ok(of_query);
    };
    let position = header.to_str().ok().and_then(|text| text.parse().ok());
    Ok(Some(position.unwrap_or(FeedPosition { run: 0, seq: 0 })))
}

struct Reader {
    subscription: Subscription,
    tenant_id: TenantId,
    gateways: TenantView,
    caller: Caller,
    checks: Interval,
    revocations: watch::Receiver<()>,
    opened: bool,
    state: AppState,
    _place: OwnedSemaphorePermit,
}

impl Reader {
    fn events(self) -> impl Stream<Item = Result<Event, Infallible>> {
        stream::unfold(self, |mut reader| async move {
            let event = reader.next().await?;
            Some((Ok(event), reader))
        })
    }

    /// The next event of this tenant; `None` when the key or session holds no more, or the service stops.
    async fn next(&mut self) -> Option<Event> {
        if !std::mem::replace(&mut self.opened, true) {
            return Some(Event::default().retry(RETRY).comment("open"));
        }
        loop {
            tokio::select! {
                () = self.state.stopping().cancelled() => return None,
                item = self.subscription.next() => {
                    self.learn_owner(&item).await;
                    if let Some(event) = self.event(item) {
                        return Some(event);
                    }
                }
                Ok(()) = self.revocations.changed() => {
                    if !self.caller.still_holds(&self.state).await {
                        return None;
                    }
                }
                _ = self.checks.tick() => {
                    if !self.caller.still_holds(&self.state).await {
                        return None;
                    }
                    self.look_at_gateways().await;
                }
            }
        }
    }

    /// A gateway of a tenant of ChirpStack's that was not met before: whose it is decides whether it is told of. While the
    /// database is away that is not known, and it is not.
    async fn learn_owner(&mut self, item: &FeedItem) {
        if let FeedItem::Event(_, event) = item
            && let FeedBody::Gateway(view) = &event.body
            && let Err(error) = self.gateways.learn(&self.state, &view.status).await
        {
            tracing::debug!(%error, "live.gateway.owner.unknown");
        }
    }

    /// Which gateways are seen may have changed; while the database is away it has not.
    async fn look_at_gateways(&mut self) {
        if let Ok(view) = TenantView::of(&self.state, self.tenant_id).await {
            self.gateways = view;
        }
    }

    fn event(&self, item: FeedItem) -> Option<Event> {
        match item {
            FeedItem::Reset(position) => {
                let event = Event::default().event("reset").id(position.to_string());
                Some(event.data("{}"))
            }
            FeedItem::Event(position, event) if self.concerns(&event) => {
                let id = position.to_string();
                self.told(&event)
                    .inspect_err(|error| tracing::error!(error = %error, "live.event.unwritable"))
                    .ok()
                    .map(|event| event.id(id))
            }
            FeedItem::Event(..) => None,
        }
    }

    fn concerns(&self, event: &FeedEvent) -> bool {
        if let FeedBody::Gateway(view) = &event.body {
            return self.gateways.shows(view.server, &view.status);
        }
        event.tenant_id.is_none_or(|owner| owner == self.tenant_id)
    }

    fn told(&self, event: &FeedEvent) -> Result<Event, axum::Error> {
        match &event.body {
            FeedBody::Downlink(record, dev_eui) => {
                Event::default()
                    .event("downlink")
                    .json_data(DownlinkEventBody {
                        downlink: DownlinkBody::new(*dev_eui, &record.downlink),
                        step: TimelineEntryBody::new(&record.entry),
                    })
            }
            FeedBody::Device(view) => {
                let change = DeviceChangeBody::new(view);
                Event::default().event("device").json_data(change)
            }
            FeedBody::Sync(view) => Event::default().event("sync").json_data(SyncEventBody {
                id: view.device_id.to_string(),
                lorawan_dev_eui: view.dev_eui.to_string(),
                chirpstack_synced: view.is_synced,
                state: view.status.state.name(),
                error: view.status.error.clone(),
                attempts: view.status.attempts,
                next_attempt_at: view.status.next_attempt_at.map(|at| at.to_string()),
            }),
            FeedBody::Gateway(view) => {
                Event::default()
                    .event("gateway")
                    .json_data(GatewayEventBody {
                        gateway: GatewayBody::new(self.state.system(), view.server, &view.status),
                        change: view.transition.name(),
                    })
            }
            FeedBody::Queue(view) => Event::default().event("queue").json_data(QueueEventBody {
                state: if view.finding.is_some() {
                    "stuck"
                } else {
                    "flushed"
                },
                id: view.owner.device_id.to_string(),
                lorawan_dev_eui: view.owner.dev_eui.to_string(),
                items: view.items,
                finding: view.finding.as_ref().map(QueueFindingBody::new),
            }),
            FeedBody::Registry(view) => {
                Event::default()
                    .event("registry")
                    .json_data(RegistryEventBody {
                        change: view.change.name(),
                        id: view.device_id.to_string(),
                        lorawan_dev_eui: view.dev_eui.map(|it| it.to_string()),
                    })
            }
            FeedBody::Job(view) => Event::default()
                .event("job")
                .json_data(JobEventBody::new(view)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_to_resume_is_the_headers_and_else_the_querys() {
        let header = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("last-event-id", text.parse().unwrap());
            headers
        };
        let place = |run, seq| Some(FeedPosition { run, seq });
        assert_eq!(last_event(&HeaderMap::new(), None).unwrap(), None);
        assert_eq!(
            last_event(&HeaderMap::new(), Some("a-7")).unwrap(),
            place(10, 7)
        );
        assert_eq!(
            last_event(&header("a-9"), Some("a-7")).unwrap(),
            place(10, 9)
        );
        assert_eq!(last_event(&header("nonsense"), None).unwrap(), place(0, 0));
        assert!(last_event(&HeaderMap::new(), Some("nonsense")).is_err());
    }
}
