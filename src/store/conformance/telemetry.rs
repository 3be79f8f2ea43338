//! Decoded fields over time.

use std::time::Duration;

use super::TelemetryValue::{Number, Text};
use super::*;

/// A field's path may be any text.
const STRANGE: &str = "$.\"ö\\";

pub(in crate::store) async fn values_are_kept_and_read_in_order(store: &Store) {
    let device = register(store, default_tenant(store).await, 1).await;
    let batch = [
        values(
            &device,
            3,
            &[("temperature", Number(-3.5)), ("mode", text("eco"))],
        ),
        values(&device, 1, &[("temperature", Number(1e300))]),
        values(&device, 3, &[("mode", text("off"))]),
        values(&device, 3, &[("mode", text("eco"))]),
        values(
            &device,
            2,
            &[
                ("temperature", text("broken")),
                ("a.b", Number(0.0)),
                (STRANGE, text("a \"b\" \\u0000 ö")),
            ],
        ),
        values(
            &device,
            4,
            &[("temperature", Number(f64::NAN)), ("", Number(1.0))],
        ),
    ];
    for _ in 0..2 {
        store.commit(&batch).await.unwrap();
    }
    let points = store
        .telemetry(Scope::Platform, device.id, &query("temperature", 0, 10))
        .await
        .unwrap();
    let number = |second, value: f64| TelemetryPoint {
        at: at(second),
        last: Number(value),
        count: 1,
        min: Some(value),
        mean: Some(value),
        max: Some(value),
    };
    let broken = TelemetryPoint {
        at: at(2),
        last: text("broken"),
        count: 1,
        min: None,
        mean: None,
        max: None,
    };
    assert_eq!(points, [number(1, 1e300), broken.clone(), number(3, -3.5)]);
    // From a moment on, before another, and the oldest of them.
    let points = store
        .telemetry(Scope::Platform, device.id, &query("temperature", 2, 3))
        .await
        .unwrap();
    assert_eq!(points, [broken]);
    let limited = TelemetryQuery {
        limit: 1,
        ..query("temperature", 0, 10)
    };
    let points = store.telemetry(Scope::Platform, device.id, &limited).await;
    assert_eq!(points.unwrap(), [number(1, 1e300)]);
    let strange = store
        .telemetry(Scope::Platform, device.id, &query(STRANGE, 0, 10))
        .await
        .unwrap();
    assert_eq!(strange.len(), 1);
    let none = store
        .telemetry(Scope::Platform, device.id, &query("nothing", 0, 10))
        .await;
    assert_eq!(none.unwrap(), []);

    let fields = store.telemetry_fields(Scope::Platform, device.id).await;
    let told: Vec<_> = fields
        .unwrap()
        .into_iter()
        .map(|field| (field.field, field.last, field.last_at))
        .collect();
    let field = |name: &str, last, second| (name.to_owned(), last, at(second));
    assert_eq!(
        told,
        [
            field(STRANGE, text("a \"b\" \\u0000 ö"), 2),
            field("a.b", Number(0.0), 2),
            field("mode", text("eco"), 3),
            field("temperature", Number(-3.5), 3),
        ]
    );
    let other = register(store, device.tenant_id, 2).await;
    let fields = store.telemetry_fields(Scope::Platform, other.id).await;
    assert_eq!(fields.unwrap(), []);
}

/// What an older version kept, one row for each field at the seconds 1 and 2, is read along, and deleted.
pub(in crate::store) async fn older_values_are_read_along(
    store: &Store,
    device: &Device,
    old: &[(i64, f64)],
) {
    let told = [
        values(device, 5, &[("x", Number(5.0)), ("y", Number(1.0))]),
        values(device, 6, &[("x", text("off"))]),
    ];
    store.commit(&told).await.unwrap();
    let points = store
        .telemetry(
            Scope::Tenant(device.tenant_id),
            device.id,
            &query("x", 0, 10),
        )
        .await
        .unwrap();
    let mut expected: Vec<_> = old
        .iter()
        .map(|(second, value)| (at(*second), Number(*value)))
        .collect();
    expected.extend([(at(5), Number(5.0)), (at(6), text("off"))]);
    let read: Vec<_> = points.into_iter().map(|it| (it.at, it.last)).collect();
    assert_eq!(read, expected);
    let whole = TelemetryQuery {
        step: Some(Duration::from_secs(10)),
        ..query("x", 0, 10)
    };
    let span = store.telemetry(Scope::Platform, device.id, &whole).await;
    let span = span.unwrap().remove(0);
    assert_eq!((span.count, span.max), (4, Some(5.0)));
    assert_eq!(span.last, text("off"));
    let fields = store.telemetry_fields(Scope::Platform, device.id).await;
    let fields: Vec<_> = fields
        .unwrap()
        .into_iter()
        .map(|it| (it.field, it.last_at))
        .collect();
    let expected = [("x", 6), ("y", 5)].map(|(field, second)| (field.to_owned(), at(second)));
    assert_eq!(fields, expected);
    let deleted = store.delete_telemetry_before(at(6)).await.unwrap();
    assert_eq!(deleted, u64::try_from(old.len()).unwrap() + 1);
    let left = store
        .telemetry(Scope::Platform, device.id, &query("x", 0, 10))
        .await
        .unwrap();
    assert_eq!(left.len(), 1);
}

