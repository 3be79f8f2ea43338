//! The same against a real ChirpStack v4, so that the simulated one is known to answer alike.
//!
//! `DOWNBEAT_TEST_CHIRPSTACK` names its gRPC address, and `…_ADMIN_KEY`, `…_TENANT_KEY`, `…_TENANT_ID`, `…_APPLICATION_ID`
//! and `…_PROFILE_ID` what is in it. Nothing stays behind, unless a test fails.

use std::collections::BTreeMap;

use downbeat_actors::port::NetworkServer;
use downbeat_core::app_key::AppKey;
use downbeat_core::id::{DevEui, JoinEui};
use downbeat_core::sync::{OWNER_TAG, RemoteDevice};
use secrecy::SecretString;
use uuid::Uuid;

use super::{ChirpStackClient, ChirpStackConfig, item, kind};
use crate::chirpstack::{HttpIntegration, KeyVerdict, VersionSign};
use crate::webhook::Encoding;

fn setting(name: &str) -> String {
    std::env::var(format!("DOWNBEAT_TEST_CHIRPSTACK{name}")).unwrap()
}

fn id(name: &str) -> Uuid {
    setting(name).parse().unwrap()
}

/// A client with each kind of key, and what ChirpStack is to say of it.
fn clients() -> [(KeyVerdict, ChirpStackClient); 2] {
    [
        (KeyVerdict::Global, "_ADMIN_KEY"),
        (KeyVerdict::Tenant, "_TENANT_KEY"),
    ]
    .map(|(verdict, key)| {
        let config = ChirpStackConfig {
            tenant_id: Some(id("_TENANT_ID")),
            ..ChirpStackConfig::new(setting(""), SecretString::from(setting(key)))
        };
        (verdict, ChirpStackClient::connect_lazy(config).unwrap())
    })
}

fn device() -> RemoteDevice {
    let text = |text: &str| text.to_owned();
    RemoteDevice {
        dev_eui: DevEui::from_u64(0x2020_20ff_7e57_0001),
        name: text("Desk 14"),
        description: text("by the window"),
        application_id: id("_APPLICATION_ID"),
        device_profile_id: id("_PROFILE_ID"),
        join_eui: JoinEui::from_u64(0x2020_2000_0000_0001),
        is_disabled: true,
        skip_fcnt_check: true,
        tags: BTreeMap::from([(text(OWNER_TAG), Uuid::nil().to_string())]),
        variables: BTreeMap::from([(text("token"), text("of others"))]),
    }
}

fn app_key(last: u8) -> AppKey {
    let mut bytes = *b"0123456789abcde\0";
    bytes[15] = last;
    AppKey::from_bytes(bytes)
}

