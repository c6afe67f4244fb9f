//! What a list is asked for, whoever answers it: the daemon or the journal's files.

use std::collections::BTreeSet;

use serde_json::Value;

use super::args::Filters;
use super::output::Stop;
use super::store::Store;
use super::when::span;
use crate::clock::Clock;
use crate::time::Timestamp;

/// What is asked of a store; see [`Filters`].
#[derive(Clone, Debug, Default)]
pub(super) struct Query {
    pub(super) since: Option<Timestamp>,
    pub(super) until: Option<Timestamp>,
    pub(super) event_type: Option<String>,
    pub(super) source: Option<String>,
    pub(super) rule: Option<String>,
    pub(super) state: Option<crate::runs::RunState>,
    pub(super) key: Option<String>,
    pub(super) limit: usize,
    /// Where the next older page begins, in the words of the store.
    pub(super) cursor: Option<String>,
}

/// A part of a list, newest last.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) items: Vec<Value>,
    pub(super) next: Option<String>,
}

impl Query {
    /// What the arguments ask for.
    ///
    /// # Errors
    /// The time that is asked for ends before it begins.
    pub(super) fn of(filters: &Filters) -> Result<Self, Stop> {
        let (since, until) = span(filters.since, filters.until, Clock::system().now())?;
        Ok(Self {
            since,
            until,
            event_type: filters.event_type.clone(),
            source: filters.source.clone(),
            rule: filters.rule.clone(),
            state: filters.state,
            key: filters.key.clone(),
            limit: if filters.all { usize::MAX } else { filters.limit as usize },
            cursor: None,
        })
    }

    /// Whether an event is asked for by what its runs are.
    fn asks_for_runs(&self) -> bool {
        self.rule.is_some() || self.state.is_some()
    }

    /// Whether a run is asked for by what its event is.
    fn asks_for_events(&self) -> bool {
        self.event_type.is_some() || self.source.is_some() || self.key.is_some()
    }

    /// Whether an event, as JSON, has the type, source and key asked for.
    fn fits_event(&self, event: &Value) -> bool {
        let text = |field: &str| event.get(field).and_then(Value::as_str).unwrap_or_default();
        fits_type(self.event_type.as_deref(), text("type"))
            && self.source.as_deref().is_none_or(|source| source == text("source"))
            && self.key.as_deref().is_none_or(|key| text("key").contains(key) || text("subject").contains(key))
    }
}

/// `queueItem.*` fits every type of that family, and nothing asked for fits all.
pub(super) fn fits_type(wanted: Option<&str>, found: &str) -> bool {
    match wanted {
        None | Some("*") => true,
        Some(wanted) => match wanted.strip_suffix('*') {
            Some(head) => found.len() >= head.len() && found.is_char_boundary(head.len()) && found[..head.len()].eq_ignore_ascii_case(head),
            None => found.eq_ignore_ascii_case(wanted),
        },
    }
}

/// Events, newest last.
pub(super) fn events(store: &dyn Store, query: &Query) -> Result<Vec<Value>, Stop> {
    let mut found = Vec::new();
    if query.asks_for_runs() {
        // Runs are listed in the order of their events; an event that several rules met is taken once.
        let mut seen = BTreeSet::new();
        let runs = Query { limit: usize::MAX, event_type: None, source: None, key: None, ..query.clone() };
        pages(
            store,
            &runs,
            |page| store.runs(page),
            |runs| {
                let ids: Vec<String> = runs.iter().filter_map(event_of).filter(|id| seen.insert(id.clone())).collect();
                let mut events = store.events_with(&ids.iter().cloned().collect())?;
                let fitting = ids.iter().filter_map(|id| events.remove(id)).filter(|event| query.fits_event(event));
                found.extend(fitting.take(query.limit - found.len()));
                Ok(found.len() >= query.limit)
            },
        )?;
    } else {
        pages(
            store,
            query,
            |page| store.events(page),
            |events| {
                found.extend(events.into_iter().take(query.limit - found.len()));
                Ok(found.len() >= query.limit)
            },
        )?;
    }
    found.reverse();
    Ok(found)
}

/// Runs, newest last.
pub(super) fn runs(store: &dyn Store, query: &Query) -> Result<Vec<Value>, Stop> {
    let mut found = Vec::new();
    let bare = Query { event_type: None, source: None, key: None, ..query.clone() };
    pages(
        store,
        &bare,
        |page| store.runs(page),
        |mut runs| {
            if query.asks_for_events() {
                let events = store.events_with(&runs.iter().filter_map(event_of).collect())?;
                runs.retain(|run| event_of(run).and_then(|id| events.get(&id)).is_some_and(|event| query.fits_event(event)));
            }
            found.extend(runs.into_iter().take(query.limit - found.len()));
            Ok(found.len() >= query.limit)
        },
    )?;
    found.reverse();
    Ok(found)
}

