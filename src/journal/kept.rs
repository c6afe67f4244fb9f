//! Kept values: how they are kept and found. Lists are what lies in memory over what is in the checkpoints.

use std::collections::BTreeSet;
use std::io;
use std::ops::Bound;

use bytes::Bytes;

use crate::journal::fold::Record;
use crate::journal::format::Kind;
use crate::journal::queue::Op;
use crate::journal::rows::{RowKey, kept_of_key, kept_prefix, kept_row};
use crate::journal::state::State;
use crate::journal::words::{AppendError, Kept, Space};
use crate::journal::{Journal, codec};

/// Names that are looked for at once in each place.
const PAGE_NAMES: usize = 256;

impl Journal {
    /// Keeps values under their names, in one group.
    ///
    /// # Errors
    /// Full (also for a value over its limits), or ended; nothing was kept then.
    pub async fn keep(&self, kept: Vec<Kept>) -> Result<(), AppendError> {
        kept.iter().try_for_each(Kept::check)?;
        let records = kept.into_iter().map(kept_record).collect();
        self.ask(|answer| Op::Records(records, answer)).await
    }

    /// The value kept under a name.
    pub fn kept(&self, space: Space, key: &str) -> io::Result<Option<Bytes>> {
        value(&self.0.shared.read(), space, key)
    }

    /// Values whose names begin with `prefix`, by name, from behind `after` on, at most `max`.
    pub fn kept_after(&self, space: Space, prefix: &str, after: Option<&str>, max: usize) -> io::Result<Vec<(String, Bytes)>> {
        self::after(&self.0.shared.read(), space, prefix, after, max)
    }
}

/// A kept value as a record.
pub(super) fn kept_record(kept: Kept) -> (Kind, Vec<u8>, Record) {
    let mut payload = Vec::new();
    codec::put_kept(&mut payload, &kept);
    (Kind::Kept, payload, Record::Kept(kept))
}

/// The value under a name.
pub(super) fn value(state: &State, space: Space, name: &str) -> io::Result<Option<Bytes>> {
    let row = state.bytes_row(&RowKey::Kept(space, name.to_owned()))?;
    row.map(|row| Ok(Bytes::copy_from_slice(kept_row(&row)?.1))).transpose()
}

/// Values whose names begin with `prefix`, by name, from behind `after` on, at most `max`.
pub(super) fn after(state: &State, space: Space, prefix: &str, after: Option<&str>, max: usize) -> io::Result<Vec<(String, Bytes)>> {
    let mut found = Vec::new();
    let mut after = after.map(str::to_owned);
    while found.len() < max {
        let (names, more) = names(state, space, prefix, after.as_deref())?;
        after = names.last().cloned();
        for name in names {
            if let Some(value) = value(state, space, &name)? {
                found.push((name, value));
            }
        }
        if !more {
            break;
        }
    }
    found.truncate(max);
    Ok(found)
}

/// The next names, ascending, forgotten ones among them, and whether there are more. Each place gives a page; what lies
/// behind the end of any full page is left for the next time.
pub(super) fn names(state: &State, space: Space, prefix: &str, after: Option<&str>) -> io::Result<(Vec<String>, bool)> {
    let mut found = BTreeSet::new();
    let mut known_to: Option<String> = None;
    let mut add = |page: Vec<String>, full: bool| {
        if full && page.last().is_some_and(|last| known_to.as_ref().is_none_or(|known| last < known)) {
            known_to = page.last().cloned();
        }
        found.extend(page);
    };
    if let Some(checkpoints) = state.rows_on_disk()? {
        let start = match after {
            // Behind all parts of that name, and before every longer one.
            Some(name) => Bound::Excluded([kept_prefix(space, name), vec![0, u8::MAX]].concat()),
            None => Bound::Included(kept_prefix(space, prefix)),
        };
        // Names are UTF-8, which has no byte 0xff.
        let end = [kept_prefix(space, prefix), vec![u8::MAX]].concat();
        let keys = checkpoints.keys(start, end, PAGE_NAMES)?;
        add(keys.iter().filter_map(|key| kept_of_key(key)).map(str::to_owned).collect(), keys.len() == PAGE_NAMES);
    }
    let start = match after {
        Some(name) => Bound::Excluded(RowKey::Kept(space, name.to_owned())),
        None => Bound::Included(RowKey::Kept(space, prefix.to_owned())),
    };
    for rows in [&*state.draining, &state.dirty] {
        let page: Vec<_> = rows
            .range((start.clone(), Bound::Unbounded))
            .map_while(|(key, _)| match key {
                RowKey::Kept(in_space, name) if *in_space == space && name.starts_with(prefix) => Some(name.clone()),
                _ => None,
            })
            .take(PAGE_NAMES)
            .collect();
        let full = page.len() == PAGE_NAMES;
        add(page, full);
    }
    let more = known_to.is_some();
    if let Some(known) = known_to {
        found.retain(|name| *name <= known);
    }
    Ok((found.into_iter().collect(), more))
}
