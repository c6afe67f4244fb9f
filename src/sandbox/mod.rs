//! A simulated Orchestrator for development and tests. It shares no decision with what it tests.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;

/// How a sandbox behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long a webhook's breaker stays open after a failed delivery; one hour at Orchestrator.
    pub breaker: Duration,
    /// How long a delivery may take; 60 s at Orchestrator.
    pub delivery_timeout: Duration,
    /// The time.
    pub clock: Clock,
}

/// Serves the sandbox on `listener` until `stop`.
pub async fn run(options: Options, listener: tokio::net::TcpListener, stop: CancellationToken) {
    let _ = (options, listener, stop);
    todo!()
}
