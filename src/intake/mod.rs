//! Webhook ingress: checks a delivery, has it kept, answers. Every answer is decided here; nothing is answered 2xx
//! before the journal has it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::{Limits, WebhookSource};
use crate::http::server::Listener;
use crate::journal::Journal;
use crate::normalize::SourceView;
use crate::signature::NamedSecret;

/// A source, ready to check deliveries.
#[derive(Clone, Debug)]
pub struct ReadySource {
    /// As configured.
    pub config: WebhookSource,
    /// Its secrets.
    pub secrets: Vec<NamedSecret>,
    /// What `normalize` needs.
    pub view: SourceView,
}

/// The sources by path; swapped whole by a reload.
pub type Routes = ArcSwap<BTreeMap<String, Arc<ReadySource>>>;

/// What intake works with. The journal arrives when it is open; requests are read, verified and held until then.
#[derive(Clone)]
pub struct Intake {
    /// The sources.
    pub routes: Arc<Routes>,
    /// Limits.
    pub limits: Limits,
    /// `None` while the journal is being opened.
    pub journal: watch::Receiver<Option<Journal>>,
    /// The time.
    pub clock: Clock,
}

/// Serves the ingress until `stop`, then drains.
pub async fn run(intake: Intake, listener: Listener, stop: CancellationToken) {
    let _ = (intake, listener, stop);
    todo!()
}
