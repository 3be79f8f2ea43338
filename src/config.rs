//! Configuration: defaults, file, environment, command line; each beats the ones before it.
//!
//! Everything is checked before the first socket opens. Unknown keys are refused by name. Nothing reads a global:
//! constructors take their section.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use downbeat_core::device::Policy;
use downbeat_core::pacer::PacerConfig;
use downbeat_core::region::Region;
use figment::providers::{Format as _, Serialized, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize, Serializer};

mod network;

pub use network::{Network, Networks, ParseNetworkError};

use crate::seal::{self, EncryptionKeyError, Sealer};

/// Everything that can be set.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address of HTTP: API, webhooks, page.
    pub listen: SocketAddr,
    /// Proxies in front of this service, as networks with commas between: what they say in `X-Forwarded-For` of who
    /// called them is believed, in the audit log and where failed sign-ins are counted.
    pub trusted_proxies: Networks,
    /// `sqlite://FILE`, or `postgres://USER:PASSWORD@HOST/DATABASE` of PostgreSQL 13 or later; a file in the data
    /// directory when empty.
    #[serde(serialize_with = "mask_password")]
    pub database_url: String,
    /// Where files are kept.
    pub data_dir: PathBuf,
    /// The platform administrator's key; made and printed at the first start when absent.
    #[serde(serialize_with = "mask")]
    pub admin_key: Option<SecretString>,
    /// What secrets in the database are sealed with: 32 bytes as 64 hex digits or base64. The file `encryption.key` in
    /// the data directory, made when it is needed first, when absent.
    #[serde(serialize_with = "mask")]
    pub encryption_key: Option<SecretString>,
    /// What is logged: `error`, `warn`, `info`, `debug`, or a filter such as `info,downbeat=debug`.
    pub log: String,
    /// Log lines as JSON.
    pub log_json: bool,
    /// The network server.
    pub chirpstack: ChirpstackSection,
    /// The numbers of a downlink's life.
    pub downlink: DownlinkSection,
    /// Bounds.
    pub limits: LimitsSection,
    /// Who may send when.
    pub pacing: PacingSection,
    /// The registry.
    pub registry: RegistrySection,
}

/// `[chirpstack]`: the default network server.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ChirpstackSection {
    /// Its gRPC address, `http://…` or `https://…`. None: commands wait.
    pub url: Option<String>,
    /// An API key of it: a tenant's, or a global one.
    #[serde(serialize_with = "mask")]
    pub api_key: Option<SecretString>,
    /// Its tenant whose gateways are listed; needed with a tenant's key.
    pub tenant_id: Option<uuid::Uuid>,
    /// Deadline of each call, ms.
    pub deadline_ms: u64,
    /// gRPC channels.
    pub channels: usize,
}

/// `[downlink]`: see [`Policy`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DownlinkSection {
    /// Attempts of a downlink in all.
    pub attempts: u8,
    /// Pause before the second attempt, s; doubled for each further one.
    pub backoff_s: u64,
    /// Life of an item in ChirpStack's queue, s.
    pub item_ttl_s: u64,
    /// Least time a device has to prove a transmitted downlink, s.
    pub window_s: u64,
    /// Time to live of a command that does not bring its own, s.
    pub ttl_s: u64,
    /// Whether a device that joined or restarted gets the settings that its codec wants, without being asked.
    pub initialise: bool,
    /// Whether a device that shows something else than wanted is told again.
    pub reconcile: bool,
    /// How often devices speak on their own, s.
    pub uplink_interval_s: u64,
}

