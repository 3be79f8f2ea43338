//! `GET /api/v1/airtime`: what the gateways may still send, from the pacer's snapshot: nobody waits for ChirpStack.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use downbeat_core::device::Priority;
use downbeat_core::gateway::GatewaySnapshot;
use downbeat_core::id::{GatewayId, NetworkServerId};
use downbeat_core::pacer::{AirtimeSnapshot, BandAir, Downlink, GatewayAir};
use downbeat_core::radio::Modulation;
use serde::Serialize;
use utoipa::ToSchema;

use super::auth::Viewer;
use super::extract::QueryFields;
use super::gateways::visible::{TenantView, WhoseQuery};
use super::problem::{ApiError, Problem};
use super::{AppState, tenants};

/// A colour command in bytes: what counts of commands mean.
const COLOUR_LEN: usize = 5;

/// RX2 at this spreading factor and above is what limits a fleet.
const SLOW_SPREADING_FACTOR: u8 = 11;

/// The data rate that is recommended instead (kuando-busylight.md §7).
const RECOMMENDED: Modulation = Modulation::lora_125(9);

/// The air of a network server's gateways.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AirtimeBody {
    /// The region in force: configured, else learnt from what gateways send.
    #[schema(example = "eu868")]
    region: &'static str,
    /// How gateways send that did not tell yet.
    downlink: DownlinkBody,
    /// Up to which percentage of a budget each class may fill it.
    ceilings_percent: BTreeMap<&'static str, f64>,
    /// Commands that wait for their turn, by class.
    waiting: BTreeMap<&'static str, usize>,
    /// Devices whose item in ChirpStack's queue is not transmitted yet.
    held: usize,
    /// What there is to know in words; null if nothing limits.
    note: Option<String>,
    gateways: Vec<GatewayAirBody>,
    /// When this was put together, RFC 3339.
    checked_at: String,
}

/// How gateways send to devices that always listen.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DownlinkBody {
    frequency_hz: u32,
    #[schema(example = "SF9 125 kHz")]
    data_rate: String,
    /// What a colour takes on the air, ms.
    colour_ms: u64,
    /// Whether gateways told so; otherwise it is the region's default.
    learnt: bool,
}

/// One gateway's air.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct GatewayAirBody {
    /// 16 hex digits.
    #[schema(example = "0016c001ff10a230")]
    gateway_id: String,
    /// Its name in ChirpStack, else its id.
    name: String,
    region: &'static str,
    downlink: DownlinkBody,
    /// Colours that it may send in an hour; null: as many as there is time for.
    colours_per_hour: Option<u64>,
    /// It came too late or had another frame in the way: nothing is sent by it until then, RFC 3339.
    paused_until: Option<String>,
    /// The sub-band in which it sends first, then the others in which it sent within the hour.
    sub_bands: Vec<SubBandBody>,
    /// What there is to know in words; null if nothing limits.
    note: Option<String>,
}

/// One gateway's account of one sub-band.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SubBandBody {
    #[schema(example = "g3")]
    name: &'static str,
    from_hz: u32,
    to_hz: u32,
    /// What may be sent in an hour, ms; null: any.
    budget_ms: Option<u64>,
    /// What was sent within the last hour, ms.
    used_ms: u64,
    /// The same by class; the rest is of others: other applications, answers of the network server.
    used_by_class_ms: BTreeMap<&'static str, u64>,
    /// What is granted and not yet known to have been sent, ms.
    reserved_ms: u64,
    /// What is left of the budget, ms; null: any.
    free_ms: Option<u64>,
    /// The gateway said that it may not send, until then, RFC 3339.
    blocked_until: Option<String>,
}

/// What the gateways of the caller's network server may still send
///
/// For a key of the platform, those of the configuration's, or of the one that a tenant uses.
#[utoipa::path(
    get,
    path = "/api/v1/airtime",
    tag = "gateways",
    params(WhoseQuery),
    responses(
        (status = 200, description = "Budgets and what is used of them", body = AirtimeBody),
        (status = 404, description = "No such tenant", body = Problem),
    ),
)]
pub(super) async fn airtime(
    State(state): State<AppState>,
    Viewer(caller): Viewer,
    QueryFields(query): QueryFields<WhoseQuery>,
) -> Result<Json<AirtimeBody>, ApiError> {
    let tenant_id = match &query.tenant_id {
        Some(text) => Some(tenants::id_of_path(&state, &caller, text).await?),
        None => caller.scope.tenant(),
    };
    let (server, view) = match tenant_id {
        Some(tenant_id) => {
            let server = state.store().network_server_of(tenant_id).await?;
            (server, Some(TenantView::of(&state, tenant_id).await?))
        }
        None => (NetworkServerId::Default, None),
    };
    let (air, known) = (
        state.system().airtime(server),
        state.system().gateways(server),
    );
    // A tenant is not shown what is another's, nor what is not known to be nobody's.
    let is_shown = |id: &GatewayId| {
        let gateway = known.gateways.get(id);
        let shows = |view: &TenantView| gateway.is_some_and(|it| view.shows(server, it));
        view.as_ref().is_none_or(shows)
    };
    Ok(Json(AirtimeBody::new(&air, &known, is_shown)))
}

