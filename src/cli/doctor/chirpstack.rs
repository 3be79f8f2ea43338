//! ChirpStack itself: whether it answers, what the key is, what it sees.

use downbeat_actors::port::{
    ListedApplication, ListedDevice, NetworkServer as _, NetworkServerError,
};
use uuid::Uuid;

use super::report::Report;
use super::{DoctorArgs, chain, device, gateway, integration};
use crate::chirpstack::{ChirpStackClient, KeyVerdict, VersionSign};
use crate::cli::chirpstack as client_of;
use crate::config::Config;
use crate::store::Store;

/// Applications that are looked at.
const APPLICATIONS_MAX: usize = 20;

/// Devices of an application among which those to look at are chosen.
const LISTED: u32 = 500;

/// How a key is given.
const GIVE_KEY: &str =
    "make an API key in ChirpStack (not a read-only one) and set DOWNBEAT_CHIRPSTACK_API_KEY to it";

pub(super) async fn examine(
    arguments: &DoctorArgs,
    config: &Config,
    store: Option<&Store>,
    report: &mut Report,
) {
    let client = match client_of(config) {
        Ok(Some(client)) => client,
        Ok(None) => {
            report.warn(
                "chirpstack",
                "none is configured: commands are accepted and wait",
                "set chirpstack.url and chirpstack.api_key",
            );
            return;
        }
        Err(error) => {
            report.fail("chirpstack", format!("{error:#}"), "mend chirpstack.url");
            return;
        }
    };
    let Some(verdict) = key(&client, config, report).await else {
        return;
    };
    let Some(applications) = applications(&client, verdict, arguments, config, report).await else {
        return;
    };
    let mut connected = false;
    let mut all_devices = Vec::new();
    for application in &applications {
        connected |=
            integration::examine(&client, application, arguments, config, store, report).await;
        all_devices.extend(devices(&client, application, arguments, report).await);
    }
    if !applications.is_empty() && !connected {
        report.fail(
            "events",
            "no application posts its events here: nothing can be proven, and no device counts as heard",
            "downbeat connect --application NAME --webhook-url http://HOST:PORT",
        );
    }
    if let Some(application) = applications.first() {
        version(&client, application.id, report).await;
    }
    if !all_devices.is_empty() {
        device::examine(&client, &all_devices, report).await;
    }
    gateway::examine(&client, report).await;
}

/// Whether ChirpStack answers, and to which kind of key.
async fn key(
    client: &ChirpStackClient,
    config: &Config,
    report: &mut Report,
) -> Option<KeyVerdict> {
    let url = config.chirpstack.url.as_deref().unwrap_or_default();
    let verdict = match client.key_verdict().await {
        Ok(verdict) => verdict,
        Err(error) => {
            report.fail("chirpstack", unreachable(url, &error), remedy(&error));
            return None;
        }
    };
    report.ok("chirpstack", format!("it answers at {url}"));
    match verdict {
        KeyVerdict::Global => report.ok("api key", "it is accepted, and is a global one"),
        KeyVerdict::Tenant => report.ok("api key", "it is accepted, and is a tenant's"),
        KeyVerdict::Deleted => {
            report.fail("api key", "ChirpStack has deleted it", GIVE_KEY);
            return None;
        }
        KeyVerdict::Foreign => {
            report.fail(
                "api key",
                "ChirpStack did not make it, or its api.secret was changed since",
                GIVE_KEY,
            );
            return None;
        }
    }
    Some(verdict)
}

fn unreachable(url: &str, error: &NetworkServerError) -> String {
    match error {
        NetworkServerError::Unavailable(_) => format!("{url} cannot be reached: {}", chain(error)),
        NetworkServerError::AnswerLost(_) => {
            format!("{url} does not answer as ChirpStack does: {}", chain(error))
        }
        NetworkServerError::Invalid(text) => {
            format!("what answers at {url} knows no such call: {text}")
        }
        NetworkServerError::Refused(_)
        | NetworkServerError::Unauthenticated
        | NetworkServerError::UnknownDevice(_) => format!("{url}: {}", chain(error)),
    }
}

fn remedy(error: &NetworkServerError) -> &'static str {
    match error {
        NetworkServerError::Unavailable(_) => {
            "see that ChirpStack runs, that chirpstack.url names its gRPC address (by default port 8080; https only \
             behind a proxy that speaks it), and that no firewall is between"
        }
        NetworkServerError::AnswerLost(_) => {
            "see that chirpstack.url names ChirpStack's own port or a proxy that passes gRPC (HTTP/2) on, and that \
             PostgreSQL and Redis answer it; chirpstack.deadline_ms may be too short"
        }
        NetworkServerError::Invalid(_) => {
            "name ChirpStack v4's own port; the REST proxy (port 8090) and ChirpStack v3 do not do"
        }
        NetworkServerError::Refused(_)
        | NetworkServerError::Unauthenticated
        | NetworkServerError::UnknownDevice(_) => {
            "see ChirpStack's own log; its database may be away"
        }
    }
}

