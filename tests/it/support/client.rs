//! A client of the API.

use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::Value;

use super::service::Address;

/// Speaks to one service with one key, wherever it listens.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    address: Address,
    key: String,
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: String,
}

impl Client {
    pub(crate) fn new(address: &Address, key: &str) -> Self {
        rustls::crypto::ring::default_provider()
            .install_default()
            .ok();
        Self {
            http: reqwest::Client::new(),
            address: address.clone(),
            key: key.to_owned(),
        }
    }

    /// A request with the key.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.address.url()))
            .bearer_auth(&self.key)
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        Answer::of(self.request(Method::POST, path).json(body)).await
    }

    /// The downlink as it is now.
    pub(crate) async fn downlink(&self, id: &str) -> Value {
        self.get(&format!("/api/v1/downlinks/{id}"))
            .await
            .expect(200)
    }
}

impl Answer {
    pub(crate) async fn of(request: RequestBuilder) -> Self {
        let response = request.send().await.expect("the service answers");
        let (status, headers) = (response.status(), response.headers().clone());
        Self {
            status,
            headers,
            body: response.text().await.expect("a text"),
        }
    }

    /// The body, if the status is this one.
    pub(crate) fn expect(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }
}