/// `[limits]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsSection {
    /// Requests in flight at once, and as many webhooks beside them; further ones get 503 and Retry-After.
    pub requests: usize,
    /// Webhook events held while the database is away.
    pub held_events: usize,
    /// Days that events of devices are kept.
    pub history_days: u32,
    /// Days that decoded fields of uplinks are kept.
    pub telemetry_days: u32,
    /// Days that commands are kept after their end, with their timelines.
    pub downlink_days: u32,
    /// Devices that may have an untransmitted item in ChirpStack's queue at once: its scheduler takes up 100 a run.
    pub untransmitted: usize,
    /// Requests that a key may make within a minute, unless it has a limit of its own; further ones get 429.
    pub key_requests_per_minute: u32,
    /// Whether a tenant's own administrators may set its network server. Downbeat connects to any address that they
    /// name, those of its own network too: leave it to the platform's administrators unless all tenants are trusted.
    pub tenants_may_set_network_server: bool,
}

/// `[pacing]`: see [`PacerConfig`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PacingSection {
    /// The gateways' region: `eu868`, `us915`, `au915`, `as923` or `in865`. None: learnt from what they send.
    pub region: Option<Region>,
    /// The share of an hour that a gateway may send, in place of the region's: 0.1 is 10 %, 1 is no limit.
    pub duty_cycle: Option<f64>,
    /// Whether gateways hear nothing while they send, as most do: then air is left for the devices' answers.
    pub half_duplex: bool,
    /// Up to which share of a gateway's budget jobs for many devices may fill it; the rest is for single commands.
    pub bulk_ceiling: f64,
    /// Which share of a gateway's budget one tenant may use.
    pub tenant_share: f64,
}

impl PacingSection {
    /// The same as the pacer takes it.
    pub fn pacing(&self) -> PacerConfig {
        PacerConfig {
            region: self.region,
            duty_cycle: self.duty_cycle,
            half_duplex: self.half_duplex,
            bulk_ceiling: self.bulk_ceiling,
            tenant_share: self.tenant_share,
            ..PacerConfig::default()
        }
    }
}

impl PacingSection {
    fn check(&self) -> Result<(), ConfigError> {
        let shares = [
            ("pacing.duty_cycle", self.duty_cycle.unwrap_or(1.0)),
            ("pacing.bulk_ceiling", self.bulk_ceiling),
            ("pacing.tenant_share", self.tenant_share),
        ];
        match shares
            .iter()
            .find(|(_, share)| !(*share > 0.0 && *share <= 1.0))
        {
            None => Ok(()),
            Some((key, _)) => Err(ConfigError::Range {
                key,
                problem: "must be above 0 and at most 1",
            }),
        }
    }
}

impl Default for PacingSection {
    fn default() -> Self {
        let PacerConfig {
            region,
            duty_cycle,
            half_duplex,
            bulk_ceiling,
            tenant_share,
            ..
        } = PacerConfig::default();
        Self {
            region,
            duty_cycle,
            half_duplex,
            bulk_ceiling,
            tenant_share,
        }
    }
}

/// `[registry]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RegistrySection {
    /// How often ChirpStack's devices are compared with the registry's, s; 0: never by itself.
    pub drift_interval_s: u64,
    /// Calls a second at the most that keep a network server's devices in step with the registry.
    pub sync_calls_per_second: u32,
}

impl Default for RegistrySection {
    fn default() -> Self {
        Self {
            drift_interval_s: 900,
            sync_calls_per_second: 20,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8000)),
            trusted_proxies: Networks::default(),
            database_url: String::new(),
            data_dir: dirs::data_dir()
                .unwrap_or_else(|| PathBuf::from("."))
                .join("downbeat"),
            admin_key: None,
            encryption_key: None,
            log: "info,ractor=warn".to_owned(),
            log_json: false,
            chirpstack: ChirpstackSection::default(),
            downlink: DownlinkSection::default(),
            limits: LimitsSection::default(),
            pacing: PacingSection::default(),
            registry: RegistrySection::default(),
        }
    }
}

impl Default for ChirpstackSection {
    fn default() -> Self {
        Self {
            url: None,
            api_key: None,
            tenant_id: None,
            deadline_ms: 3_000,
            channels: 4,
        }
    }
}

