//! Which devices a job tells, which it leaves out, and what that costs.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use downbeat_actors::port::JobOrder;
use downbeat_core::codec::{CodecKind, Command};
use downbeat_core::device::{Presence, Priority, Request};
use downbeat_core::id::{DevEui, DeviceId, DeviceKey, DownlinkId, TenantId};
use downbeat_core::job::{Candidate, DEVICES_MAX, LeftOut, Plan, Telling, spread};
use downbeat_core::pacer::{AirtimeOverview, Hearing};
use downbeat_core::radio::{DeviceClass, Modulation};
use uuid::Uuid;

use crate::http::AppState;
use crate::http::problem::ApiError;
use crate::store::{
    DeviceFilter, HeardDevice, JOB_BATCH_MAX, NewJobItem, PAGE_MAX, PageRequest, Scope,
};

/// Devices that are named of each reason.
const EXAMPLES_MAX: usize = 10;

/// Which devices a caller wants.
pub(super) enum Selection {
    /// These.
    Named(Vec<Named>),
    /// Those that a list with this filter shows.
    Filter(Box<DeviceFilter>),
}

/// How a caller names a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Named {
    DevEui(DevEui),
    Id(DeviceId),
}

/// What becomes of a selection.
pub(super) struct Chosen {
    /// In the order in which they are told, and then those left out.
    pub(super) items: Vec<NewJobItem>,
    pub(super) plan: Plan,
    /// The first devices of each reason, in words.
    pub(super) examples: BTreeMap<LeftOut, Vec<String>>,
}

/// A device before it has its place.
struct Choice {
    device_id: Option<DeviceId>,
    key: Option<DeviceKey>,
    dev_eui: Option<DevEui>,
    verdict: Result<Candidate, LeftOut>,
}

/// Finds the devices and adds up what telling them costs.
pub(super) async fn choose(
    state: &AppState,
    tenant_id: TenantId,
    selection: Selection,
    order: &JobOrder,
    stagger: Duration,
) -> Result<Chosen, ApiError> {
    let judge = Judge::new(order);
    let mut chosen = Choices::default();
    match selection {
        Selection::Named(names) => named(state, tenant_id, names, &judge, &mut chosen).await?,
        Selection::Filter(filter) => {
            filtered(state, tenant_id, &filter, &judge, &mut chosen).await?;
        }
    }
    let server = state.store().network_server_of(tenant_id).await?;
    let air = state.system().airtime(server);
    Ok(chosen.settle(&telling(order, stagger), &air))
}

async fn named(
    state: &AppState,
    tenant_id: TenantId,
    names: Vec<Named>,
    judge: &Judge,
    chosen: &mut Choices,
) -> Result<(), ApiError> {
    let mut seen = HashSet::new();
    for names in names.chunks(JOB_BATCH_MAX) {
        let dev_euis = names.iter().filter_map(|name| match name {
            Named::DevEui(dev_eui) => Some(*dev_eui),
            Named::Id(_) => None,
        });
        let ids = names.iter().filter_map(|name| match name {
            Named::DevEui(_) => None,
            Named::Id(id) => Some(*id),
        });
        let (dev_euis, ids) = (dev_euis.collect::<Vec<_>>(), ids.collect::<Vec<_>>());
        let found = state.store().devices_named(tenant_id, &dev_euis, &ids);
        let found = state.store().heard(tenant_id, found.await?).await?;
        let mut by_name = HashMap::new();
        for (place, it) in found.iter().enumerate() {
            by_name.insert(Named::Id(it.device.id), place);
            if let Some(dev_eui) = it.device.fields.dev_eui {
                by_name.insert(Named::DevEui(dev_eui), place);
            }
        }
        for name in names {
            match by_name.get(name).and_then(|place| found.get(*place)) {
                Some(it) if seen.insert(Named::Id(it.device.id)) => chosen.add(judge, it),
                None if seen.insert(*name) => chosen.add_unknown(*name),
                Some(_) | None => {}
            }
        }
    }
    Ok(())
}

async fn filtered(
    state: &AppState,
    tenant_id: TenantId,
    filter: &DeviceFilter,
    judge: &Judge,
    chosen: &mut Choices,
) -> Result<(), ApiError> {
    let scope = Scope::Tenant(tenant_id);
    let mut page = PageRequest::first(PAGE_MAX);
    loop {
        let found = state.store().list_devices(scope, filter, page).await?;
        for it in state.store().heard(tenant_id, found.items).await? {
            chosen.add(judge, &it);
        }
        if chosen.all.len() > DEVICES_MAX {
            let message =
                format!("chooses more than {DEVICES_MAX} devices: make several jobs of it");
            return Err(ApiError::field("filter", message));
        }
        page.after = found.next;
        if page.after.is_none() {
            return Ok(());
        }
    }
}

/// Tells whether there is any use in telling a device.
struct Judge {
    /// Codecs that have no words for the order.
    mute: Vec<CodecKind>,
}

