//! What watches remember of events: a fold that is kept with the plan, so that each event counts once.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::event::Event;
use crate::journal::{Journal, Kept, Space};
use crate::rules::{Seen, Stay, WatchKind, WatchSet};

/// The names and values to be kept after these events.
pub(super) fn kept(journal: &Journal, watches: &WatchSet, events: &[Arc<Event>]) -> io::Result<Vec<Kept>> {
    let mut new: BTreeMap<String, Bytes> = BTreeMap::new();
    for event in events {
        for watch in watches.matching(event) {
            match &watch.kind {
                WatchKind::Stuck(stuck) => {
                    let Some((item, stay)) = stuck.stay(event) else { continue };
                    let name = format!("{}{item}", watch.stays());
                    let before: Option<Stay> = read(journal, &new, &name)?;
                    put(&mut new, name, stuck.after(before.as_ref(), stay))?;
                }
                WatchKind::Absent(absent) => {
                    let name = watch.seen_key();
                    let before: Seen = read(journal, &new, &name)?.unwrap_or_default();
                    put(&mut new, name, absent.after(&before, event.change.time.unwrap_or(event.received)))?;
                }
            }
        }
    }
    Ok(new.into_iter().map(|(key, value)| Kept { space: Space::Watch, key, value: Some(value) }).collect())
}

fn read<T: DeserializeOwned>(journal: &Journal, new: &BTreeMap<String, Bytes>, name: &str) -> io::Result<Option<T>> {
    let value = match new.get(name) {
        Some(value) => Some(value.clone()),
        None => journal.kept(Space::Watch, name)?,
    };
    Ok(value.and_then(|value| serde_json::from_slice(&value).ok()))
}

fn put(new: &mut BTreeMap<String, Bytes>, name: String, value: Option<impl Serialize>) -> io::Result<()> {
    if let Some(value) = value {
        new.insert(name, Bytes::from(serde_json::to_vec(&value)?));
    }
    Ok(())
}
