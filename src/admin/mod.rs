//! The admin listener: health, metrics, events, runs, reload.
//!
//! Owns who may ask (host names, origins, token) and how answers look; what they say is the journal's and the daemon's.
//! Everything it reads, it reads off the runtime's threads. Knows nothing of how events are taken in or acted upon.

mod gate;
mod health;
mod operate;
mod people;
mod query;
mod reads;
mod routes;
mod stream;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use hyper::service::Service;
use hyper::{Request, StatusCode};
use hyper_util::service::TowerToHyperService;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use reads::Reads;

use crate::clock::Clock;
use crate::config::AdminAddress;
use crate::fault::Faults;
use crate::http::server::{Answers, Listener, Problem, RequestId, ServerLimits, check_head, serve};
use crate::journal::Journal;
use crate::rules::RuleSet;
use crate::secret::Secret;
use crate::time::Timestamp;

/// Connections at once.
pub const CONNECTIONS: usize = 256;
/// Event streams at once.
pub const STREAMS_MAX: usize = 32;
/// The longest body of a request.
pub const BODY_MAX: usize = 1 << 20;
/// For the head of a request, and for its body.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long open requests may go on when the daemon stops.
pub const DRAIN: Duration = Duration::from_secs(5);

pub use operate::{BackfillAsked, Operate, Operated, PauseAsked, Refused, ReplayPage};
pub use reads::{READ_WAIT, READS_MAX};

/// What the admin API asks of the daemon.
pub trait Control: Send + Sync + 'static {
    /// Reads configuration and rules anew; answers the rule generation now in force, or the faults.
    fn reload(&self) -> futures_reload::Reload<'_>;
    /// The Prometheus exposition.
    fn metrics(&self) -> String;
    /// The rules in force; `None` while the journal is being opened.
    fn standing(&self) -> Option<Standing> {
        None
    }
    /// Pauses and replays; `None` while the journal is being opened.
    fn operate(&self) -> Option<Arc<dyn Operate>> {
        None
    }
    /// What is known of the sources, as a list.
    fn sources(&self) -> serde_json::Value;
}

/// Which rules are in force, and whether newer ones were refused.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The rules.
    pub rules: Arc<RuleSet>,
    /// Their generation.
    pub generation: u64,
    /// When the last reload was refused, and why; `None` when it was not.
    pub refused: Option<(Timestamp, Arc<Faults>)>,
}

/// The type of a reload's future.
pub mod futures_reload {
    use crate::fault::Faults;

    /// A boxed future, so that [`super::Control`] can be a trait object.
    pub type Reload<'a> = std::pin::Pin<Box<dyn Future<Output = Result<u64, Faults>> + Send + 'a>>;
}

/// What the admin API works with.
#[derive(Clone)]
pub struct Admin {
    /// `None` while the journal is being opened.
    pub journal: watch::Receiver<Option<Journal>>,
    /// The daemon.
    pub control: Arc<dyn Control>,
    /// Where it is bound: decides which `Host` names are allowed and whether a token is needed.
    pub address: AdminAddress,
    /// Bearer token, if one is configured.
    pub token: Option<Secret>,
    /// Rules loaded?
    pub ready: watch::Receiver<bool>,
    /// The time.
    pub clock: Clock,
}

/// Serves the admin API until `stop`.
pub async fn run(admin: Admin, listener: Listener, stop: CancellationToken) {
    let limits = ServerLimits { connections: CONNECTIONS, header_timeout: REQUEST_TIMEOUT, drain: DRAIN, answers: Answers::Long };
    // The bound address tells the port where the configuration says 0, and the truth where systemd passed the socket.
    let bound = listener.local_addr();
    let gate = Arc::new(gate::Gate::new(bound.or(configured(&admin.address)), admin.token.clone()));
    let [streams, places] = [STREAMS_MAX, READS_MAX].map(|places| Arc::new(Semaphore::new(places)));
    let api = Api { admin, streams, places, stop: stop.clone() };
    let router = TowerToHyperService::new(routes::router(Arc::new(api)));
    let service = move |_, request, _| {
        let (gate, router) = (Arc::clone(&gate), router.clone());
        async move {
            let mut answer = match admitted(&gate, request).await {
                Ok(request) => router.call(request).await.unwrap_or_else(|never| match never {}),
                Err(problem) => problem.into_response(),
            };
            answer.headers_mut().extend(SECURITY_HEADERS);
            answer
        }
    };
    serve(listener, watch::channel(limits).1, service, stop).await;
}

/// What the routes share.
struct Api {
    admin: Admin,
    streams: Arc<Semaphore>,
    places: Arc<Semaphore>,
    stop: CancellationToken,
}

impl Api {
    /// The journal, or the answer that it is not open yet.
    fn reads(&self) -> Result<Reads, Problem> {
        let journal = self.admin.journal.borrow().clone();
        let journal =
            journal.ok_or_else(|| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the store is still being opened").retry_after(1))?;
        Ok(Reads { journal, places: Arc::clone(&self.places) })
    }
}

/// Event data is the text of strangers, and a browser may be looking.
const SECURITY_HEADERS: [(HeaderName, HeaderValue); 4] = [
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'")),
];

fn configured(address: &AdminAddress) -> Option<SocketAddr> {
    match address {
        AdminAddress::Tcp(address) => Some(*address),
        AdminAddress::Unix(_) => None,
    }
}

/// The request with its body read, once everything about its head is in order.
async fn admitted(gate: &gate::Gate, request: Request<Incoming>) -> Result<Request<Body>, Problem> {
    let (head, body) = request.into_parts();
    check_head(&head)?;
    gate.check(&head)?;
    let body = if body.is_end_stream() { Bytes::new() } else { whole(body).await? };
    Ok(Request::from_parts(head, Body::from(body)))
}

async fn whole(body: Incoming) -> Result<Bytes, Problem> {
    let too_large = || Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is longer than 1 MiB").close();
    if body.size_hint().lower() > BODY_MAX as u64 {
        return Err(too_large());
    }
    match tokio::time::timeout(REQUEST_TIMEOUT, Limited::new(body, BODY_MAX).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Problem::new(StatusCode::BAD_REQUEST, "the body broke off or its chunks are malformed").close()),
        Err(_) => Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time").close()),
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        self.answer(RequestId::fresh()).map(Body::new)
    }
}

#[cfg(test)]
mod tests;
