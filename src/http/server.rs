//! The accept loop under ingress and admin: permits, header timeouts, graceful drain.

use std::net::SocketAddr;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// Who is at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Over TCP.
    Tcp(SocketAddr),
    /// Over a unix socket.
    Unix,
}

/// A bound socket.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(tokio::net::TcpListener),
    /// Unix.
    Unix(tokio::net::UnixListener),
}

/// Limits of a listener.
#[derive(Clone, Debug)]
pub struct ServerLimits {
    /// Connections at once; more wait in the backlog.
    pub connections: usize,
    /// For the head of a request, a silent new connection included.
    pub header_timeout: Duration,
    /// How long open requests may go on once draining began.
    pub drain: Duration,
}

/// Serves until `stop` is cancelled, then drains. `service` is called once per request with the peer.
pub async fn serve<S, F>(listener: Listener, limits: ServerLimits, service: S, stop: CancellationToken)
where
    S: Fn(Peer, hyper::Request<hyper::body::Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = hyper::Response<http_body_util::combinators::BoxBody<bytes::Bytes, std::convert::Infallible>>> + Send + 'static,
{
    let _ = (listener, limits, service, stop);
    todo!()
}