impl Default for DownlinkSection {
    fn default() -> Self {
        let policy = Policy::default();
        Self {
            attempts: policy.attempts_max,
            backoff_s: policy.backoff.as_secs(),
            item_ttl_s: policy.item_ttl.as_secs(),
            window_s: policy.window_min.as_secs(),
            ttl_s: policy.command_ttl.as_secs(),
            initialise: policy.initialise,
            reconcile: policy.reconcile,
            uplink_interval_s: policy.uplink_interval.as_secs(),
        }
    }
}

impl Default for LimitsSection {
    fn default() -> Self {
        Self {
            requests: 1024,
            held_events: 10_000,
            history_days: 7,
            telemetry_days: 30,
            downlink_days: 7,
            untransmitted: 80,
            key_requests_per_minute: 600_000,
            tenants_may_set_network_server: false,
        }
    }
}

impl DownlinkSection {
    /// The same as the machines take it.
    pub fn policy(&self) -> Policy {
        Policy {
            attempts_max: self.attempts,
            backoff: Duration::from_secs(self.backoff_s),
            item_ttl: Duration::from_secs(self.item_ttl_s),
            window_min: Duration::from_secs(self.window_s),
            command_ttl: Duration::from_secs(self.ttl_s),
            initialise: self.initialise,
            reconcile: self.reconcile,
            uplink_interval: Duration::from_secs(self.uplink_interval_s),
            ..Policy::default()
        }
    }
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A key is unknown, or a value is not of its kind.
    #[error("the configuration is not valid")]
    Invalid(#[from] Box<figment::Error>),
    /// A file that a `…_FILE` variable names cannot be read.
    #[error("{variable} names {path}, which cannot be read")]
    SecretFile {
        /// The variable.
        variable: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A value that is out of its range.
    #[error("{key} {problem}")]
    Range {
        /// The key.
        key: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// A key, and the environment variable that sets it.
struct Key {
    path: &'static str,
    variable: &'static str,
    /// The value is read from the file that `…_FILE` names, too.
    secret: bool,
}

const fn key(path: &'static str, variable: &'static str) -> Key {
    Key {
        path,
        variable,
        secret: false,
    }
}

const fn secret(path: &'static str, variable: &'static str) -> Key {
    Key {
        path,
        variable,
        secret: true,
    }
}

const KEYS: &[Key] = &[
    key("listen", "DOWNBEAT_LISTEN"),
    key("trusted_proxies", "DOWNBEAT_TRUSTED_PROXIES"),
    secret("database_url", "DOWNBEAT_DATABASE_URL"),
    key("data_dir", "DOWNBEAT_DATA_DIR"),
    secret("admin_key", "DOWNBEAT_ADMIN_KEY"),
    secret("encryption_key", "DOWNBEAT_ENCRYPTION_KEY"),
    key("log", "DOWNBEAT_LOG"),
    key("log_json", "DOWNBEAT_LOG_JSON"),
    key("chirpstack.url", "DOWNBEAT_CHIRPSTACK_URL"),
    secret("chirpstack.api_key", "DOWNBEAT_CHIRPSTACK_API_KEY"),
    key("chirpstack.tenant_id", "DOWNBEAT_CHIRPSTACK_TENANT_ID"),
    key("chirpstack.deadline_ms", "DOWNBEAT_CHIRPSTACK_DEADLINE_MS"),
    key("chirpstack.channels", "DOWNBEAT_CHIRPSTACK_CHANNELS"),
    key("downlink.attempts", "DOWNBEAT_DOWNLINK_ATTEMPTS"),
    key("downlink.backoff_s", "DOWNBEAT_DOWNLINK_BACKOFF_S"),
    key("downlink.item_ttl_s", "DOWNBEAT_DOWNLINK_ITEM_TTL_S"),
    key("downlink.window_s", "DOWNBEAT_DOWNLINK_WINDOW_S"),
    key("downlink.ttl_s", "DOWNBEAT_DOWNLINK_TTL_S"),
    key("downlink.initialise", "DOWNBEAT_DOWNLINK_INITIALISE"),
    key("downlink.reconcile", "DOWNBEAT_DOWNLINK_RECONCILE"),
    key(
        "downlink.uplink_interval_s",
        "DOWNBEAT_DOWNLINK_UPLINK_INTERVAL_S",
    ),
    key("limits.requests", "DOWNBEAT_LIMITS_REQUESTS"),
    key("limits.held_events", "DOWNBEAT_LIMITS_HELD_EVENTS"),
    key("limits.history_days", "DOWNBEAT_LIMITS_HISTORY_DAYS"),
    key("limits.telemetry_days", "DOWNBEAT_LIMITS_TELEMETRY_DAYS"),
    key("limits.downlink_days", "DOWNBEAT_LIMITS_DOWNLINK_DAYS"),
    key("limits.untransmitted", "DOWNBEAT_LIMITS_UNTRANSMITTED"),
    key(
        "limits.key_requests_per_minute",
        "DOWNBEAT_LIMITS_KEY_REQUESTS_PER_MINUTE",
    ),
    key(
        "limits.tenants_may_set_network_server",
        "DOWNBEAT_LIMITS_TENANTS_MAY_SET_NETWORK_SERVER",
    ),
    key("pacing.region", "DOWNBEAT_PACING_REGION"),
    key("pacing.duty_cycle", "DOWNBEAT_PACING_DUTY_CYCLE"),
    key("pacing.half_duplex", "DOWNBEAT_PACING_HALF_DUPLEX"),
    key("pacing.bulk_ceiling", "DOWNBEAT_PACING_BULK_CEILING"),
    key("pacing.tenant_share", "DOWNBEAT_PACING_TENANT_SHARE"),
    key(
        "registry.drift_interval_s",
        "DOWNBEAT_REGISTRY_DRIFT_INTERVAL_S",
    ),
    key(
        "registry.sync_calls_per_second",
        "DOWNBEAT_REGISTRY_SYNC_CALLS_PER_SECOND",
    ),
];

/// Keys whose text is a number or a truth value; all others are taken as the text they are.
const SCALARS: &[&str] = &[
    "log_json",
    "chirpstack.deadline_ms",
    "chirpstack.channels",
    "downlink.attempts",
    "downlink.backoff_s",
    "downlink.item_ttl_s",
    "downlink.window_s",
    "downlink.ttl_s",
    "downlink.initialise",
    "downlink.reconcile",
    "downlink.uplink_interval_s",
    "limits.requests",
    "limits.held_events",
    "limits.history_days",
    "limits.telemetry_days",
    "limits.downlink_days",
    "pacing.duty_cycle",
    "pacing.half_duplex",
    "pacing.bulk_ceiling",
    "pacing.tenant_share",
    "registry.drift_interval_s",
    "registry.sync_calls_per_second",
    "limits.untransmitted",
    "limits.key_requests_per_minute",
    "limits.tenants_may_set_network_server",
];

/// Without secrets, the database's password among them.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            listen,
            trusted_proxies,
            database_url,
            data_dir,
            admin_key,
            encryption_key,
            log,
            log_json,
            chirpstack,
            downlink,
            limits,
            pacing,
            registry,
        } = self;
        f.debug_struct("Config")
            .field("listen", listen)
            .field("trusted_proxies", trusted_proxies)
            .field("database_url", &without_password(database_url))
            .field("data_dir", data_dir)
            .field("admin_key", admin_key)
            .field("encryption_key", encryption_key)
            .field("log", log)
            .field("log_json", log_json)
            .field("chirpstack", chirpstack)
            .field("downlink", downlink)
            .field("limits", limits)
            .field("pacing", pacing)
            .field("registry", registry)
            .finish()
    }
}

/// A configuration with the source of each of its values.
pub struct Loaded {
    /// What is in force.
    pub config: Config,
    figment: Figment,
}

/// Values given by name, from one source.
#[derive(Default)]
struct Named {
    source: &'static str,
    values: BTreeMap<&'static str, (String, String)>,
}

impl Provider for Named {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.source)
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let mut dict = Dict::new();
        for (path, (_, text)) in &self.values {
            let value = if SCALARS.contains(path) {
                text.parse::<Value>().unwrap_or_else(|never| match never {})
            } else {
                Value::from(text.clone())
            };
            match path.split_once('.') {
                None => {
                    dict.insert((*path).to_owned(), value);
                }
                Some((section, key)) => {
                    let section = dict
                        .entry(section.to_owned())
                        .or_insert_with(|| Value::from(Dict::new()));
                    if let Value::Dict(_, section) = section {
                        section.insert(key.to_owned(), value);
                    }
                }
            }
        }
        Ok(Map::from([(Profile::Default, dict)]))
    }
}

