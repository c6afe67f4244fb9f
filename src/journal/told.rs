//! Counts the events that no webhook brought: polled ones, emitted ones, the daemon's own. Intake counts what it takes itself.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use metrics::Counter;

use super::parcel::Parcel;
use crate::event::{SourceName, Via};
use crate::metric::{EVENTS_FOLDED, EVENTS_RECEIVED, TYPES_MAX};
use crate::printable::label;

/// What types beyond [`TYPES_MAX`] of one source are counted as.
const OTHER_TYPE: &str = "other";

/// A counter for each type.
type Types = HashMap<Box<str>, Counter>;

/// The counters that were made so far. Sources come from the configuration: there are few.
#[derive(Default)]
pub(super) struct Told(Mutex<HashMap<(SourceName, Via), Types>>);

impl Told {
    /// Counts what became of a delivery that is kept.
    pub(super) fn count(&self, parcel: &Parcel) {
        let delivery = &parcel.delivery;
        if delivery.via == Via::Webhook {
            return;
        }
        if parcel.accepted.folded > 0 {
            metrics::counter!(EVENTS_FOLDED, "source" => delivery.source.to_string()).increment(parcel.accepted.folded as u64);
        }
        let mut sources = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let types = sources.entry((delivery.source.clone(), delivery.via)).or_default();
        for (change, _) in delivery.changes.iter().zip(&parcel.elements).filter(|(_, element)| element.new) {
            let name = label(&change.event_type);
            let name = if types.len() < TYPES_MAX || types.contains_key(&*name) { &*name } else { OTHER_TYPE };
            if !types.contains_key(name) {
                let (source, via) = (delivery.source.to_string(), delivery.via.as_str());
                let counter = metrics::counter!(EVENTS_RECEIVED, "source" => source, "via" => via, "type" => name.to_owned());
                types.insert(name.into(), counter);
            }
            if let Some(counter) = types.get(name) {
                counter.increment(1);
            }
        }
    }
}
