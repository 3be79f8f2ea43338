//! What became of downlinks, counted and deleted.

use std::time::Duration;

use downbeat_core::device::{LastTransmission, Reason};
use downbeat_core::id::GatewayId;

use super::downlinks::accept;
use super::*;

pub(in crate::store) async fn outcomes_are_counted_by_period_device_and_scope(store: &Store) {
    let tenant = default_tenant(store).await;
    let acme = new_tenant(store, "acme").await;
    let device = register(store, tenant, 1).await;
    let other = register(store, tenant, 3).await;
    let foreign = register(store, acme, 2).await;
    for _ in 0..20 {
        Ended::verified(at(100), at(110))
            .write(store, &device)
            .await;
    }
    Ended::verified(at(99), at(105)).write(store, &other).await;
    Ended::verified(at(100), at(109))
        .write(store, &foreign)
        .await;
    Ended::of(DownlinkState::Unverified, at(100), at(200))
        .write(store, &device)
        .await;
    accept(store, &device, &[100, 2_000]).await;
    // Outside of the period by its end, wherever it began.
    Ended::verified(at(98), at(99)).write(store, &device).await;
    Ended::verified(at(100), at(1_100))
        .write(store, &device)
        .await;

    let period = OutcomeFilter::period(at(100), at(1_100));
    let counted = async |scope, filter: &OutcomeFilter| {
        let outcomes = store.downlink_outcomes(scope, filter).await.unwrap();
        let states = sums(&outcomes);
        (outcomes.under_way, states)
    };
    assert_eq!(
        counted(Scope::Tenant(tenant), &period).await,
        (2, vec![("unverified", 1), ("verified", 21)])
    );
    assert_eq!(
        counted(Scope::Platform, &period).await,
        (2, vec![("unverified", 1), ("verified", 22)])
    );
    let of = |number| OutcomeFilter {
        dev_eui: Some(eui(number)),
        ..period.clone()
    };
    for (scope, number, expected) in [
        (Scope::Platform, 2, (0, vec![("verified", 1)])),
        (Scope::Tenant(tenant), 2, (0, vec![])),
        (Scope::Tenant(tenant), 3, (0, vec![("verified", 1)])),
        (
            Scope::Tenant(tenant),
            1,
            (2, vec![("unverified", 1), ("verified", 20)]),
        ),
    ] {
        assert_eq!(counted(scope, &of(number)).await, expected, "{number}");
    }
}

pub(in crate::store) async fn outcomes_tell_how_they_came_about(store: &Store) {
    let tenant = default_tenant(store).await;
    let device = register(store, tenant, 1).await;
    let by_gateway = Ended {
        transmission: Some(LastTransmission {
            at: at(101),
            gateway_id: Some(GatewayId::from_u64(7)),
            spreading_factor: Some(12),
        }),
        ..Ended::verified(at(100), at(112))
    };
    by_gateway.write(store, &device).await;
    Ended {
        attempts: 4,
        ..by_gateway
    }
    .write(store, &device)
    .await;
    Ended::of(DownlinkState::Unverified, at(100), at(200))
        .write(store, &device)
        .await;
    Ended {
        attempts: 0,
        ..Ended::of(DownlinkState::Superseded, at(100), at(120))
    }
    .write(store, &device)
    .await;
    let period = OutcomeFilter::period(at(100), at(1_100));
    let outcomes = store.downlink_outcomes(Scope::Platform, &period).await;
    let mut outcomes = outcomes.unwrap().outcomes;
    outcomes.sort_by_key(|(_, count)| count.state.name());
    let key = OutcomeKey {
        tenant_id: tenant,
        reason: None,
        gateway_id: None,
        spreading_factor: None,
    };
    let count = |state, verified_in, downlinks, tried, attempts| OutcomeCount {
        state,
        verified_in,
        downlinks,
        tried,
        attempts,
    };
    assert_eq!(
        outcomes,
        [
            (key.clone(), count(DownlinkState::Superseded, None, 1, 0, 0)),
            (
                OutcomeKey {
                    reason: Some("not_confirmed".to_owned()),
                    ..key.clone()
                },
                count(DownlinkState::Unverified, None, 1, 1, 2)
            ),
            (
                OutcomeKey {
                    gateway_id: Some(GatewayId::from_u64(7)),
                    spreading_factor: Some(12),
                    ..key
                },
                count(
                    DownlinkState::Verified,
                    Some(Duration::from_secs(12)),
                    2,
                    2,
                    6
                )
            ),
        ]
    );
}

