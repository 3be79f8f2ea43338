//! What the machine allows: a server that reads a webhook and answers it, and does nothing else.

use std::net::SocketAddr;

use anyhow::Context as _;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::{Router, routing::post};
use tokio::net::TcpListener;

/// What Downbeat answers to an event that it stored.
const ANSWER: &str = r#"{"status":"ok"}"#;

/// All that it does.
pub(super) fn router() -> Router {
    Router::new().route("/{*path}", post(answer))
}

async fn answer(body: Bytes) -> impl IntoResponse {
    // Looked at, so that nobody can leave out reading it.
    std::hint::black_box(&body);
    ([(CONTENT_TYPE, "application/json")], ANSWER)
}

/// Serves until a signal.
pub(super) async fn run(listen: SocketAddr) -> anyhow::Result<()> {
    use axum::serve::ListenerExt as _;
    let listener = TcpListener::bind(listen).await;
    let listener = listener.with_context(|| format!("cannot listen on {listen}"))?;
    crate::cli::print(&format!("Answering on http://{}", listener.local_addr()?))?;
    let listener = listener.tap_io(|stream| {
        // As Downbeat does; without it, it is only slower.
        let _ = stream.set_nodelay(true);
    });
    let stopped = async {
        let _ = crate::server::stop_signal().await;
    };
    axum::serve(listener, router())
        .with_graceful_shutdown(stopped)
        .await?;
    Ok(())
}
