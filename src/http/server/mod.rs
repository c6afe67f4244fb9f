//! The accept loop under ingress and admin: permits, time limits, graceful drain.
//!
//! Owns every connection and its task; a connection ends with its listener. Promises that a peer can hold neither a
//! connection without a deadline nor more memory than the limits say, and that a panic ends one connection only.
//! Knows nothing of what the requests mean.

mod connection;
mod head;
mod listener;
mod problem;
mod throttle;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::{Request, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

pub use connection::Patience;
pub use head::{URI_MAX, check_head};
pub use listener::{BACKLOG, Listener, Peer};
pub use problem::{Answer, Problem, RequestId, json};
pub use throttle::Throttle;

use crate::metric;

/// The most header lines of a request.
pub const HEADERS_MAX: usize = 64;
/// The longest head of a request; also the read buffer of a connection.
pub const HEAD_MAX: usize = 16 << 10;
/// How long a connection may stay open between two requests. Longer than the minute that .NET's client keeps its
/// own idle connections, so that a sender closes first and never writes into a connection that we just closed.
pub const KEEP_ALIVE_IDLE: Duration = Duration::from_secs(75);
/// How long a peer may take nothing of an answer before it is cut.
pub const WRITE_STALL: Duration = Duration::from_secs(30);
/// How long we read on after an answer that refuses a body, so that the answer arrives before the connection resets.
pub const LINGER: Duration = Duration::from_secs(2);
/// How long connections without a request may still send one once draining began.
pub const DRAIN_SILENT: Duration = Duration::from_millis(300);
/// The pause when the system has no more file descriptors or buffers.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// One line about clients that speak TLS to a plain listener per this long.
const TLS_LOG_EVERY: Duration = Duration::from_secs(60);

/// Limits of a listener.
#[derive(Clone, Debug)]
pub struct ServerLimits {
    /// Connections at once; more wait in the backlog.
    pub connections: usize,
    /// For the head of a request, a silent new connection included.
    pub header_timeout: Duration,
    /// How long open requests may go on once draining began.
    pub drain: Duration,
    /// How its answers are.
    pub answers: Answers,
}

/// How the answers of a listener are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// A few hundred bytes: one buffer, which the connection keeps, and one plain write cost less than a list of two.
    Short,
    /// Up to many megabytes: written from where they stand, so that no connection keeps as much as it ever sent.
    Long,
}

/// Serves until `stop` is cancelled, then drains. `service` is called once per request with the peer and its patience. It is not
/// dropped when the client leaves: what it began, it ends, unless draining takes longer than its limit. Limits that
/// change hold for connections from then on; those that are open stay.
pub async fn serve<S, F, B>(listener: Listener, mut limits: watch::Receiver<ServerLimits>, service: S, stop: CancellationToken)
where
    S: Fn(Peer, Request<Incoming>, Patience) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut permits = Permits::new(limits.borrow_and_update().connections);
    let mut connections = JoinSet::new();
    let tls = Arc::new(Throttle::new(TLS_LOG_EVERY));
    let mut trouble = false;
    loop {
        // The permit comes before the connection: who gets none waits in the backlog and is not refused.
        let Some(permit) = unless(&stop, &mut connections, permits.next(&mut limits)).await else { break };
        let Some(permit) = permit else { continue };
        let Some(accepted) = unless(&stop, &mut connections, listener.accept()).await else { break };
        match accepted {
            Ok((stream, peer)) => {
                trouble = false;
                let service = service.clone();
                let (header_timeout, answers) = (limits.borrow().header_timeout, limits.borrow().answers);
                let connection = connection::run(stream, peer, header_timeout, answers, Arc::clone(&tls), service, stop.child_token());
                connections.spawn(held(permit, connection));
            }
            Err(error) if listener::is_of_the_peer(&error) => {}
            Err(error) => {
                if !std::mem::replace(&mut trouble, true) {
                    tracing::error!(%error, "cannot accept connections for now; trying again every {ACCEPT_PAUSE:?}");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let all = async {
        while let Some(ended) = connections.join_next().await {
            reap(ended);
        }
    };
    let drain = limits.borrow().drain;
    if tokio::time::timeout(drain, all).await.is_err() {
        tracing::warn!(open = connections.len(), "requests were cut at the end of the drain time");
        connections.shutdown().await;
    }
}

/// As many permits as there may be connections.
struct Permits {
    semaphore: Arc<Semaphore>,
    size: usize,
    /// Permits to be taken away when their connections end.
    owed: usize,
}

impl Permits {
    fn new(size: usize) -> Self {
        let size = size.clamp(1, Semaphore::MAX_PERMITS);
        Self { semaphore: Arc::new(Semaphore::new(size)), size, owed: 0 }
    }

    /// The next permit; nothing when the limits changed meanwhile.
    async fn next(&mut self, limits: &mut watch::Receiver<ServerLimits>) -> Option<OwnedSemaphorePermit> {
        tokio::select! {
            permit = Arc::clone(&self.semaphore).acquire_owned() => {
                if self.owed > 0 {
                    permit.ok()?.forget();
                    self.owed -= 1;
                    return None;
                }
                permit.ok()
            }
            Ok(()) = limits.changed() => {
                self.resize(limits.borrow_and_update().connections.clamp(1, Semaphore::MAX_PERMITS));
                None
            }
        }
    }

    fn resize(&mut self, size: usize) {
        if size >= self.size {
            let more = size - self.size;
            let forgiven = more.min(self.owed);
            self.owed -= forgiven;
            self.semaphore.add_permits(more - forgiven);
        } else {
            self.owed += self.size - size;
        }
        self.size = size;
    }
}

/// The permit lives as long as its connection.
async fn held(permit: OwnedSemaphorePermit, connection: impl Future<Output = ()>) {
    connection.await;
    drop(permit);
}

/// What `future` gives, unless `stop` comes first; meanwhile connections that ended are looked at.
async fn unless<T>(stop: &CancellationToken, connections: &mut JoinSet<()>, future: impl Future<Output = T>) -> Option<T> {
    tokio::pin!(future);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return None,
            Some(ended) = connections.join_next() => reap(ended),
            value = &mut future => return Some(value),
        }
    }
}

fn reap(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        metrics::counter!(metric::PANICS).increment(1);
        tracing::error!("a request ended in a panic; its connection is closed, all others go on");
    }
}

#[cfg(test)]
mod tests;