pub(in crate::store) async fn a_late_proof_is_a_new_end(store: &Store) {
    let device = register(store, default_tenant(store).await, 1).await;
    let mut command = downlink(at(100));
    for (state, second) in [
        (DownlinkState::Unverified, 200),
        (DownlinkState::Verified, 300),
    ] {
        let records = vec![record(&mut command, state, at(second))];
        let change = DeviceChange {
            records,
            ..change(&device, "{}", at(second))
        };
        store.commit(&[change]).await.unwrap();
    }
    for (from, to, expected) in [(100, 300, vec![]), (300, 301, vec![("verified", 1)])] {
        let period = OutcomeFilter::period(at(from), at(to));
        let outcomes = store.downlink_outcomes(Scope::Platform, &period).await;
        assert_eq!(sums(&outcomes.unwrap()), expected, "{from}");
    }
}

pub(in crate::store) async fn outcomes_are_counted_over_time(store: &Store) {
    let device = register(store, default_tenant(store).await, 1).await;
    for second in [100, 109, 110, 131] {
        Ended::verified(at(90), at(second))
            .write(store, &device)
            .await;
    }
    let filter = OutcomeFilter {
        step: Some(Duration::from_secs(10)),
        ..OutcomeFilter::period(at(100), at(1_000))
    };
    let outcomes = store.downlink_outcomes(Scope::Platform, &filter).await;
    let spans = outcomes.unwrap().over_time;
    let mut totals: BTreeMap<Timestamp, u64> = BTreeMap::new();
    for (span, count) in spans {
        *totals.entry(span).or_default() += count.downlinks;
    }
    assert_eq!(
        totals.into_iter().collect::<Vec<_>>(),
        [(at(100), 2), (at(110), 1), (at(130), 1)]
    );
    let off = OutcomeFilter {
        from: at(101),
        ..filter
    };
    let outcomes = store.downlink_outcomes(Scope::Platform, &off).await;
    let spans = outcomes.unwrap().over_time;
    let totals: Vec<_> = spans
        .iter()
        .map(|(span, it)| (*span, it.downlinks))
        .collect();
    assert_eq!(totals, [(at(100), 1), (at(110), 1), (at(130), 1)]);
}

pub(in crate::store) async fn outcomes_are_counted_by_tag(store: &Store) {
    let tenant = default_tenant(store).await;
    let name = "it's a \"site\"";
    for (number, site) in [
        (1, Some("north")),
        (2, Some("south")),
        (3, None),
        (4, Some("north")),
    ] {
        let mut lamp = lamp(tenant, number);
        if let Some(site) = site {
            lamp.fields.tags.insert(name.to_owned(), site.to_owned());
        }
        lamp.fields.tags.insert("floor".to_owned(), "2".to_owned());
        let device = store.create_device(Scope::Platform, &lamp, &by()).await;
        let device = device.unwrap();
        Ended::verified(at(100), at(110))
            .write(store, &device)
            .await;
        if number == 4 {
            store
                .delete_device(Scope::Platform, device.id, None, at(111), &by())
                .await
                .unwrap();
        }
    }
    let filter = OutcomeFilter {
        tag: Some(name.to_owned()),
        ..OutcomeFilter::period(at(100), at(1_000))
    };
    let outcomes = store
        .downlink_outcomes(Scope::Tenant(tenant), &filter)
        .await;
    let mut values: Vec<(Option<String>, u64)> = outcomes
        .unwrap()
        .by_tag
        .into_iter()
        .map(|(value, count)| (value, count.downlinks))
        .collect();
    values.sort();
    let some = |value: &str| Some(value.to_owned());
    assert_eq!(values, [(None, 2), (some("north"), 1), (some("south"), 1)]);
}

pub(in crate::store) async fn outcomes_are_counted_by_attempts(store: &Store) {
    let tenant = default_tenant(store).await;
    let device = register(store, tenant, 1).await;
    for attempts in [3, 1, 1] {
        Ended {
            attempts,
            ..Ended::verified(at(100), at(110))
        }
        .write(store, &device)
        .await;
    }
    Ended {
        attempts: 1,
        ..Ended::of(DownlinkState::Failed, at(100), at(200))
    }
    .write(store, &device)
    .await;
    let mut period = OutcomeFilter::period(at(100), at(1_100));
    let told = store.downlink_outcomes(Scope::Platform, &period).await;
    assert_eq!(told.unwrap().by_attempts, []);
    period.attempts = true;
    let told = store.downlink_outcomes(Scope::Platform, &period).await;
    let mut counts: Vec<(u64, &str, u64)> = told
        .unwrap()
        .by_attempts
        .iter()
        .map(|(attempts, count)| (*attempts, count.state.name(), count.downlinks))
        .collect();
    counts.sort_unstable();
    assert_eq!(
        counts,
        [(1, "failed", 1), (1, "verified", 2), (3, "verified", 1)]
    );
}