#[tokio::test]
#[ignore = "needs a real ChirpStack"]
async fn a_device_lives_there_as_it_does_in_the_simulation() {
    let nobody = Uuid::from_u128(7);
    for (verdict, client) in clients() {
        let made = device();
        assert_eq!(client.key_verdict().await.unwrap(), verdict);
        assert_eq!(client.device(made.dev_eui).await.unwrap(), None);
        for wrong in [
            RemoteDevice {
                application_id: nobody,
                ..made.clone()
            },
            RemoteDevice {
                device_profile_id: nobody,
                ..made.clone()
            },
        ] {
            let error = client.create_device(&wrong).await.unwrap_err();
            assert_eq!(kind(&error), "invalid", "{verdict:?}: {error:?}");
        }
        client.create_device(&made).await.unwrap();
        assert_eq!(
            client.device(made.dev_eui).await.unwrap().as_ref(),
            Some(&made)
        );
        let again = client.create_device(&made).await.unwrap_err();
        assert_eq!(kind(&again), "refused", "{verdict:?}: {again:?}");

        let changed = RemoteDevice {
            name: "Desk 15".to_owned(),
            is_disabled: false,
            ..made.clone()
        };
        client.update_device(&changed).await.unwrap();
        assert_eq!(
            client.device(made.dev_eui).await.unwrap().as_ref(),
            Some(&changed)
        );
        for wrong in [
            RemoteDevice {
                application_id: nobody,
                ..made.clone()
            },
            RemoteDevice {
                device_profile_id: nobody,
                ..made.clone()
            },
        ] {
            let error = client.update_device(&wrong).await.unwrap_err();
            assert_eq!(kind(&error), "invalid", "{verdict:?}: {error:?}");
        }
        for last in [1, 1, 2] {
            client
                .set_app_key(made.dev_eui, &app_key(last))
                .await
                .unwrap();
            let held = client.app_key(made.dev_eui).await.unwrap();
            assert_eq!(held, Some(app_key(last)));
        }
        let state = client.device_state(made.dev_eui).await.unwrap().unwrap();
        assert!(!state.is_activated);
        assert!(client.may_command(made.dev_eui).await.unwrap());
        assert_eq!(client.queue(made.dev_eui).await.unwrap(), []);
        assert_eq!(client.logged_events(made.dev_eui).await.unwrap(), []);
        client.enqueue(made.dev_eui, &item()).await.unwrap();

        client.delete_device(made.dev_eui).await.unwrap();
        assert_eq!(client.device(made.dev_eui).await.unwrap(), None);
        for gone in [
            client.delete_device(made.dev_eui).await,
            client.update_device(&changed).await,
            client.set_app_key(made.dev_eui, &app_key(1)).await,
            client.enqueue(made.dev_eui, &item()).await.map(drop),
        ] {
            let gone = gone.unwrap_err();
            assert_eq!(kind(&gone), "unknown device", "{verdict:?}: {gone:?}");
        }
    }
}

#[tokio::test]
#[ignore = "needs a real ChirpStack"]
async fn what_is_looked_at_and_set_there_is_understood() {
    let nobody = Uuid::from_u128(7);
    let application_id = id("_APPLICATION_ID");
    for (verdict, client) in clients() {
        let listed = client.applications(None).await.unwrap();
        assert!(
            listed.iter().any(|it| it.id == application_id),
            "{verdict:?}"
        );
        let profile = client.device_profile(id("_PROFILE_ID")).await.unwrap();
        assert!(profile.unwrap().supports_class_c);
        assert_eq!(client.device_profile(nobody).await.unwrap(), None);
        let sign = client.version_sign(application_id).await.unwrap();
        assert_eq!(sign, VersionSign::Since4_12);
        for gateway in client.gateways().await.unwrap() {
            assert_eq!(gateway.tenant_id, Some(id("_TENANT_ID")));
            let interval = client.stats_interval_s(gateway.gateway_id).await.unwrap();
            assert!(interval.is_some());
        }
        let error = client.http_integration(nobody).await.unwrap_err();
        assert_eq!(kind(&error), "invalid", "{verdict:?}: {error:?}");
        let error = client.devices(nobody, 0, 10).await;
        // A global key is shown an application without devices.
        assert!(
            matches!(&error, Ok(rows) if rows.is_empty()) || kind(&error.unwrap_err()) == "invalid"
        );

        let before = client.http_integration(application_id).await.unwrap();
        let wanted = HttpIntegration {
            endpoints: "http://127.0.0.1:9/a,http://downbeat:k@127.0.0.1:9/b".to_owned(),
            headers: BTreeMap::from([("X-Site".to_owned(), "north".to_owned())]),
            encoding: Encoding::Protobuf,
        };
        client
            .set_http_integration(application_id, &wanted, before.is_none())
            .await
            .unwrap();
        let held = client.http_integration(application_id).await.unwrap();
        assert_eq!(held.as_ref(), Some(&wanted));
        let again = client
            .set_http_integration(application_id, &wanted, true)
            .await;
        assert_eq!(kind(&again.unwrap_err()), "refused");
        if let Some(before) = before {
            client
                .set_http_integration(application_id, &before, false)
                .await
                .unwrap();
        }
    }
}