pub(in crate::store) async fn spans_are_summed_up(store: &Store) {
    let device = register(store, default_tenant(store).await, 1).await;
    let batch: Vec<_> = [
        (0, Number(1.0)),
        (4, Number(2.0)),
        (9, Number(6.0)),
        (10, text("off")),
        (31, Number(-1.0)),
        (39, text("on")),
        (50, Number(f64::MAX)),
        (51, Number(f64::MAX)),
    ]
    .into_iter()
    .map(|(second, value)| values(&device, second, &[("x", value)]))
    .collect();
    store.commit(&batch).await.unwrap();
    let stepped = |from, to, limit| TelemetryQuery {
        step: Some(Duration::from_secs(10)),
        limit,
        ..query("x", from, to)
    };
    let points = async |query| {
        let points = store.telemetry(Scope::Platform, device.id, &query).await;
        points.unwrap()
    };
    let point = |second, last, count, numbers: Option<(f64, f64, f64)>| TelemetryPoint {
        at: at(second),
        last,
        count,
        min: numbers.map(|(min, _, _)| min),
        mean: numbers.map(|(_, mean, _)| mean),
        max: numbers.map(|(_, _, max)| max),
    };
    let expected = [
        point(0, Number(6.0), 3, Some((1.0, 3.0, 6.0))),
        point(10, text("off"), 1, None),
        point(30, text("on"), 2, Some((-1.0, -1.0, -1.0))),
    ];
    assert_eq!(points(stepped(0, 40, 9)).await, expected);
    assert_eq!(points(stepped(0, 40, 2)).await, expected[..2]);
    // Spans begin where the range does.
    let shifted = [
        point(4, text("off"), 3, Some((2.0, 4.0, 6.0))),
        point(24, Number(-1.0), 1, Some((-1.0, -1.0, -1.0))),
        point(34, text("on"), 1, None),
    ];
    assert_eq!(points(stepped(4, 40, 9)).await, shifted);
    // What no number can hold is not told.
    let vast = points(stepped(50, 60, 9)).await;
    assert_eq!((vast[0].max, vast[0].count), (Some(f64::MAX), 2));
    assert!(vast[0].mean.is_none_or(f64::is_finite));
    // A span of nothing is one of a millisecond.
    let least = TelemetryQuery {
        step: Some(Duration::ZERO),
        ..query("x", 0, 5)
    };
    assert_eq!(points(least).await.len(), 2);
}

pub(in crate::store) async fn old_values_are_deleted_in_batches(store: &Store) {
    let device = register(store, default_tenant(store).await, 1).await;
    let batch: Vec<_> = (0..220)
        .map(|second| values(&device, second, &[("x", Number(1.0))]))
        .collect();
    store.commit(&batch).await.unwrap();
    for expected in batches(120) {
        let deleted = store.delete_telemetry_before(at(120)).await.unwrap();
        assert_eq!(deleted, expected);
    }
    let left = store
        .telemetry(Scope::Platform, device.id, &query("x", 0, 10_000))
        .await
        .unwrap();
    assert_eq!((left.len(), left[0].at), (100, at(120)));
}

fn values(device: &Device, second: i64, fields: &[(&str, TelemetryValue)]) -> DeviceChange {
    let fields = fields.iter();
    DeviceChange {
        telemetry: fields
            .map(|(field, value)| ((*field).to_owned().into(), value.clone()))
            .collect(),
        ..change(device, "{}", at(second))
    }
}

fn query(field: &str, from: i64, to: i64) -> TelemetryQuery {
    TelemetryQuery {
        field: field.to_owned(),
        from: at(from),
        to: at(to),
        step: None,
        limit: 1_000,
    }
}

fn text(text: &str) -> TelemetryValue {
    Text(text.to_owned())
}
