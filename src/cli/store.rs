//! Where events and runs are read from: the daemon while it runs, else the journal's segments (no lock, no checkpoints,
//! no secrets).

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use super::args::AdminArgs;
use super::client::{Asked, Client, meant};
use super::listing::{Page, Query};
use super::output::{Out, Stop, say};
use crate::event::EventId;
use crate::journal::{EventQuery, Reader, Routings, RunQuery};
use crate::runs::Run;
use crate::time::Timestamp;

/// What is asked of the daemon at once; each of its answers is built in memory.
const ANSWERED_MAX: usize = 500;

/// What is read from the journal's files at once: each reading scans them, so a page is large.
const SCANNED_MAX: usize = 50_000;

/// Reads events and runs, as the JSON that is documented.
pub(super) trait Store {
    /// How many are read at once.
    fn page_max(&self) -> usize;
    /// The newest events that fit, older than the cursor.
    fn events(&self, query: &Query) -> Result<Page, Stop>;
    /// One event.
    fn event(&self, id: &str) -> Result<Option<Value>, Stop>;
    /// One event with what its rules made of it.
    fn explained(&self, id: EventId) -> Result<Option<Value>, Stop>;
    /// The events with these ids, as far as they are there.
    fn events_with(&self, ids: &BTreeSet<String>) -> Result<BTreeMap<String, Value>, Stop>;
    /// The newest runs that fit, older than the cursor.
    fn runs(&self, query: &Query) -> Result<Page, Stop>;
    /// One run.
    fn run(&self, id: &str) -> Result<Option<Value>, Stop>;
}

/// There is no such event or run, maybe no longer.
pub(super) fn gone(what: &str, id: impl std::fmt::Display, event: EventId) -> Stop {
    let time = i64::try_from(event.millis()).map_or(Timestamp::EPOCH, Timestamp::from_millis);
    let limit = if what == "run" { "`retention.age`, for dead runs `retention.dead`" } else { "`retention.age`" };
    Stop::no(format!("there is no {what} `{id}` in the journal; one of {time} may have had its time ({limit})"))
}

/// The daemon, or where nobody answers and the configuration says where it is, the journal.
pub(super) fn open(config: Option<&Path>, admin: &AdminArgs, out: &Out) -> Result<Box<dyn Store>, Stop> {
    let meant = meant(config, admin)?;
    let client = Client::new(&meant)?;
    match client.ask(reqwest::Method::GET, "/livez", &[])? {
        Asked::Answer { .. } => Ok(Box::new(client)),
        Asked::Nobody(message) => {
            let Some(state) = meant.state else { return Err(Stop::unknown(message)) };
            if !state.join("journal").is_dir() {
                return Err(Stop::unknown(format!("there is no journal in `{}`, and {message}", state.display())));
            }
            if out.verbosity() > 0 {
                say(&format!("{message}; reading the journal in `{}`", state.display()));
            }
            Ok(Box::new(Files::of(&state)))
        }
    }
}

