//! Reading what changed: one task for each polled source, each starting again by itself.
//!
//! A pass reads a folder's change feed from its cursor on, makes the events that a webhook would have brought, and keeps
//! them together with the cursor: a crash repeats at most, and what is repeated folds. Knows nothing of rules or runs.

mod folder;
mod ledger;
mod pass;
mod status;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::WatchStream;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, chance};
use crate::config::PollSource;
use crate::event::EventId;
use crate::hooks::Eye;
use crate::journal::Journal;
use crate::normalize::SourceView;
use crate::orchestrator::Orchestrator;
use crate::time::Timestamp;

pub use status::Statuses;

/// The longest pause of a source that cannot be read.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// A source that just brought something is read again this many times sooner than `every`.
const SOONER: u32 = 4;

/// But never sooner than this.
const PAUSE_MIN: Duration = Duration::from_millis(500);

/// A polled source, ready to be read.
#[derive(Clone, Debug)]
pub struct Polled {
    /// As configured.
    pub config: PollSource,
    /// Its orchestrator.
    pub orchestrator: Orchestrator,
    /// For keys.
    pub view: SourceView,
    /// Of the webhook that it reconciles.
    pub eye: Option<Arc<Eye>>,
}

impl Polled {
    /// The webhook sees nothing: polling is all there is.
    fn is_urgent(&self) -> bool {
        self.eye.as_ref().is_some_and(|eye| eye.is_blind())
    }

    /// Events were new when polling brought them: the webhook is to bring them as well.
    fn brought(&self, events: &[EventId], now: Timestamp) {
        if let Some(eye) = &self.eye {
            eye.sighted(events, now, self.config.webhook_within);
        }
    }
}

/// What polling works with.
#[derive(Clone, Debug)]
pub struct Poll {
    /// Where events go, and cursors are.
    pub journal: Journal,
    /// The sources; a reload changes them.
    pub sources: watch::Receiver<Arc<Vec<Arc<Polled>>>>,
    /// The time.
    pub clock: Clock,
    /// What is shown of them.
    pub statuses: Statuses,
}

/// Reads all sources until `stop`.
pub async fn run(poll: Poll, stop: CancellationToken) {
    let mut sets = WatchStream::new(poll.sources.clone());
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(sources) = sets.next() => {
                // What is in the middle of a pass is repeated: its cursor stands where its events end.
                tasks.shutdown().await;
                poll.statuses.keep_only(&sources);
                for source in sources.iter() {
                    let (poll, source) = (poll.clone(), Arc::clone(source));
                    tasks.spawn(async move { follow(poll, source).await });
                }
            }
            Some(ended) = tasks.join_next() => {
                if let Err(error) = ended && error.is_panic() {
                    tracing::error!("reading a source panicked; all sources are begun again");
                    for source in poll.sources.borrow().iter() {
                        let (poll, source) = (poll.clone(), Arc::clone(source));
                        if !poll.statuses.is_followed(&source.config.name) {
                            tasks.spawn(async move { follow(poll, source).await });
                        }
                    }
                }
            }
        }
    }
    tasks.shutdown().await;
}

/// Reads one source, pass by pass.
async fn follow(poll: Poll, source: Arc<Polled>) {
    let _followed = poll.statuses.follow(&source.config.name);
    let mut reader = pass::Reader::new(&poll, &source);
    let mut failures = 0_u32;
    loop {
        let pass = reader.pass().await;
        failures = if pass.failure.is_some() { failures.saturating_add(1) } else { 0 };
        poll.statuses.passed(&source, &pass, poll.clock.now());
        if pass.ended {
            return;
        }
        let retry_after = pass.failure.as_ref().and_then(|failure| failure.retry_after);
        tokio::time::sleep(pause(source.config.every, pass.rows.max(usize::from(source.is_urgent())), failures, retry_after, chance()))
            .await;
    }
}

/// How long until the next pass: sooner where something happens, later where nothing can be read.
fn pause(every: Duration, rows: usize, failures: u32, retry_after: Option<Duration>, chance: f64) -> Duration {
    if failures > 0 {
        let grown = every.saturating_mul(1 << failures.min(10).saturating_sub(1)).min(PAUSE_MAX.max(every));
        // Half of it and a part of the other half, so that sources do not come back together.
        return grown.mul_f64(0.5 + chance / 2.0).max(retry_after.unwrap_or_default());
    }
    if rows > 0 { (every / SOONER).max(PAUSE_MIN).min(every) } else { every }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_follows_what_happens() {
        let every = Duration::from_secs(10);
        assert_eq!(pause(every, 0, 0, None, 0.5), every);
        assert_eq!(pause(every, 3, 0, None, 0.5), Duration::from_millis(2500));
        assert_eq!(pause(Duration::from_secs(1), 3, 0, None, 0.5), Duration::from_millis(500));
        assert_eq!(pause(every, 0, 1, None, 1.0), every);
        assert_eq!(pause(every, 0, 3, None, 1.0), Duration::from_secs(40));
        assert_eq!(pause(every, 0, 30, None, 1.0), PAUSE_MAX);
        assert_eq!(pause(every, 0, 1, Some(Duration::from_secs(77)), 0.0), Duration::from_secs(77));
        assert!(pause(every, 0, 1, None, 0.0) >= every / 2);
    }
}