impl AirtimeBody {
    fn new(
        air: &AirtimeSnapshot,
        known: &GatewaySnapshot,
        is_shown: impl Fn(&GatewayId) -> bool,
    ) -> Self {
        let ids: BTreeSet<GatewayId> = air
            .gateways
            .keys()
            .chain(known.gateways.keys())
            .filter(|id| is_shown(id))
            .copied()
            .collect();
        let gateways: Vec<GatewayAirBody> = ids
            .into_iter()
            .map(|id| {
                let status = known.gateways.get(&id);
                let name = status.and_then(|status| status.name.clone());
                GatewayAirBody::new(id, name, &air.gateway(id))
            })
            .collect();
        Self {
            region: air.region.name(),
            downlink: DownlinkBody::new(air.downlink),
            ceilings_percent: air
                .ceilings
                .iter()
                .map(|(class, share)| (word(*class), percent(*share)))
                .collect(),
            waiting: air
                .waiting
                .iter()
                .map(|(class, count)| (word(*class), *count))
                .collect(),
            held: air.held,
            note: gateways.iter().find_map(|gateway| gateway.note.clone()),
            gateways,
            checked_at: air.at.to_string(),
        }
    }
}

impl DownlinkBody {
    fn new(downlink: Downlink) -> Self {
        Self {
            frequency_hz: downlink.frequency_hz,
            data_rate: data_rate(downlink.modulation),
            colour_ms: ms(downlink.airtime(COLOUR_LEN)),
            learnt: downlink.is_learnt,
        }
    }
}

impl GatewayAirBody {
    fn new(id: GatewayId, name: Option<String>, air: &GatewayAir) -> Self {
        Self {
            gateway_id: id.to_string(),
            name: name
                .filter(|name| !name.is_empty())
                .unwrap_or_else(|| id.to_string()),
            region: air.region.name(),
            downlink: DownlinkBody::new(air.downlink),
            colours_per_hour: air.commands_per_hour(COLOUR_LEN),
            paused_until: air.paused_until.map(|until| until.to_string()),
            sub_bands: air.bands.iter().map(SubBandBody::new).collect(),
            note: note(air),
        }
    }
}

impl SubBandBody {
    fn new(band: &BandAir) -> Self {
        // So that the figures add up: what is taken is rounded up, and what is left is the rest.
        let (budget_ms, used_ms) = (band.budget.map(ms), whole_ms(band.used));
        let reserved_ms = whole_ms(band.reserved);
        let free = |budget_ms: u64| budget_ms.saturating_sub(used_ms.saturating_add(reserved_ms));
        Self {
            name: band.sub_band.name,
            from_hz: band.sub_band.from_hz,
            to_hz: band.sub_band.to_hz,
            budget_ms,
            used_ms,
            used_by_class_ms: band
                .used_by
                .iter()
                .map(|(class, used)| (word(*class), ms(*used)))
                .collect(),
            reserved_ms,
            free_ms: budget_ms.map(free),
            blocked_until: band.blocked_until.map(|until| until.to_string()),
        }
    }
}

/// Whether RX2's data rate is what limits, in words.
pub(super) fn note(air: &GatewayAir) -> Option<String> {
    let Modulation::Lora {
        spreading_factor,
        bandwidth_hz: 125_000,
    } = air.downlink.modulation
    else {
        return None;
    };
    if spreading_factor < SLOW_SPREADING_FACTOR {
        return None;
    }
    let colour = ms(air.downlink.airtime(COLOUR_LEN));
    let recommended = Downlink {
        modulation: RECOMMENDED,
        ..air.downlink
    };
    let instead = ms(recommended.airtime(COLOUR_LEN));
    let per_hour = match air.commands_per_hour(COLOUR_LEN) {
        Some(commands) => format!(" and a gateway may send {commands} an hour"),
        None => String::new(),
    };
    Some(format!(
        "RX2's data rate is the bottleneck: at SF{spreading_factor} a colour takes {colour} ms{per_hour}. \
         At {} (rx2_dr of the region in ChirpStack) it takes {instead} ms.",
        data_rate(RECOMMENDED),
    ))
}

fn data_rate(modulation: Modulation) -> String {
    match modulation {
        Modulation::Lora {
            spreading_factor,
            bandwidth_hz,
        } => format!("SF{spreading_factor} {} kHz", bandwidth_hz / 1000),
        Modulation::Fsk { bitrate } => format!("FSK {bitrate} bit/s"),
    }
}

const fn word(class: Priority) -> &'static str {
    match class {
        Priority::Interactive => "interactive",
        Priority::Retry => "retry",
        Priority::Initialisation => "initialisation",
        Priority::Bulk => "bulk",
        Priority::Reconcile => "reconcile",
    }
}

/// To hundredths: what is computed from shares ends in others' digits (0.7 × 0.75 is 0.524 999… in binary).
fn percent(share: f64) -> f64 {
    (share * 10_000.0).round() / 100.0
}

fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
