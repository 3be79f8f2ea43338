//! Against a server that fails on demand, behind a wire that can be cut; and against the simulated ChirpStack.

mod inspect;
mod real;
mod registry;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response};
use downbeat_actors::port::{NetworkServer, NetworkServerError, NewQueueItem};
use downbeat_core::gateway::ListedState;
use downbeat_core::id::DevEui;
use downbeat_core::network::QueueItem;
use downbeat_core::time::Timestamp;
use downbeat_sim::server::{KeyKind, RunningSim, SimConfig};
use secrecy::SecretString;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Code;
use tonic::service::Routes;

use super::{ChirpStackClient, ChirpStackConfig, ConfigError};

const ENQUEUE: &str = "/api.DeviceService/Enqueue";
const LIST_ADR_ALGORITHMS: &str = "/api.DeviceProfileService/ListAdrAlgorithms";
const LIST_TENANTS: &str = "/api.TenantService/List";
const LIST_APPLICATIONS: &str = "/api.ApplicationService/List";

/// ChirpStack's words for a row that refers to a device that does not exist.
const POSTGRES_FOREIGN_KEY: &str = "insert or update on table \"device_queue_item\" violates foreign key constraint \
                                    \"device_queue_item_dev_eui_fkey\"";

#[tokio::test]
async fn what_the_server_answers_is_told_apart() {
    let table = [
        (Code::Internal, "connection pool timed out", "refused"),
        (Code::Internal, "Invalid string length", "refused"),
        (Code::Internal, POSTGRES_FOREIGN_KEY, "unknown device"),
        (
            Code::Internal,
            "FOREIGN KEY constraint failed",
            "unknown device",
        ),
        (
            Code::NotFound,
            "Object does not exist (id: 2020)",
            "unknown device",
        ),
        (
            Code::InvalidArgument,
            "Validation error: FPort must be between 1 - 255",
            "invalid",
        ),
        (Code::Unimplemented, "", "invalid"),
        (
            Code::Unauthenticated,
            "no authorization provided",
            "unauthenticated",
        ),
        (Code::Unauthenticated, "InvalidToken", "unauthenticated"),
        (Code::PermissionDenied, "", "unauthenticated"),
        (
            Code::FailedPrecondition,
            "FUOTA deployment has already started",
            "refused",
        ),
        (Code::ResourceExhausted, "", "refused"),
        // Whoever answers so may have passed the request on before.
        (Code::DeadlineExceeded, "", "answer lost"),
        (Code::Cancelled, "", "answer lost"),
        (Code::Unavailable, "upstream connect error", "answer lost"),
        (Code::Unknown, "", "answer lost"),
        (Code::DataLoss, "", "answer lost"),
    ];
    for (code, text, expected) in table {
        let server = Server::start(move |_| Reply::Refuse(code, text)).await;
        let error = server.client().enqueue(light(), &item()).await.unwrap_err();
        assert_eq!(kind(&error), expected, "{code:?} {text:?}: {error:?}");
    }
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_leaves_it_open_what_was_done() {
    // An item without an id.
    let server = Server::start(|_| Reply::Empty).await;
    let error = server.client().enqueue(light(), &item()).await.unwrap_err();
    assert_eq!(kind(&error), "answer lost", "{error:?}");
    // No message at all, and a proxy's page.
    for reply in [Reply::Nothing, Reply::BadGateway] {
        let server = Server::start(move |_| reply).await;
        let error = server.client().enqueue(light(), &item()).await.unwrap_err();
        assert_eq!(kind(&error), "answer lost", "{error:?}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_was_never_asked() {
    let address = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let client = client(address);
    for _ in 0..8 {
        let error = client.enqueue(light(), &item()).await.unwrap_err();
        assert_eq!(kind(&error), "unavailable", "{error:?}");
    }
    let error = client.gateways().await.unwrap_err();
    assert_eq!(kind(&error), "unavailable", "{error:?}");
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_was_never_asked() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let server = Server::start(|_| Reply::Empty).await;
    let config = config(format!("https://localhost:{}", server.address.port()));
    let client = ChirpStackClient::connect_lazy(config).unwrap();
    let error = client.enqueue(light(), &item()).await.unwrap_err();
    assert_eq!(kind(&error), "unavailable", "{error:?}");
    assert_eq!(server.calls(), [""; 0]);
}

#[tokio::test]
async fn a_server_that_hangs_may_have_done_it() {
    let server = Server::start(|_| Reply::Hang).await;
    let client = ChirpStackClient::connect_lazy(ChirpStackConfig {
        deadline: Duration::from_millis(200),
        ..config(server.url())
    });
    let error = client.unwrap().enqueue(light(), &item()).await.unwrap_err();
    assert_eq!(kind(&error), "answer lost", "{error:?}");
    assert_eq!(server.calls(), [ENQUEUE]);
}

#[tokio::test]
async fn a_wire_that_breaks_after_the_request_may_have_carried_it() {
    let server = Server::start(|_| Reply::Hang).await;
    let wire = Wire::to(server.address).await;
    let client = client(wire.address);
    let call = tokio::spawn({
        let client = client.clone();
        async move { client.enqueue(light(), &item()).await }
    });
    server.arrived.notified().await;
    wire.cut();
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(kind(&error), "answer lost", "{error:?}");

    // The next call makes a new connection.
    let again = tokio::spawn(async move { client.enqueue(light(), &item()).await });
    server.arrived.notified().await;
    again.abort();
}

#[tokio::test]
async fn a_server_that_went_away_was_not_asked_again() {
    let server = Server::start(|_| Reply::Refuse(Code::Internal, "here")).await;
    let wire = Wire::to(server.address).await;
    let client = client(wire.address);
    assert_eq!(
        kind(&client.enqueue(light(), &item()).await.unwrap_err()),
        "refused"
    );
    wire.close();
    let patience = tokio::time::timeout(Duration::from_secs(10), async {
        // Until the client has noticed, a call may still go out on the broken connection.
        loop {
            let error = client.enqueue(light(), &item()).await.unwrap_err();
            match kind(&error) {
                "unavailable" => break,
                other => assert_eq!(other, "answer lost", "{error:?}"),
            }
        }
    });
    patience.await.unwrap();
}

#[tokio::test]
async fn an_unknown_device_is_told_from_a_bad_key_by_a_call_without_a_device() {
    let good = Server::start(|path| match path {
        LIST_TENANTS => Reply::Empty,
        _ => Reply::Refuse(Code::Unauthenticated, ""),
    });
    let good = good.await;
    let client = good.client();
    for _ in 0..3 {
        let error = client.enqueue(light(), &item()).await.unwrap_err();
        assert_eq!(kind(&error), "unknown device", "{error:?}");
    }
    // The key is asked about once.
    assert_eq!(good.calls(), [ENQUEUE, LIST_TENANTS, ENQUEUE, ENQUEUE]);

    let deleted = Server::start(|_| Reply::Refuse(Code::Unauthenticated, "")).await;
    let client = deleted.client();
    for _ in 0..2 {
        let error = client.enqueue(light(), &item()).await.unwrap_err();
        assert_eq!(kind(&error), "unauthenticated", "{error:?}");
    }
    let asked = [ENQUEUE, LIST_TENANTS, LIST_ADR_ALGORITHMS];
    assert_eq!(deleted.calls(), [asked, asked].concat());

    // A tenant's key whose tenant nobody has named.
    let tenants = Server::start(|path| match path {
        LIST_ADR_ALGORITHMS => Reply::Empty,
        _ => Reply::Refuse(Code::Unauthenticated, ""),
    });
    let tenants = tenants.await;
    let client = tenants.client();
    assert_eq!(client.device(light()).await.unwrap(), None);
    let error = client.enqueue(light(), &item()).await.unwrap_err();
    assert_eq!(kind(&error), "unknown device", "{error:?}");
}

#[tokio::test]
async fn a_question_about_the_key_that_gets_no_answer_does_not_put_the_command_in_doubt() {
    let server = Server::start(|path| match path {
        ENQUEUE => Reply::Refuse(Code::Unauthenticated, ""),
        _ => Reply::Refuse(Code::Unavailable, ""),
    });
    let error = server
        .await
        .client()
        .enqueue(light(), &item())
        .await
        .unwrap_err();
    assert_eq!(kind(&error), "unavailable", "{error:?}");
}

#[tokio::test]
async fn the_configured_tenant_is_named_where_it_counts() {
    let server = Server::start(|_| Reply::Empty).await;
    let client = ChirpStackClient::connect_lazy(ChirpStackConfig {
        tenant_id: Some(uuid::Uuid::nil()),
        ..config(server.url())
    });
    client.unwrap().ping().await.unwrap();
    assert_eq!(server.calls(), [LIST_APPLICATIONS]);
}

#[tokio::test]
async fn urls_and_keys_that_cannot_work_are_refused_and_the_key_is_never_shown() {
    for url in [
        "",
        "localhost:8080",
        "chirpstack",
        "ftp://localhost",
        "http://",
    ] {
        let refused = ChirpStackClient::connect_lazy(config(url.to_owned()));
        assert!(
            matches!(refused, Err(ConfigError::Url)),
            "{url:?}: {refused:?}"
        );
    }
    let spoilt = ChirpStackConfig {
        api_key: SecretString::from("line\nbreak"),
        ..config("http://localhost:1".to_owned())
    };
    let refused = ChirpStackClient::connect_lazy(spoilt).unwrap_err();
    assert!(matches!(refused, ConfigError::ApiKey) && !format!("{refused:?}").contains("line"));
    let client = ChirpStackClient::connect_lazy(config("http://localhost:1".to_owned())).unwrap();
    assert!(!format!("{client:?} {:?}", config(String::new())).contains("downbeat-sim"));
}

#[tokio::test]
async fn an_item_comes_back_from_the_queue_as_it_was_sent() {
    let (sim, client) = simulated(KeyKind::Tenant, None).await;
    let light = first_light(&client).await;
    // With every gateway dark it stays where it is.
    sim.network(|network, now| {
        for gateway in network.gateways() {
            network.set_gateway_online(now, gateway.gateway_id, false);
        }
    });
    let sent = item();
    let id = client.enqueue(light, &sent).await.unwrap();
    let queued = QueueItem {
        id,
        f_port: sent.f_port,
        payload: sent.payload,
        confirmed: sent.confirmed,
        is_pending: false,
        expires_at: Some(sent.expires_at),
    };
    assert_eq!(client.queue(light).await.unwrap(), [queued]);
    client.flush_queue(light).await.unwrap();
    assert_eq!(client.queue(light).await.unwrap(), []);
    sim.shutdown().await;
}

#[tokio::test]
async fn devices_are_listed_page_by_page() {
    let (sim, client) = simulated(KeyKind::Admin, None).await;
    let application_id = SimConfig::default().identity.application_id;
    let mut devices = Vec::new();
    for (offset, rows) in [(0, 200), (200, 200), (400, 101), (600, 0)] {
        let page = client.devices(application_id, offset, 200).await.unwrap();
        assert_eq!(page.len(), rows);
        devices.extend(page);
    }
    assert_eq!(devices.len(), 501);
    assert!(
        devices
            .windows(2)
            .all(|pair| pair[0].dev_eui < pair[1].dev_eui)
    );
    assert_eq!(
        devices[0].device_profile_id,
        SimConfig::default().identity.device_profile_id
    );
    sim.shutdown().await;
}

#[tokio::test]
async fn gateways_are_listed_for_every_kind_of_key() {
    let tenant = SimConfig::default().identity.tenant_id;
    for (kind_of_key, tenant_id) in [
        (KeyKind::Admin, None),
        (KeyKind::Admin, Some(tenant)),
        (KeyKind::Tenant, Some(tenant)),
    ] {
        let (sim, client) = simulated(kind_of_key, tenant_id).await;
        client.ping().await.unwrap();
        let gateways = client.gateways().await.unwrap();
        assert_eq!(gateways.len(), 2, "{kind_of_key:?} {tenant_id:?}");
        assert_eq!(gateways[0].tenant_id, Some(tenant));
        assert_ne!(gateways[0].state, ListedState::Offline);
        sim.shutdown().await;
    }
}

#[tokio::test]
async fn a_tenants_key_learns_its_tenant_from_the_first_device_it_reaches() {
    let (sim, client) = simulated(KeyKind::Tenant, None).await;
    assert_eq!(
        kind(&client.gateways().await.unwrap_err()),
        "unauthenticated"
    );
    let light = first_light(&client).await;
    client.queue(light).await.unwrap();
    assert_eq!(client.gateways().await.unwrap().len(), 2);
    client.ping().await.unwrap();
    sim.shutdown().await;
}

#[tokio::test]
async fn the_simulated_server_is_understood_for_every_kind_of_key() {
    let nobody = DevEui::from_u64(1);
    let tenant = Some(SimConfig::default().identity.tenant_id);
    for (kind_of_key, tenant_id, expected) in [
        (KeyKind::Admin, None, "unknown device"),
        (KeyKind::Tenant, tenant, "unknown device"),
        (KeyKind::OtherTenant, tenant, "unauthenticated"),
    ] {
        let (sim, client) = simulated(kind_of_key, tenant_id).await;
        let error = client.enqueue(nobody, &item()).await.unwrap_err();
        assert_eq!(kind(&error), expected, "{kind_of_key:?}: {error:?}");
        sim.shutdown().await;
    }
    let (sim, client) = simulated(KeyKind::Tenant, tenant).await;
    let port = NewQueueItem {
        f_port: 0,
        ..item()
    };
    let light = first_light(&client).await;
    assert_eq!(
        kind(&client.enqueue(light, &port).await.unwrap_err()),
        "invalid"
    );
    let garbage = ChirpStackConfig {
        api_key: SecretString::from("garbage"),
        ..config(format!("http://{}", sim.grpc_addr()))
    };
    let garbage = ChirpStackClient::connect_lazy(garbage).unwrap();
    assert_eq!(kind(&garbage.ping().await.unwrap_err()), "unauthenticated");
    assert_eq!(
        kind(&garbage.enqueue(light, &item()).await.unwrap_err()),
        "unauthenticated"
    );
    sim.shutdown().await;
}

fn kind(error: &NetworkServerError) -> &'static str {
    match error {
        NetworkServerError::Unavailable(_) => "unavailable",
        NetworkServerError::AnswerLost(_) => "answer lost",
        NetworkServerError::Refused(_) => "refused",
        NetworkServerError::UnknownDevice(_) => "unknown device",
        NetworkServerError::Unauthenticated => "unauthenticated",
        NetworkServerError::Invalid(_) => "invalid",
    }
}

fn light() -> DevEui {
    DevEui::from_u64(0x2020_20ff_5033_0000)
}

fn soon() -> Timestamp {
    Timestamp::from(chrono::Utc::now()) + Duration::from_mins(1)
}

fn item() -> NewQueueItem {
    NewQueueItem {
        f_port: 15,
        payload: vec![255, 0, 0, 255, 0],
        confirmed: false,
        expires_at: soon(),
    }
}

fn config(url: String) -> ChirpStackConfig {
    ChirpStackConfig::new(url, SecretString::from("downbeat-sim"))
}

fn client(address: SocketAddr) -> ChirpStackClient {
    ChirpStackClient::connect_lazy(config(format!("http://{address}"))).unwrap()
}

/// The simulated ChirpStack with 501 lights and 2 gateways, and a client of it.
async fn simulated(key: KeyKind, tenant_id: Option<uuid::Uuid>) -> (RunningSim, ChirpStackClient) {
    let sim = SimConfig {
        keys: vec![("downbeat-sim".to_owned(), key)],
        ..SimConfig::fleet(501, 2)
    };
    let sim = downbeat_sim::server::start(sim).await.unwrap();
    let config = ChirpStackConfig {
        tenant_id,
        ..config(format!("http://{}", sim.grpc_addr()))
    };
    (sim, ChirpStackClient::connect_lazy(config).unwrap())
}

async fn first_light(client: &ChirpStackClient) -> DevEui {
    let application_id = SimConfig::default().identity.application_id;
    let devices = client.devices(application_id, 0, 1).await.unwrap();
    devices[0].dev_eui
}

/// What the scripted server does with a call.
#[derive(Debug, Clone, Copy)]
enum Reply {
    Refuse(Code, &'static str),
    /// A message whose fields have their default values.
    Empty,
    /// A good status without a message.
    Nothing,
    /// As a proxy answers that lost the server behind it.
    BadGateway,
    Hang,
}

/// A gRPC server that does as it is told, call by call.
struct Server {
    address: SocketAddr,
    arrived: Arc<Notify>,
    calls: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Server {
    async fn start(script: impl Fn(&str) -> Reply + Clone + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let arrived = Arc::new(Notify::new());
        let calls = Arc::new(Mutex::new(Vec::new()));
        let router = axum::Router::new().fallback({
            let (arrived, calls) = (Arc::clone(&arrived), Arc::clone(&calls));
            move |request: Request<Body>| {
                calls.lock().unwrap().push(request.uri().path().to_owned());
                arrived.notify_one();
                answer(script(request.uri().path()))
            }
        });
        let server = tonic::transport::Server::builder().add_routes(Routes::from(router));
        let task = tokio::spawn(async move {
            server
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
                .unwrap();
        });
        Self {
            address,
            arrived,
            calls,
            task,
        }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn client(&self) -> ChirpStackClient {
        client(self.address)
    }

    fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(reply: Reply) -> Response<Body> {
    let response = Response::builder().header("content-type", "application/grpc");
    let response = match reply {
        Reply::Refuse(code, text) => response
            .header("grpc-status", i32::from(code))
            .header("grpc-message", text)
            .body(Body::empty()),
        // A frame of length 0: a flag and four bytes of length.
        Reply::Empty => response
            .header("grpc-status", 0)
            .body(Body::from(&[0_u8; 5][..])),
        Reply::Nothing => response.header("grpc-status", 0).body(Body::empty()),
        Reply::BadGateway => Response::builder().status(502).body(Body::from("<html>")),
        Reply::Hang => std::future::pending().await,
    };
    response.unwrap()
}

/// A wire to a server, which can be cut.
struct Wire {
    address: SocketAddr,
    connections: Arc<Mutex<JoinSet<()>>>,
    listener: JoinHandle<()>,
}

impl Wire {
    async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(Mutex::new(JoinSet::new()));
        let listener = tokio::spawn({
            let connections = Arc::clone(&connections);
            async move {
                while let Ok((mut near, _)) = listener.accept().await {
                    connections.lock().unwrap().spawn(async move {
                        let mut far = TcpStream::connect(server).await.unwrap();
                        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                    });
                }
            }
        });
        Self {
            address,
            connections,
            listener,
        }
    }

    /// Breaks every connection; new ones can be made.
    fn cut(&self) {
        self.connections.lock().unwrap().abort_all();
    }

    /// Breaks every connection, and there is nobody to connect to any more.
    fn close(&self) {
        self.listener.abort();
        self.cut();
    }
}
