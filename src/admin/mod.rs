//! The admin listener: health, metrics, events, runs, reload.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::AdminAddress;
use crate::http::server::Listener;
use crate::journal::Journal;
use crate::secret::Secret;

/// What the admin API asks of the daemon.
pub trait Control: Send + Sync + 'static {
    /// Reads configuration and rules anew; answers the rule generation now in force, or the faults.
    fn reload(&self) -> futures_reload::Reload<'_>;
    /// The Prometheus exposition.
    fn metrics(&self) -> String;
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
    let _ = (admin, listener, stop);
    todo!()
}
