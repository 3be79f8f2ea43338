//! What the gateways may still send.

use super::*;

on_both_stores! { airtime_shows_budgets_and_what_was_sent }

/// What a gateway took counts against its budget, at the data rate that it told.
async fn airtime_shows_budgets_and_what_was_sent(service: Service) {
    service.register("202020ff50330000").await;
    let mut event = request(
        "POST",
        "/api/v1/webhooks/chirpstack?event=txack",
        &service.webhook,
        None,
    );
    event
        .headers_mut()
        .insert("content-type", "application/json".parse().unwrap());
    *event.body_mut() = Body::from(captured("txack.json"));
    assert_eq!(service.send(event).await.status, StatusCode::OK);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let (airtime, gateway) = loop {
        let airtime = service.get("/api/v1/airtime", &service.viewer).await.json();
        let gateways = airtime["gateways"].as_array().unwrap().iter();
        // Which gateways there are and what they sent is published by two.
        let mut named = gateways.filter(|it| {
            it["gateway_id"] == "0016c00150330001" && it["downlink"]["learnt"] == true
        });
        if let Some(gateway) = named.next() {
            break (airtime.clone(), gateway.clone());
        }
        let is_late = tokio::time::Instant::now() >= deadline;
        assert!(!is_late, "{airtime}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!(airtime["region"], "eu868");
    assert_eq!(
        airtime["ceilings_percent"],
        json!({"interactive": 100.0, "retry": 100.0, "initialisation": 85.0, "bulk": 70.0, "reconcile": 52.5})
    );
    let downlink = &gateway["downlink"];
    assert_eq!(
        (&downlink["data_rate"], &downlink["learnt"]),
        (&json!("SF12 125 kHz"), &json!(true))
    );
    assert_eq!(gateway["colours_per_hour"], 272);
    let band = &gateway["sub_bands"][0];
    assert_eq!(
        (&band["name"], &band["budget_ms"]),
        (&json!("g3"), &json!(360_000))
    );
    let used = band["used_ms"].as_u64().unwrap();
    assert!(used > 1_000, "{band}");
    assert_eq!(band["free_ms"], 360_000 - used);
    assert!(gateway["note"].as_str().unwrap().contains("SF12"));
}
