//! The counters of intake, with their handles kept: no label is built for an event.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use metrics::{Counter, Histogram};

use crate::event::{SourceName, Via};
use crate::http::server::Throttle;
use crate::journal::Accepted;
use crate::metric;
use crate::printable::label;

use super::refusal::REASONS;

/// The `source` of requests that belong to none; no source can have this name.
pub(super) const NO_SOURCE: &str = "(none)";

/// What types beyond [`metric::TYPES_MAX`] are counted as.
const OTHER_TYPE: &str = "other";

/// One log line per source, reason and this long.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Of all sources.
pub(super) struct Meters {
    sources: RwLock<HashMap<SourceName, Arc<Meter>>>,
    pub(super) ack: Histogram,
}

impl Default for Meters {
    fn default() -> Self {
        Self { sources: RwLock::default(), ack: metrics::histogram!(metric::INGEST_ACK) }
    }
}

impl Meters {
    /// Of one source; made when it is first asked for. Sources come from the configuration: there are few.
    pub(super) fn of(&self, source: &str) -> Arc<Meter> {
        if let Some(meter) = self.sources.read().unwrap_or_else(PoisonError::into_inner).get(source) {
            return Arc::clone(meter);
        }
        let mut sources = self.sources.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(sources.entry(source.into()).or_insert_with(|| Arc::new(Meter::new(source.into()))))
    }
}

/// Of one source.
pub(super) struct Meter {
    source: SourceName,
    folded: Counter,
    conflict: Counter,
    received: Mutex<HashMap<Box<str>, Counter>>,
    verified: Mutex<HashMap<Box<str>, Counter>>,
    refused: Mutex<HashMap<&'static str, (Counter, Arc<Throttle>)>>,
}

impl Meter {
    fn new(source: SourceName) -> Self {
        let label = source.to_string();
        // Of no source are requests that are malformed or ask for a path that nobody has.
        for reason in REASONS.iter().filter(|reason| (label == NO_SOURCE) == matches!(**reason, "malformed" | "unknown_path")) {
            metrics::counter!(metric::EVENTS_REJECTED, "source" => label.clone(), "reason" => *reason).increment(0);
        }
        Self {
            folded: metrics::counter!(metric::EVENTS_FOLDED, "source" => label.clone()),
            conflict: metrics::counter!(metric::EVENTS_CONFLICT, "source" => label),
            source,
            received: Mutex::default(),
            verified: Mutex::default(),
            refused: Mutex::default(),
        }
    }

    pub(super) fn source(&self) -> &SourceName {
        &self.source
    }

    /// Counts what became of a delivery.
    pub(super) fn accepted(&self, event_type: &str, accepted: &Accepted) {
        if !accepted.events.is_empty() {
            self.received(event_type, accepted.events.len() as u64);
        }
        if accepted.folded > 0 {
            self.folded.increment(accepted.folded as u64);
        }
        if accepted.conflict {
            self.conflict.increment(1);
            tracing::warn!(source = %self.source, "an EventId came before with another body; both are kept, the later one marked `conflict`");
        }
    }

    fn received(&self, event_type: &str, events: u64) {
        let mut types = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        let name = label(event_type);
        let label = if types.len() < metric::TYPES_MAX || types.contains_key(&*name) { &*name } else { OTHER_TYPE };
        if let Some(counter) = types.get(label) {
            counter.increment(events);
            return;
        }
        let (source, via) = (self.source.to_string(), Via::Webhook.as_str());
        let counter = metrics::counter!(metric::EVENTS_RECEIVED, "source" => source, "via" => via, "type" => label.to_owned());
        counter.increment(events);
        types.insert(label.into(), counter);
    }

    /// Counts which secret vouched for a delivery. Secret names come from the configuration: there are few.
    pub(super) fn verified(&self, secret: &str) {
        let mut secrets = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counter) = secrets.get(secret) {
            counter.increment(1);
            return;
        }
        let counter = metrics::counter!(metric::SIGNATURES, "source" => self.source.to_string(), "secret" => secret.to_owned());
        counter.increment(1);
        secrets.insert(secret.into(), counter);
    }

    /// Counts a refusal; `Some` when it may be logged, with the number of those held back since the last line.
    pub(super) fn refused(&self, reason: &'static str) -> Option<u64> {
        let throttle = {
            let mut reasons = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
            let (counter, throttle) = reasons.entry(reason).or_insert_with(|| {
                let counter = metrics::counter!(metric::EVENTS_REJECTED, "source" => self.source.to_string(), "reason" => reason);
                (counter, Arc::new(Throttle::new(LOG_EVERY)))
            });
            counter.increment(1);
            Arc::clone(throttle)
        };
        throttle.pass()
    }
}