/// What is in force; the sources hold secrets as they were given.
impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loaded")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Loaded {
    /// Reads the file (if one is named, it must be there), the environment as `variable` gives it, and the options of
    /// the command line, each named by its key.
    pub fn new(
        file: Option<&Path>,
        variable: impl Fn(&str) -> Option<String>,
        options: &[(&'static str, String)],
    ) -> Result<Self, ConfigError> {
        let mut figment = Figment::from(Serialized::defaults(PrintedConfig::defaults()));
        if let Some(file) = file {
            figment = figment.merge(Toml::file_exact(file));
        }
        figment = figment.merge(from_environment(variable)?);
        let values = options
            .iter()
            .map(|(path, text)| (*path, ((*path).to_owned(), text.clone())))
            .collect();
        figment = figment.merge(Named {
            source: "command line",
            values,
        });
        let mut config: Config = figment.extract().map_err(Box::new)?;
        if config.database_url.is_empty() {
            config.database_url =
                format!("sqlite://{}", config.data_dir.join("downbeat.db").display());
        }
        config.check()?;
        Ok(Self { config, figment })
    }

    /// What is in force, as TOML with the source of each value behind it; secrets are masked.
    pub fn describe(&self) -> String {
        let mut text = String::new();
        let mut section = "";
        for Key {
            path,
            variable,
            secret,
        } in KEYS
        {
            let (own_section, name) = path.split_once('.').unwrap_or(("", path));
            if own_section != section {
                section = own_section;
                let _ = write!(text, "\n[{section}]\n");
            }
            let value = match self.figment.find_value(path) {
                Ok(Value::String(_, _)) if *secret => "\"***\"".to_owned(),
                Ok(value) => shown(&value),
                Err(_) => "(none)".to_owned(),
            };
            let value = if *path == "database_url" {
                shown(&Value::from(without_password(&self.config.database_url)))
            } else {
                value
            };
            let source = self
                .figment
                .find_metadata(path)
                .map_or_else(|| "default".to_owned(), source_name);
            let _ = writeln!(
                text,
                "{:<48} # {source}; {variable}",
                format!("{name} = {value}")
            );
        }
        text
    }
}

/// The defaults as figment takes them: absent values are absent, not null.
#[derive(Serialize)]
struct PrintedConfig {
    listen: SocketAddr,
    trusted_proxies: Networks,
    database_url: String,
    data_dir: PathBuf,
    log: String,
    log_json: bool,
    chirpstack: PrintedChirpstack,
    downlink: DownlinkSection,
    limits: LimitsSection,
    pacing: PrintedPacing,
    registry: RegistrySection,
}

#[derive(Serialize)]
struct PrintedPacing {
    half_duplex: bool,
    bulk_ceiling: f64,
    tenant_share: f64,
}

#[derive(Serialize)]
struct PrintedChirpstack {
    deadline_ms: u64,
    channels: usize,
}

impl PrintedConfig {
    fn defaults() -> Self {
        let Config {
            listen,
            trusted_proxies,
            database_url,
            data_dir,
            log,
            log_json,
            chirpstack,
            downlink,
            limits,
            pacing,
            registry,
            ..
        } = Config::default();
        let ChirpstackSection {
            deadline_ms,
            channels,
            ..
        } = chirpstack;
        let pacing = PrintedPacing {
            half_duplex: pacing.half_duplex,
            bulk_ceiling: pacing.bulk_ceiling,
            tenant_share: pacing.tenant_share,
        };
        let chirpstack = PrintedChirpstack {
            deadline_ms,
            channels,
        };
        Self {
            listen,
            trusted_proxies,
            database_url,
            data_dir,
            log,
            log_json,
            chirpstack,
            downlink,
            limits,
            pacing,
            registry,
        }
    }
}

fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Result<Named, ConfigError> {
    let mut values = BTreeMap::new();
    for Key {
        path,
        variable: name,
        secret,
    } in KEYS
    {
        if let Some(text) = variable(name) {
            values.insert(*path, ((*name).to_owned(), text));
        } else if *secret && let Some(file) = variable(&format!("{name}_FILE")) {
            let path_of_file = PathBuf::from(file);
            let text = std::fs::read_to_string(&path_of_file).map_err(|source| {
                ConfigError::SecretFile {
                    variable: name,
                    path: path_of_file,
                    source,
                }
            })?;
            values.insert(*path, (format!("{name}_FILE"), text.trim_end().to_owned()));
        }
    }
    Ok(Named {
        source: "environment",
        values,
    })
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(_, text) => format!("{text:?}"),
        Value::Num(_, number) => number
            .to_u128()
            .map(|number| number.to_string())
            .or_else(|| number.to_i128().map(|number| number.to_string()))
            .or_else(|| number.to_f64().map(|number| number.to_string()))
            .unwrap_or_default(),
        Value::Bool(_, truth) => truth.to_string(),
        Value::Char(_, character) => format!("{:?}", character.to_string()),
        Value::Empty(..) => "(none)".to_owned(),
        Value::Dict(..) | Value::Array(..) => "…".to_owned(),
    }
}