/// The event that a run is for.
fn event_of(run: &Value) -> Option<String> {
    run.get("event").and_then(Value::as_str).map(str::to_owned)
}

/// Reads page after page and hands each over, newest item first, until it is enough.
fn pages(
    store: &dyn Store,
    query: &Query,
    read: impl Fn(&Query) -> Result<Page, Stop>,
    mut take: impl FnMut(Vec<Value>) -> Result<bool, Stop>,
) -> Result<(), Stop> {
    let mut page = Query { limit: query.limit.min(store.page_max()), ..query.clone() };
    loop {
        let mut answer = read(&page)?;
        answer.items.reverse();
        // A cursor that stays where it is would be read for ever.
        if take(answer.items)? || answer.next.is_none() || answer.next == page.cursor {
            return Ok(());
        }
        page.cursor = answer.next;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    /// Ten events 0 to 9, of which even ones are of one type; each has a run of rule `a`, every third is dead.
    struct Ten;

    impl Store for Ten {
        fn explained(&self, _: crate::event::EventId) -> Result<Option<Value>, Stop> {
            Ok(None)
        }

        fn page_max(&self) -> usize {
            3
        }
        fn events_with(&self, ids: &BTreeSet<String>) -> Result<BTreeMap<String, Value>, Stop> {
            Ok(ids.iter().map(|id| (id.clone(), event(id.parse().expect("a number")))).collect())
        }
        fn events(&self, query: &Query) -> Result<Page, Stop> {
            Ok(slice(query, |n| Some(event(n)).filter(|e| query.fits_event(e))))
        }
        fn event(&self, id: &str) -> Result<Option<Value>, Stop> {
            Ok(id.parse().ok().map(event))
        }
        fn runs(&self, query: &Query) -> Result<Page, Stop> {
            let dead = query.state.is_some();
            Ok(slice(query, |n| (!dead || n.is_multiple_of(3)).then(|| json!({"id": format!("r{n}"), "event": n.to_string()}))))
        }
        fn run(&self, _: &str) -> Result<Option<Value>, Stop> {
            Ok(None)
        }
    }

    fn event(n: u32) -> Value {
        json!({"id": n.to_string(), "type": if n.is_multiple_of(2) { "queueItem.added" } else { "job.started" }, "source": "s", "key": format!("k{n}")})
    }

    /// Pages of at most two, whatever is asked for.
    fn slice(query: &Query, make: impl Fn(u32) -> Option<Value>) -> Page {
        let end = query.cursor.as_deref().map_or(10, |c| c.parse().expect("a cursor"));
        let mut items: Vec<(u32, Value)> = (0..end).rev().filter_map(|n| make(n).map(|v| (n, v))).take(query.limit.min(2)).collect();
        let next = items.last().map(|(n, _)| n.to_string()).filter(|n| n != "0");
        items.reverse();
        Page { items: items.into_iter().map(|(_, v)| v).collect(), next }
    }

    fn ids(items: &[Value]) -> Vec<&str> {
        items.iter().filter_map(|item| item["id"].as_str()).collect()
    }

    #[test]
    fn the_newest_are_listed_with_the_newest_last() {
        let query = Query { limit: 3, ..Query::default() };
        assert_eq!(ids(&events(&Ten, &query).expect("events")), ["7", "8", "9"]);
        let all = Query { limit: usize::MAX, ..Query::default() };
        assert_eq!(events(&Ten, &all).expect("events").len(), 10);
    }

    #[test]
    fn events_are_found_by_their_runs_and_runs_by_their_events() {
        let dead = Query { limit: 2, state: Some(crate::runs::RunState::Dead), ..Query::default() };
        assert_eq!(ids(&events(&Ten, &dead).expect("events")), ["6", "9"]);
        let typed = Query { limit: 2, event_type: Some("queueItem.*".to_owned()), ..Query::default() };
        assert_eq!(ids(&runs(&Ten, &typed).expect("runs")), ["r6", "r8"]);
        let both = Query { limit: 9, event_type: Some("queueItem.added".to_owned()), ..dead };
        assert_eq!(ids(&events(&Ten, &both).expect("events")), ["0", "6"]);
    }

    #[test]
    fn a_family_fits_its_types() {
        assert!(fits_type(Some("queueItem.*"), "queueItem.added") && fits_type(Some("queueitem.added"), "queueItem.added"));
        assert!(!fits_type(Some("queueItem.*"), "job.started") && !fits_type(Some("job"), "job.started") && fits_type(None, "x"));
    }
}