impl Client {
    fn page(&self, path: &str, query: &Query, more: &[(&'static str, Option<String>)]) -> Result<Page, Stop> {
        let mut parameters = vec![
            ("since", query.since.map(|t| t.to_string())),
            ("until", query.until.map(|t| t.to_string())),
            ("limit", Some(query.limit.to_string())),
            ("cursor", query.cursor.clone()),
        ];
        parameters.extend_from_slice(more);
        let parameters: Vec<(&str, String)> = parameters.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        let mut answer = self.json(path, &parameters)?.ok_or_else(|| Stop::unknown(format!("{} has no {path}", self.shown())))?;
        let Some(Value::Array(items)) = answer.get_mut("items").map(Value::take) else {
            return Err(Stop::unknown(format!("{} answered no list to {path}", self.shown())));
        };
        Ok(Page { items, next: answer.get("next").and_then(Value::as_str).map(str::to_owned) })
    }
}

impl Store for Client {
    fn page_max(&self) -> usize {
        ANSWERED_MAX
    }

    fn events_with(&self, ids: &BTreeSet<String>) -> Result<BTreeMap<String, Value>, Stop> {
        ids.iter().filter_map(|id| self.event(id).map(|event| event.map(|event| (id.clone(), event))).transpose()).collect()
    }

    fn events(&self, query: &Query) -> Result<Page, Stop> {
        let more = [("type", query.event_type.clone()), ("source", query.source.clone()), ("key", query.key.clone())];
        self.page("/api/v1/events", query, &more)
    }

    fn event(&self, id: &str) -> Result<Option<Value>, Stop> {
        self.json(&format!("/api/v1/events/{id}"), &[])
    }

    fn explained(&self, id: EventId) -> Result<Option<Value>, Stop> {
        self.json(&format!("/api/v1/events/{id}/explain"), &[])
    }

    fn runs(&self, query: &Query) -> Result<Page, Stop> {
        let more = [("rule", query.rule.clone()), ("state", query.state.map(|state| state.as_str().to_owned()))];
        self.page("/api/v1/runs", query, &more)
    }

    fn run(&self, id: &str) -> Result<Option<Value>, Stop> {
        self.json(&format!("/api/v1/runs/{id}"), &[])
    }
}

/// The segments of a state folder.
pub(super) struct Files {
    reader: Reader,
    /// Which rules routed which events; read when it is asked for first.
    routings: OnceCell<Routings>,
    /// Damage that was told of.
    told: RefCell<BTreeSet<String>>,
}

impl Files {
    /// Of this state folder.
    pub(super) fn of(state: &Path) -> Self {
        Self { reader: Reader::new(state), routings: OnceCell::new(), told: RefCell::default() }
    }
}

impl Files {
    /// Says once what is damaged, on stderr.
    fn say_damage(&self) {
        for damage in self.reader.damage() {
            if self.told.borrow_mut().insert(damage.to_string()) {
                say(&format!("warning: {damage}"));
            }
        }
    }

    fn routings(&self) -> Result<&Routings, Stop> {
        if let Some(known) = self.routings.get() {
            return Ok(known);
        }
        let read = self.reader.routings().map_err(unreadable)?;
        Ok(self.routings.get_or_init(|| read))
    }
}

fn unreadable(error: std::io::Error) -> Stop {
    Stop::unknown(format!("the journal cannot be read: {error}"))
}

fn cursor<T: std::str::FromStr<Err = String>>(query: &Query) -> Result<Option<T>, Stop> {
    query.cursor.as_deref().map(str::parse).transpose().map_err(Stop::unknown)
}

impl Store for Files {
    fn page_max(&self) -> usize {
        SCANNED_MAX
    }

    /// One scan over the time between the oldest and the newest of them, whatever their number.
    fn events_with(&self, ids: &BTreeSet<String>) -> Result<BTreeMap<String, Value>, Stop> {
        let mut found = BTreeMap::new();
        let routings = self.routings()?;
        let parsed: BTreeSet<EventId> = ids.iter().filter_map(|id| id.parse().ok()).collect();
        let (Some(first), Some(last)) = (parsed.first(), parsed.last()) else { return Ok(found) };
        let mut query = EventQuery { limit: SCANNED_MAX, before: Some(EventId(last.0.saturating_add(1))), ..EventQuery::default() };
        loop {
            let page = self.reader.events(&query).map_err(unreadable)?;
            let wanted = page.items.iter().filter(|event| parsed.contains(&event.id));
            found.extend(wanted.map(|event| (event.id.to_string(), routings.to_json(event))));
            match page.next {
                Some(next) if next > *first && Some(next) != query.before => query.before = Some(next),
                _ => return Ok(found),
            }
        }
    }

    fn events(&self, query: &Query) -> Result<Page, Stop> {
        let asked = EventQuery {
            since: query.since,
            until: query.until,
            event_type: query.event_type.clone(),
            source: query.source.clone(),
            key: query.key.clone(),
            limit: query.limit,
            before: cursor(query)?,
        };
        let page = self.reader.events(&asked).map_err(unreadable)?;
        let routings = self.routings()?;
        self.say_damage();
        Ok(Page { items: page.items.iter().map(|event| routings.to_json(event)).collect(), next: page.next.map(|id| id.to_string()) })
    }

    fn event(&self, id: &str) -> Result<Option<Value>, Stop> {
        let id = id.parse().map_err(Stop::no)?;
        let Some(event) = self.reader.event(id).map_err(unreadable)? else { return Ok(None) };
        let routings = self.routings()?;
        self.say_damage();
        Ok(Some(routings.to_json(&event)))
    }

    fn explained(&self, id: EventId) -> Result<Option<Value>, Stop> {
        let Some(event) = self.reader.event(id).map_err(unreadable)? else { return Ok(None) };
        let explained = self.reader.routing(id).map_err(unreadable)?.explain(&event);
        self.say_damage();
        Ok(Some(explained))
    }

    fn runs(&self, query: &Query) -> Result<Page, Stop> {
        let asked = RunQuery {
            since: query.since,
            until: query.until,
            state: query.state,
            rule: query.rule.clone(),
            event: None,
            limit: query.limit,
            before: cursor(query)?,
        };
        let page = self.reader.runs(&asked).map_err(unreadable)?;
        self.say_damage();
        let at_rest = |run: Run| run.at_rest().to_json();
        Ok(Page { items: page.items.into_iter().map(at_rest).collect(), next: page.next.map(|id| id.to_string()) })
    }

    fn run(&self, id: &str) -> Result<Option<Value>, Stop> {
        let id = id.parse().map_err(Stop::no)?;
        let run = self.reader.run(id).map_err(unreadable)?;
        self.say_damage();
        Ok(run.map(|run| run.at_rest().to_json()))
    }
}
