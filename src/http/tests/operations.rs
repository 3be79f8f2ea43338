//! Every operation of the OpenAPI document, filled in: a new route is in these tests by being described.

use std::collections::BTreeMap;

use super::*;
use crate::http::openapi_json;

/// An operation that is described.
#[derive(Debug, Clone)]
pub(super) struct Operation {
    pub(super) method: String,
    /// With its parameters between braces.
    pub(super) path: String,
    tag: String,
    parameters: Vec<Parameter>,
    /// Type and text of a body that is as it should be.
    body: Option<(String, Vec<u8>)>,
}

#[derive(Debug, Clone)]
struct Parameter {
    name: String,
    place: String,
    is_required: bool,
    example: Option<Value>,
}

impl Operation {
    /// Answered without a key.
    pub(super) fn is_open(&self) -> bool {
        matches!(
            (self.method.as_str(), self.path.as_str()),
            (_, "/healthz" | "/readyz") | ("POST", "/api/v1/session")
        )
    }

    pub(super) fn is_webhook(&self) -> bool {
        self.tag == "webhooks"
    }

    /// Who signs in and out touches nothing but their own session.
    pub(super) fn is_session(&self) -> bool {
        self.path.starts_with("/api/v1/session")
    }

    pub(super) fn is_stream(&self) -> bool {
        self.tag == "live"
    }

    pub(super) fn is_read(&self) -> bool {
        self.method == "GET"
    }

    /// Whether the path names something of a tenant's.
    pub(super) fn names_something(&self) -> bool {
        self.path.contains('{')
    }

    pub(super) fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// The request, with what the path names taken from `ids`.
    pub(super) fn request(&self, ids: &Ids, key: &str) -> Request<Body> {
        let mut path = self.path.clone();
        let mut query = Vec::new();
        for parameter in &self.parameters {
            let name = &parameter.name;
            match parameter.place.as_str() {
                "path" => path = path.replace(&format!("{{{name}}}"), &ids.of(self, name)),
                "query" if parameter.is_required => {
                    let example = parameter.example.as_ref().unwrap_or_else(|| {
                        panic!("{}: give the parameter {name} an example", self.name())
                    });
                    let text = example
                        .as_str()
                        .map_or_else(|| example.to_string(), str::to_owned);
                    query.push(format!("{name}={text}"));
                }
                _ => {}
            }
        }
        if !query.is_empty() {
            path = format!("{path}?{}", query.join("&"));
        }
        // Whoever waits for a device waits for nobody here.
        if path.starts_with("/api/v1/downlink/") {
            path += "?wait=0";
        }
        let mut request = request(&self.method, &path, key, None);
        if let Some((media_type, body)) = &self.body {
            let media_type = media_type.parse().unwrap();
            request.headers_mut().insert("content-type", media_type);
            *request.body_mut() = Body::from(body.clone());
        }
        request
    }
}

/// What a tenant has, by the names that paths give it.
#[derive(Debug, Clone)]
pub(super) struct Ids {
    pub(super) tenant: String,
    pub(super) device: String,
    pub(super) downlink: String,
    pub(super) key: String,
    pub(super) job: String,
}

impl Ids {
    fn of(&self, operation: &Operation, parameter: &str) -> String {
        match parameter {
            "tenant_id" => self.tenant.clone(),
            "device_id" => self.device.clone(),
            "dev_eui" => LAMP.to_owned(),
            "key_id" => self.key.clone(),
            "id" if operation.path.contains("/downlinks/") => self.downlink.clone(),
            "id" if operation.path.contains("/gateways/") => "0016c00150330001".to_owned(),
            "job_id" => self.job.clone(),
            // Whose sessions are seen is tried in access.rs.
            "session_id" => uuid::Uuid::nil().to_string(),
            _ => panic!(
                "{}: tell Ids::of in src/http/tests/operations.rs what a tenant's {parameter} is, and make one in \
                 isolation.rs",
                operation.name()
            ),
        }
    }
}

/// All of them.
pub(super) fn operations() -> Vec<Operation> {
    let document: Value = serde_json::from_str(&openapi_json()).unwrap();
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, described) in methods.as_object().unwrap() {
            let parameters = described["parameters"].as_array();
            let parameters = parameters.into_iter().flatten().map(|it| Parameter {
                name: it["name"].as_str().unwrap().to_owned(),
                place: it["in"].as_str().unwrap().to_owned(),
                is_required: it["required"] == true,
                example: it.get("example").cloned(),
            });
            let mut operation = Operation {
                method: method.to_uppercase(),
                path: path.clone(),
                tag: described["tags"][0].as_str().unwrap_or_default().to_owned(),
                parameters: parameters.collect(),
                body: None,
            };
            operation.body = body(&document, described, &operation);
            operations.push(operation);
        }
    }
    assert!(operations.len() >= 30, "{}", operations.len());
    operations
}

/// A body as the description's example has it: one that is refused for its form would prove nothing.
fn body(document: &Value, described: &Value, operation: &Operation) -> Option<(String, Vec<u8>)> {
    let content = described["requestBody"]["content"].as_object()?;
    if operation.is_webhook() {
        return Some(("application/json".to_owned(), captured("up-verifies.json")));
    }
    let (media_type, content) = content.iter().next()?;
    let schema = match content["schema"]["$ref"].as_str() {
        Some(reference) => document.pointer(&reference[1..]).unwrap(),
        None => &content["schema"],
    };
    let example = content
        .get("example")
        .or_else(|| schema.get("example"))
        .cloned()
        .or_else(|| schema["examples"].get(0).cloned());
    let has_required = schema["required"]
        .as_array()
        .is_some_and(|fields| !fields.is_empty());
    let example = example.unwrap_or_else(|| {
        assert!(
            !has_required || operation.is_open(),
            "{}: give the schema of its body an example",
            operation.name()
        );
        json!({})
    });
    let text = match example {
        Value::String(text) => text,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            example.to_string()
        }
    };
    Some((media_type.clone(), text.into_bytes()))
}

/// What a caller sees of everything that the ids name, by the operation that shows it.
pub(super) async fn seen(service: &Service, ids: &Ids, key: &str) -> BTreeMap<String, String> {
    let mut seen = BTreeMap::new();
    for operation in operations() {
        let shows = operation.is_read() && operation.names_something() && !operation.is_stream();
        if shows {
            let answer = service.send(operation.request(ids, key)).await;
            let body = String::from_utf8_lossy(&answer.body).into_owned();
            seen.insert(operation.name(), format!("{} {body}", answer.status));
        }
    }
    seen
}