pub(in crate::store) async fn outcomes_of_nothing_are_none(store: &Store) {
    let filter = OutcomeFilter {
        step: Some(Duration::from_secs(1)),
        tag: Some("site".to_owned()),
        ..OutcomeFilter::period(at(0), at(1))
    };
    let outcomes = store.downlink_outcomes(Scope::Platform, &filter).await;
    assert_eq!(outcomes.unwrap(), DownlinkOutcomes::default());
}

pub(in crate::store) async fn old_downlinks_are_deleted_in_batches(store: &Store) {
    let tenant = default_tenant(store).await;
    let device = register(store, tenant, 1).await;
    let old = i64::from(DELETE_DOWNLINKS_MAX) + 1;
    let mut ended = Vec::new();
    let mut records = Vec::new();
    for second in 0..old {
        let mut command = downlink(at(second));
        records.push(record(&mut command, DownlinkState::Accepted, at(second)));
        records.push(record(&mut command, DownlinkState::Sent, at(second)));
        ended.push(command.id);
    }
    let change = DeviceChange {
        records,
        ..change(&device, "{}", at(old))
    };
    store.commit(&[change]).await.unwrap();
    let under_way = accept(store, &device, &[0]).await[0];
    Ended::verified(at(0), at(2_000))
        .write(store, &device)
        .await;

    let before = at(1_000);
    let counts = [DELETE_DOWNLINKS_MAX.into(), 1, 0];
    for expected in counts {
        let deleted = store.delete_downlinks_before(before).await.unwrap();
        assert_eq!(deleted, expected);
    }
    for id in [ended[0], ended[ended.len() - 1]] {
        assert_eq!(store.downlink(Scope::Platform, id).await.unwrap(), None);
    }
    let kept = store.downlink(Scope::Platform, under_way).await.unwrap();
    assert_eq!(kept.unwrap().timeline.len(), 1);
    let period = OutcomeFilter::period(at(0), at(3_000));
    let outcomes = store.downlink_outcomes(Scope::Platform, &period).await;
    assert_eq!(sums(&outcomes.unwrap()), [("verified", 1)]);

    // What is told of a deleted one afterwards is kept as far as it goes, and repeated writes add nothing.
    let mut command = downlink(at(0));
    command.id = ended[0];
    command.steps = 7;
    let late = record(&mut command, DownlinkState::Verified, at(1_500));
    let change = DeviceChange {
        records: vec![late.clone()],
        ..super::change(&device, "{}", at(1_500))
    };
    store.commit(&[change.clone(), change]).await.unwrap();
    let found = store.downlink(Scope::Platform, ended[0]).await.unwrap();
    assert_eq!(found.unwrap().timeline, [late.entry]);
}

/// How many ended in each state.
fn sums(outcomes: &DownlinkOutcomes) -> Vec<(&'static str, u64)> {
    let mut sums: BTreeMap<&'static str, u64> = BTreeMap::new();
    for (_, count) in &outcomes.outcomes {
        *sums.entry(count.state.name()).or_default() += count.downlinks;
    }
    sums.into_iter().collect()
}

/// A downlink that ended.
#[derive(Clone, Copy)]
struct Ended {
    state: DownlinkState,
    accepted_at: Timestamp,
    over_at: Timestamp,
    attempts: u8,
    transmission: Option<LastTransmission>,
}

impl Ended {
    fn of(state: DownlinkState, accepted_at: Timestamp, over_at: Timestamp) -> Self {
        Self {
            state,
            accepted_at,
            over_at,
            attempts: 2,
            transmission: None,
        }
    }

    fn verified(accepted_at: Timestamp, over_at: Timestamp) -> Self {
        Self::of(DownlinkState::Verified, accepted_at, over_at)
    }

    async fn write(self, store: &Store, device: &Device) {
        let mut command = downlink(self.accepted_at);
        command.attempts = self.attempts;
        command.transmission = self.transmission;
        command.reason = (self.state == DownlinkState::Unverified).then_some(Reason::NotConfirmed);
        let records = vec![record(&mut command, self.state, self.over_at)];
        let change = DeviceChange {
            records,
            ..change(device, "{}", self.over_at)
        };
        store.commit(&[change]).await.unwrap();
    }
}
