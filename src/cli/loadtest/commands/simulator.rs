//! The simulator's control API: lights to command, faults to cause, and the truth.

use reqwest::{Client, Method, StatusCode, Url};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::cli::loadtest::target::{LoadError, answered};

/// A simulator's control API.
#[derive(Debug, Clone)]
pub(super) struct Simulator {
    client: Client,
    url: Url,
}

/// A light as it really is.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Light {
    pub(super) dev_eui: String,
    pub(super) shown: Shown,
    pub(super) changes: Vec<Change>,
}

/// What a light shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) struct Shown {
    pub(super) color: Color,
}

/// A colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) struct Color {
    pub(super) red: u8,
    pub(super) green: u8,
    pub(super) blue: u8,
}

impl Color {
    /// A colour that is no other number's, for 16 million numbers.
    pub(super) fn of(number: u64) -> Self {
        let number = u32::try_from(number & 0xff_ffff).unwrap_or(0);
        let [_, red, green, blue] = number.to_be_bytes();
        Self { red, green, blue }
    }
}

/// Something that a light really did.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Change {
    /// RFC 3339.
    pub(super) at: String,
    pub(super) state: Shown,
    pub(super) cause: Cause,
}

/// Why.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Cause {
    /// `downlink`, or it lost its light by itself.
    pub(super) r#type: String,
}

/// ChirpStack's ids.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Identity {
    pub(super) application_id: Uuid,
    pub(super) device_profile_id: Uuid,
}

impl Simulator {
    pub(super) fn new(url: Url) -> Result<Self, LoadError> {
        let client = Client::builder().build().map_err(LoadError::Client)?;
        Ok(Self { client, url })
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        expected: StatusCode,
    ) -> Result<Value, LoadError> {
        let root = self.url.as_str().trim_end_matches('/');
        let what = format!("the simulator's control API, {method} {path}");
        let mut request = self.client.request(method, format!("{root}{path}"));
        if let Some(body) = body {
            request = request.json(&body);
        }
        answered(request, expected)
            .await
            .map_err(LoadError::of(what))
    }

    async fn read<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, LoadError> {
        let body = self.ask(Method::GET, path, None, StatusCode::OK).await?;
        let what = format!("the simulator's control API, GET {path}");
        serde_json::from_value(body).map_err(|error| LoadError::of(what)(error.to_string()))
    }

    /// ChirpStack's application and device profile.
    pub(super) async fn identity(&self) -> Result<Identity, LoadError> {
        self.read("/identity").await
    }

    /// Makes lights whose `DevEUI`s count up from this one.
    pub(super) async fn add_lights(
        &self,
        first: &str,
        count: u64,
        joined: bool,
        heartbeat_s: u64,
    ) -> Result<(), LoadError> {
        let body =
            json!({"first": first, "count": count, "joined": joined, "heartbeat_s": heartbeat_s});
        let path = "/lights";
        self.ask(Method::POST, path, Some(body), StatusCode::CREATED)
            .await
            .map(drop)
    }

    /// Gives a light power, or takes it.
    pub(super) async fn power(&self, dev_eui: &str, powered: bool) -> Result<(), LoadError> {
        let path = format!("/lights/{dev_eui}");
        let body = json!({"powered": powered});
        self.ask(Method::PATCH, &path, Some(body), StatusCode::OK)
            .await
            .map(drop)
    }

    /// Changes what holds for all links.
    pub(super) async fn set_links(&self, change: Value) -> Result<(), LoadError> {
        self.ask(Method::PATCH, "/links", Some(change), StatusCode::OK)
            .await
            .map(drop)
    }

    /// The links as they are.
    pub(super) async fn links(&self) -> Result<Value, LoadError> {
        self.ask(Method::GET, "/links", None, StatusCode::OK).await
    }

    /// The gateways' ids.
    pub(super) async fn gateways(&self) -> Result<Vec<String>, LoadError> {
        let body = self
            .ask(Method::GET, "/gateways", None, StatusCode::OK)
            .await?;
        let gateways = body["gateways"].as_array().cloned().unwrap_or_default();
        let id = |it: &Value| it["gateway_id"].as_str().map(str::to_owned);
        Ok(gateways.iter().filter_map(id).collect())
    }

    /// A gateway gets power and backhaul, or loses both.
    pub(super) async fn set_online(&self, gateway: &str, online: bool) -> Result<(), LoadError> {
        let path = format!("/gateways/{gateway}");
        let body = json!({"online": online});
        self.ask(Method::PATCH, &path, Some(body), StatusCode::OK)
            .await
            .map(drop)
    }

    /// The lights of a run, as they really are.
    pub(super) async fn lights(&self, prefix: &str) -> Result<Vec<Light>, LoadError> {
        #[derive(Deserialize)]
        struct Lights {
            lights: Vec<Light>,
        }
        let all: Lights = self.read("/lights").await?;
        let is_ours = |light: &Light| light.dev_eui.starts_with(prefix);
        Ok(all.lights.into_iter().filter(is_ours).collect())
    }
}