/// A URL as it may be shown. A password stands before the host, or among the parameters.
fn without_password(url: &str) -> String {
    let url = without_user_password(url);
    let Some((before, rest)) = url.split_once("password=") else {
        return url;
    };
    let after = rest.find('&').map_or("", |at| &rest[at..]);
    format!("{before}password=***{after}")
}

fn without_user_password(url: &str) -> String {
    let start = url.find("://").map_or(0, |at| at + 3);
    // A password may hold any of these, unescaped by mistake.
    let Some(end) = url[start..].rfind('@').map(|at| start + at) else {
        return url.to_owned();
    };
    match url[start..end].find(':') {
        Some(colon) => format!("{}:***{}", &url[..start + colon], &url[end..]),
        None => url.to_owned(),
    }
}

fn source_name(metadata: &Metadata) -> String {
    match (&metadata.source, metadata.name.as_ref()) {
        (Some(source), "TOML file") => source.to_string(),
        (_, name @ ("environment" | "command line")) => name.to_owned(),
        (_, _) => "default".to_owned(),
    }
}

impl Config {
    /// What secrets in the database are sealed with.
    pub fn sealer(&self) -> Result<Sealer, EncryptionKeyError> {
        let configured = self.encryption_key.as_ref();
        match configured.and_then(|key| seal::parse_key(key.expose_secret())) {
            Some(key) => Ok(Sealer::from_key(key)),
            None => seal::load_or_make(&self.data_dir),
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        self.limits.check()?;
        let DownlinkSection {
            attempts,
            item_ttl_s,
            window_s,
            ttl_s,
            ..
        } = self.downlink;
        range(
            (1..=20).contains(&attempts),
            "downlink.attempts",
            "must be 1 to 20",
        )?;
        range(
            (5..=3600).contains(&item_ttl_s),
            "downlink.item_ttl_s",
            "must be 5 to 3600",
        )?;
        range(
            (5..=3600).contains(&window_s),
            "downlink.window_s",
            "must be 5 to 3600",
        )?;
        range(
            (1..=31_536_000).contains(&ttl_s),
            "downlink.ttl_s",
            "must be 1 to 31536000 (a year)",
        )?;
        self.pacing.check()?;
        range(
            matches!(self.registry.drift_interval_s, 0 | 60..=604_800),
            "registry.drift_interval_s",
            "must be 0 (never) or 60 to 604800",
        )?;
        range(
            (1..=10_000).contains(&self.registry.sync_calls_per_second),
            "registry.sync_calls_per_second",
            "must be 1 to 10000",
        )?;
        range(
            (100..=60_000).contains(&self.chirpstack.deadline_ms),
            "chirpstack.deadline_ms",
            "must be 100 to 60000",
        )?;
        range(
            (1..=64).contains(&self.chirpstack.channels),
            "chirpstack.channels",
            "must be 1 to 64",
        )?;
        let url_ok = self
            .chirpstack
            .url
            .as_ref()
            .is_none_or(|url| url.starts_with("http://") || url.starts_with("https://"));
        range(
            url_ok,
            "chirpstack.url",
            "must start with http:// or https://",
        )?;
        let key_missing = self.chirpstack.url.is_some() && self.chirpstack.api_key.is_none();
        range(
            !key_missing,
            "chirpstack.api_key",
            "is needed with chirpstack.url",
        )?;
        let short = self
            .admin_key
            .as_ref()
            .is_some_and(|key| key.expose_secret().len() < 16);
        range(!short, "admin_key", "must have at least 16 characters")?;
        let no_key = self
            .encryption_key
            .as_ref()
            .is_some_and(|key| seal::parse_key(key.expose_secret()).is_none());
        range(
            !no_key,
            "encryption_key",
            "must be 32 bytes as 64 hex digits or base64",
        )
    }
}

impl LimitsSection {
    fn check(&self) -> Result<(), ConfigError> {
        range(
            (1..=100).contains(&self.untransmitted),
            "limits.untransmitted",
            "must be 1 to 100",
        )?;
        range(
            (1..=36_500).contains(&self.downlink_days),
            "limits.downlink_days",
            "must be 1 to 36500",
        )?;
        range(
            (1..=100_000_000).contains(&self.key_requests_per_minute),
            "limits.key_requests_per_minute",
            "must be 1 to 100000000",
        )?;
        range(
            (1..=1_000_000).contains(&self.requests),
            "limits.requests",
            "must be 1 to 1000000",
        )
    }
}

fn range(ok: bool, key: &'static str, problem: &'static str) -> Result<(), ConfigError> {
    if ok {
        Ok(())
    } else {
        Err(ConfigError::Range { key, problem })
    }
}

/// Secrets never leave the process, not by serialisation either.
#[expect(clippy::ref_option, reason = "the shape that serde calls")]
fn mask<S: Serializer>(secret: &Option<SecretString>, serializer: S) -> Result<S::Ok, S::Error> {
    match secret {
        Some(_) => serializer.serialize_str("***"),
        None => serializer.serialize_none(),
    }
}

fn mask_password<S: Serializer>(url: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&without_password(url))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error as _;

