//! A running simulation with a receiver of its webhooks.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use axum::extract::Query;
use axum::http::HeaderMap;
use chirpstack_api::api::device_service_client::DeviceServiceClient;
use chirpstack_api::api::{
    DeviceQueueItem, EnqueueDeviceQueueItemRequest, EnqueueDeviceQueueItemResponse,
};
use downbeat_sim::server::{
    DEFAULT_API_KEY, Encoding, HttpIntegration, KeyKind, RunningSim, SimConfig, start,
};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

pub(crate) const RED: [u8; 5] = [255, 0, 0, 255, 0];
pub(crate) const FIRST_LAMP: &str = "70b3d5e75e000000";
pub(crate) const FIRST_GATEWAY: &str = "0016c001f0000000";

/// Nothing here takes longer; a failure should not take for ever.
const PATIENCE: Duration = Duration::from_secs(30);

/// A post as it arrived.
#[derive(Debug)]
pub(crate) struct Post {
    pub(crate) event: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Post {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

pub(crate) struct World {
    pub(crate) sim: RunningSim,
    pub(crate) posts: mpsc::UnboundedReceiver<Post>,
    pub(crate) webhook_url: String,
    channel: Channel,
}

/// A fleet that lives twenty times faster than we do.
pub(crate) fn fast(lamps: u32) -> SimConfig {
    let mut config = SimConfig::fleet(lamps, 3);
    config.speed = 20.0;
    config.keys.push(("admin".to_owned(), KeyKind::Admin));
    config.keys.push(("other".to_owned(), KeyKind::OtherTenant));
    config
}

impl World {
    pub(crate) async fn start(config: SimConfig) -> Self {
        Self::start_with(config, Encoding::Json).await
    }

    /// With posts of that encoding from the first event on.
    pub(crate) async fn start_with(mut config: SimConfig, encoding: Encoding) -> Self {
        let (webhook_url, posts) = receive_posts().await;
        let headers = BTreeMap::from([("X-Secret".to_owned(), "hush".to_owned())]);
        config.integration = Some(HttpIntegration {
            url: webhook_url.clone(),
            headers,
            encoding,
        });
        let sim = start(config).await.expect("it starts");
        let address = format!("http://{}", sim.grpc_addr());
        let channel = Channel::from_shared(address)
            .expect("an address")
            .connect()
            .await
            .expect("it listens");
        Self {
            sim,
            posts,
            webhook_url,
            channel,
        }
    }

    /// The next post of this kind that fits.
    pub(crate) async fn post(&mut self, event: &str, fits: impl Fn(&Post) -> bool) -> Post {
        let wait = async {
            loop {
                let post = self.posts.recv().await.expect("the receiver lives");
                if post.event == event && fits(&post) {
                    return post;
                }
            }
        };
        tokio::time::timeout(PATIENCE, wait)
            .await
            .expect("the post comes")
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub(crate) fn devices(&self) -> DeviceServiceClient<Channel> {
        DeviceServiceClient::new(self.channel())
    }

    pub(crate) async fn enqueue(
        &self,
        dev_eui: &str,
        data: &[u8],
    ) -> Result<Response<EnqueueDeviceQueueItemResponse>, Status> {
        self.devices()
            .enqueue(with_key(DEFAULT_API_KEY, enqueue_request(dev_eui, data)))
            .await
    }

    pub(crate) fn control(&self, path: &str) -> String {
        format!("http://{}{path}", self.sim.control_addr())
    }
}

pub(crate) fn enqueue_request(dev_eui: &str, data: &[u8]) -> EnqueueDeviceQueueItemRequest {
    let item = DeviceQueueItem {
        dev_eui: dev_eui.to_owned(),
        f_port: 15,
        data: data.to_vec(),
        ..DeviceQueueItem::default()
    };
    EnqueueDeviceQueueItemRequest {
        queue_item: Some(item),
        flush_queue: false,
    }
}

pub(crate) fn with_key<T>(key: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {key}").parse().expect("a header value");
    request.metadata_mut().insert("authorization", value);
    request
}

async fn receive_posts() -> (String, mpsc::UnboundedReceiver<Post>) {
    let (sender, posts) = mpsc::unbounded_channel();
    let receive = async move |Query(query): Query<BTreeMap<String, String>>,
                              headers: HeaderMap,
                              body: axum::body::Bytes| {
        let event = query.get("event").cloned().unwrap_or_default();
        // The test may be over; then nobody wants it.
        let _ = sender.send(Post {
            event,
            headers,
            body: body.to_vec(),
        });
    };
    let router = axum::Router::new().route("/hook", axum::routing::post(receive));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a free port");
    let url = format!(
        "http://{}/hook?keep=this",
        listener.local_addr().expect("an address")
    );
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, posts)
}