/// The applications to look at; `None` if the key is not of the tenant at all.
async fn applications(
    client: &ChirpStackClient,
    verdict: KeyVerdict,
    arguments: &DoctorArgs,
    config: &Config,
    report: &mut Report,
) -> Option<Vec<ListedApplication>> {
    let tenant_id = config.chirpstack.tenant_id;
    if let Some(Ok(id)) = arguments.application.as_deref().map(str::parse::<Uuid>) {
        return Some(named(client, id, report).await);
    }
    if verdict == KeyVerdict::Tenant && tenant_id.is_none() {
        report.warn(
            "tenant",
            "ChirpStack does not say whose a tenant's key is: gateways are unknown until the first device is reached",
            "set chirpstack.tenant_id to the tenant's id, as ChirpStack shows it",
        );
        report.unknown(
            "applications",
            "they are not listed for a tenant's key without the tenant's id",
            "set chirpstack.tenant_id, or name one: --application ID",
        );
        return Some(Vec::new());
    }
    let mut listed = match client.applications(None).await {
        Ok(listed) => listed,
        Err(NetworkServerError::Unauthenticated) => {
            report.fail(
                "tenant",
                "the key is not of the tenant that chirpstack.tenant_id names",
                "set chirpstack.tenant_id to the id of the key's own tenant, as ChirpStack shows it",
            );
            return None;
        }
        Err(error) => {
            report.unknown("applications", chain(&error), remedy(&error));
            return Some(Vec::new());
        }
    };
    if let Some(tenant_id) = tenant_id {
        report.ok("tenant", format!("the key sees tenant {tenant_id}"));
    }
    if let Some(name) = &arguments.application {
        listed.retain(|application| application.name == *name);
        if listed.is_empty() {
            report.fail(
                "applications",
                format!("there is no application {name} that this key can see"),
                "name one that is there, by its id or its name",
            );
        }
        return Some(listed);
    }
    if listed.is_empty() {
        report.fail(
            "applications",
            "there are none that this key can see",
            "make one in ChirpStack, with the devices in it",
        );
    } else {
        let more = match listed.len().saturating_sub(APPLICATIONS_MAX) {
            0 => String::new(),
            rest => format!("; {rest} are not looked at: name one by --application"),
        };
        report.ok("applications", format!("{}{more}", listed.len()));
    }
    listed.truncate(APPLICATIONS_MAX);
    Some(listed)
}

async fn named(client: &ChirpStackClient, id: Uuid, report: &mut Report) -> Vec<ListedApplication> {
    match client.application(id).await {
        Ok(name) => {
            report.ok("applications", format!("{name} is there"));
            vec![ListedApplication { id, name }]
        }
        Err(NetworkServerError::Invalid(text)) => {
            report.fail(
                "applications",
                text,
                "name one that is there, by its id or its name",
            );
            Vec::new()
        }
        Err(error) => {
            report.unknown("applications", chain(&error), remedy(&error));
            Vec::new()
        }
    }
}

/// The devices to look at: those that spoke last.
async fn devices(
    client: &ChirpStackClient,
    application: &ListedApplication,
    arguments: &DoctorArgs,
    report: &mut Report,
) -> Vec<ListedDevice> {
    let mut listed = match client.devices(application.id, 0, LISTED).await {
        Ok(listed) => listed,
        Err(error) => {
            report.unknown("devices", chain(&error), remedy(&error));
            return Vec::new();
        }
    };
    let name = &application.name;
    if listed.is_empty() {
        report.warn(
            "devices",
            format!("application {name} has none"),
            "register devices here; ChirpStack gets them from this service",
        );
    }
    listed.sort_by_key(|device| std::cmp::Reverse(device.last_seen_at));
    listed.truncate(usize::try_from(arguments.devices).unwrap_or(usize::MAX));
    listed
}

async fn version(client: &ChirpStackClient, application_id: Uuid, report: &mut Report) {
    match client.version_sign(application_id).await {
        Ok(VersionSign::Since4_12) => {
            report.ok("version", "4.12 or newer, by what it can do: items expire");
        }
        Ok(VersionSign::Before4_12) => report.warn(
            "version",
            "older than 4.12; before 4.10 items of the queue do not expire, so that an old command may come out late",
            "update ChirpStack",
        ),
        Err(error) => report.unknown("version", chain(&error), remedy(&error)),
    }
}