    fn nothing(_: &str) -> Option<String> {
        None
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn the_command_line_beats_the_environment_which_beats_the_file() {
        let file = file("listen = '127.0.0.1:1'\nlog = 'warn'\n[limits]\nrequests = 7\n");
        let environment = |name: &str| match name {
            "DOWNBEAT_LISTEN" => Some("127.0.0.1:2".to_owned()),
            "DOWNBEAT_LIMITS_HELD_EVENTS" => Some("9".to_owned()),
            _ => None,
        };
        let options = [("listen", "127.0.0.1:3".to_owned())];
        let loaded = Loaded::new(Some(file.path()), environment, &options).unwrap();
        let config = &loaded.config;
        assert_eq!((config.listen.port(), config.log.as_str()), (3, "warn"));
        assert_eq!((config.limits.requests, config.limits.held_events), (7, 9));
        let described = loaded.describe();
        for line in [
            "listen = \"127.0.0.1:3\"",
            "# command line",
            "held_events = 9",
            "# environment",
            "attempts = 4",
            "# default",
        ] {
            assert!(described.contains(line), "{line} in {described}");
        }
    }

    #[test]
    fn unknown_keys_are_refused_by_name() {
        let file = file("[chirpstack]\nurI = 'http://x'\n");
        let error = Loaded::new(Some(file.path()), nothing, &[]).unwrap_err();
        assert!(
            error.source().unwrap().to_string().contains("uri")
                || error.source().unwrap().to_string().contains("urI")
        );
    }

    #[test]
    fn a_database_url_is_shown_without_its_password() {
        for (url, shown) in [
            ("sqlite:///var/lib/x.db", "sqlite:///var/lib/x.db"),
            ("postgres://me@host/x", "postgres://me@host/x"),
            (
                "postgres://me:secret@host:5433/x?a=b",
                "postgres://me:***@host:5433/x?a=b",
            ),
            ("postgres://me:s@e:c/ret@host/x", "postgres://me:***@host/x"),
            (
                "postgres://me@host/x?password=secret&a=b",
                "postgres://me@host/x?password=***&a=b",
            ),
        ] {
            let options = [("database_url", url.to_owned())];
            let loaded = Loaded::new(None, nothing, &options).unwrap();
            assert_eq!(loaded.config.database_url, url);
            let line = format!("database_url = \"{shown}\"");
            assert!(loaded.describe().contains(&line), "{}", loaded.describe());
            let debug = format!("{loaded:?} {:?}", loaded.config);
            assert!(debug.contains(&format!("{shown:?}")), "{debug}");
            let json = serde_json::to_string(&loaded.config).unwrap();
            for text in [debug, json] {
                assert!(
                    !text.contains("secret") && !text.contains("c/ret"),
                    "{text}"
                );
            }
        }
    }

    #[test]
    fn secrets_are_read_from_files_and_never_shown() {
        let secret = file("0123456789abcdef-secret\n");
        let path = secret.path().display().to_string();
        let environment = |name: &str| (name == "DOWNBEAT_ADMIN_KEY_FILE").then(|| path.clone());
        let loaded = Loaded::new(None, environment, &[]).unwrap();
        assert_eq!(
            loaded.config.admin_key.as_ref().unwrap().expose_secret(),
            "0123456789abcdef-secret"
        );
        assert!(
            !loaded.describe().contains("secret\""),
            "{}",
            loaded.describe()
        );
        assert!(!format!("{:?}", loaded.config).contains("0123456789abcdef"));
    }

    #[test]
    fn proxies_are_networks_or_nothing_begins() {
        let proxies = |text: &str| {
            let option = ("trusted_proxies", text.to_owned());
            Loaded::new(None, nothing, &[option])
        };
        let loaded = proxies("10.0.0.0/8, ::1").unwrap();
        assert_eq!(loaded.config.trusted_proxies.as_slice().len(), 2);
        let line = "trusted_proxies = \"10.0.0.0/8, ::1\"";
        assert!(loaded.describe().contains(line), "{}", loaded.describe());
        let error = proxies("10.0.0.0/33").unwrap_err();
        let cause = error.source().unwrap().to_string();
        assert!(
            cause.contains("10.0.0.0/33") && cause.contains("trusted_proxies"),
            "{cause}"
        );
    }

    #[test]
    fn values_out_of_range_are_refused_by_name() {
        for (key, value) in [
            ("downlink.attempts", "0"),
            ("limits.untransmitted", "101"),
            ("limits.downlink_days", "0"),
            ("limits.key_requests_per_minute", "0"),
            ("chirpstack.url", "localhost:8080"),
            ("admin_key", "short"),
            ("encryption_key", "0123"),
        ] {
            let error = Loaded::new(None, nothing, &[(key, value.to_owned())]).unwrap_err();
            assert!(error.to_string().contains(key), "{error}");
        }
    }
}