impl Judge {
    fn new(order: &JobOrder) -> Self {
        let id = DownlinkId::from_uuid(Uuid::nil());
        let has_no_words = |codec: &CodecKind| {
            let Some(command) = &order.command else {
                return codec.codec().initialisation().is_empty();
            };
            Request::new(id, *codec, command, order.confirmed, order.verify).is_err()
        };
        Self {
            mute: CodecKind::ALL.into_iter().filter(has_no_words).collect(),
        }
    }

    fn verdict(&self, it: &HeardDevice) -> Result<Candidate, LeftOut> {
        let device = &it.device;
        if device.fields.dev_eui.is_none() {
            return Err(LeftOut::NoDevEui);
        }
        if device
            .sync
            .as_ref()
            .is_some_and(|sync| sync.synced_generation == 0)
        {
            return Err(LeftOut::NotSynced);
        }
        if device.presence == Presence::NeverSeen {
            return Err(LeftOut::NeverHeard);
        }
        if self.mute.contains(&device.fields.codec) {
            return Err(LeftOut::NotUnderstood);
        }
        let hearing = it.hearing.as_ref();
        let receptions = hearing.map_or(&[][..], |hearing| hearing.receptions());
        let modulation = hearing.and_then(downbeat_core::device::Hearing::modulation);
        let uplink = modulation.unwrap_or(Modulation::lora_125(9));
        Ok(Candidate {
            hearing: Hearing::of(receptions, uplink),
            uplink,
            class: hearing.map_or(DeviceClass::C, downbeat_core::device::Hearing::class),
        })
    }
}

#[derive(Default)]
struct Choices {
    all: Vec<Choice>,
    left_out: BTreeMap<LeftOut, u64>,
    examples: BTreeMap<LeftOut, Vec<String>>,
}

impl Choices {
    fn add(&mut self, judge: &Judge, it: &HeardDevice) {
        let device = &it.device;
        let dev_eui = device.fields.dev_eui;
        let server = device.server;
        let verdict = judge.verdict(it);
        if let Err(reason) = &verdict {
            let name = || device.fields.name.clone();
            self.note(*reason, dev_eui.map_or_else(name, |eui| eui.to_string()));
        }
        self.all.push(Choice {
            device_id: Some(device.id),
            key: dev_eui.map(|dev_eui| DeviceKey { server, dev_eui }),
            dev_eui,
            verdict,
        });
    }

    fn add_unknown(&mut self, name: Named) {
        let (dev_eui, device_id, words) = match name {
            Named::DevEui(dev_eui) => (Some(dev_eui), None, dev_eui.to_string()),
            Named::Id(id) => (None, Some(id), id.to_string()),
        };
        self.note(LeftOut::UnknownDevice, words);
        self.all.push(Choice {
            device_id,
            key: None,
            dev_eui,
            verdict: Err(LeftOut::UnknownDevice),
        });
    }

    fn note(&mut self, reason: LeftOut, words: String) {
        *self.left_out.entry(reason).or_default() += 1;
        let examples = self.examples.entry(reason).or_default();
        if examples.len() < EXAMPLES_MAX {
            examples.push(words);
        }
    }

    /// Gives each its place: gateways take turns.
    fn settle(self, telling: &Telling, air: &AirtimeOverview) -> Chosen {
        let (told, left_out): (Vec<Choice>, Vec<Choice>) = self
            .all
            .into_iter()
            .partition(|choice| choice.verdict.is_ok());
        let candidates: Vec<Candidate> = told
            .iter()
            .filter_map(|it| it.verdict.as_ref().ok().cloned())
            .collect();
        let mut plan = Plan::of(&candidates, telling, air);
        plan.left_out = self.left_out;
        let gateways: Vec<_> = candidates.iter().map(Candidate::gateway).collect();
        let turns = spread(&gateways);
        let told = turns.iter().filter_map(|place| told.get(*place));
        let items = (0..).zip(told.chain(&left_out));
        Chosen {
            items: items.map(|(seq, choice)| choice.item(seq)).collect(),
            plan,
            examples: self.examples,
        }
    }
}

impl Choice {
    fn item(&self, seq: u32) -> NewJobItem {
        NewJobItem {
            seq,
            device_id: self.device_id,
            key: self.key,
            dev_eui: self.dev_eui,
            downlink_id: DownlinkId::from_uuid(Uuid::now_v7()),
            left_out: self.verdict.as_ref().err().copied().map(LeftOut::name),
        }
    }
}

/// What each device is told, as far as the air is concerned.
fn telling(order: &JobOrder, stagger: Duration) -> Telling {
    let payload_lens = match &order.command {
        // kuando-busylight.md §3: five bytes of colour and times.
        Some(Command::SetLight(_)) => vec![5],
        Some(Command::Busylight(_)) => vec![2],
        Some(Command::Raw(frame)) => vec![frame.payload.len()],
        // The settings after a join, two bytes each.
        None => vec![2, 2],
    };
    Telling {
        payload_lens,
        priority: match order.command {
            Some(_) => Priority::Bulk,
            None => Priority::Initialisation,
        },
        stagger,
    }
}
