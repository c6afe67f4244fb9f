//! What an event must be for a rule, apart from its pattern: type, source, and the shorthands for queue, process, folder.

use serde_json::{Value, json};

use super::decode::Decoder;
use super::index::TypePattern;
use super::shapes::FOLDER_OF_EVENT;
use super::{Because, FolderRef, Known};
use crate::event::{Event, SourceName, Via};
use crate::fault::{Fault, Place, nearest};
use crate::normalize::known_types;
use crate::yaml::{Fields, Node, Yaml};

/// Conditions, each with what was written.
#[derive(Debug)]
pub(super) struct Filter {
    /// Types in lower case; any of them.
    pub(super) events: Vec<TypePattern>,
    /// Sources by name as written; `None` is every source but unsigned ones.
    pub(super) sources: Option<Vec<SourceName>>,
    /// The same with those that reconcile them.
    allowed: Vec<SourceName>,
    /// Unsigned sources, which have to be named.
    unsigned: Vec<SourceName>,
    /// Queue names.
    pub(super) queues: Option<Vec<String>>,
    /// Process (release) names.
    pub(super) processes: Option<Vec<String>>,
    /// Folders.
    folders: Option<Vec<FolderRef>>,
}

/// As people write it.
fn as_written(pattern: &TypePattern) -> String {
    match pattern {
        TypePattern::Any => "*".to_owned(),
        TypePattern::Family(prefix) => {
            let known = known_types().iter().find(|known| known.to_ascii_lowercase().starts_with(&**prefix));
            format!("{}*", known.map_or(&**prefix, |known| &known[..prefix.len()]))
        }
        TypePattern::Exact(own) => {
            known_types().iter().find(|known| known.eq_ignore_ascii_case(own)).map_or(&**own, |known| *known).to_owned()
        }
    }
}

impl Filter {
    /// Reads `events`, `sources`, `queues`, `processes`, `folders`.
    pub(super) fn read(fields: &Fields<'_>, decoder: &mut Decoder<'_>) -> Option<Self> {
        let events = events(fields, decoder);
        let sources = sources(fields, decoder);
        let queues = names(fields, "queues", decoder);
        let processes = names(fields, "processes", decoder);
        let folders = folders(fields, decoder);
        let known = &decoder.known.sources;
        let named = sources.clone().unwrap_or_default();
        let mut allowed = named.clone();
        allowed.extend(known.iter().filter(|s| s.reconciles.as_ref().is_some_and(|of| named.contains(of))).map(|s| s.name.clone()));
        let unsigned = known.iter().filter(|s| s.unsigned).map(|s| s.name.clone()).collect();
        Some(Self { events: events?, sources, allowed, unsigned, queues, processes, folders })
    }

    /// The first condition that the event does not meet.
    pub(super) fn refuses(&self, event: &Event) -> Option<Because> {
        let lower = event.event_type().to_ascii_lowercase();
        if !self.means_type(&lower, event) {
            let written: Vec<String> = self.events.iter().map(as_written).collect();
            let hint = (event.via == Via::Emit && written.iter().any(|w| w.ends_with('*')))
                .then(|| "emitted events are matched by their type in full only".to_owned());
            return Some(because("events", json!(written), json!(event.event_type()), hint));
        }
        if !self.means_source(event) {
            let (expected, hint) = match &self.sources {
                Some(sources) => (json!(sources), None),
                None => (Value::Null, Some("the source is unsigned: only rules that name it in `sources` see its events".to_owned())),
            };
            return Some(because("sources", expected, json!(event.source), hint));
        }
        self.refuses_data(event)
    }

    /// Whether events of this source are meant.
    pub(super) fn wants_source(&self, source: &str) -> bool {
        self.sources.as_ref().is_none_or(|named| named.iter().any(|name| **name == *source))
    }

    /// The types that are named in full, in lower case.
    pub(super) fn exact_types(&self) -> Vec<String> {
        let exact = |pattern: &TypePattern| if let TypePattern::Exact(own) = pattern { Some(own.to_string()) } else { None };
        self.events.iter().filter_map(exact).collect()
    }

    /// Whether nothing of it stands against the event.
    pub(super) fn meets(&self, event: &Event, lower_type: &str) -> bool {
        self.means_type(lower_type, event) && self.meets_beside_type(event)
    }

    /// The same of an event whose type is known to be one of its own.
    pub(super) fn meets_beside_type(&self, event: &Event) -> bool {
        self.means_source(event) && self.refuses_data(event).is_none()
    }

    fn means_type(&self, lower_type: &str, event: &Event) -> bool {
        self.events.iter().any(|pattern| pattern.matches(lower_type, event.via == Via::Emit))
    }

    fn means_source(&self, event: &Event) -> bool {
        if self.sources.is_some() { self.allowed.contains(&event.source) } else { !self.unsigned.contains(&event.source) }
    }

    fn refuses_data(&self, event: &Event) -> Option<Because> {
        let data = event.data();
        if let Some(queues) = &self.queues {
            let name = data.pointer("/Queue/Name");
            if !is_one_of(name, queues) {
                return Some(because("queues", json!(queues), name.cloned().unwrap_or(Value::Null), other_case(name, queues)));
            }
        }
        if let Some(processes) = &self.processes {
            let places = ["/Job/Release/Name", "/Job/ReleaseName", "/Release/Name"];
            let found: Vec<&Value> = places.iter().filter_map(|place| data.pointer(place)).collect();
            if !found.iter().any(|name| is_one_of(Some(name), processes)) {
                let first = found.first().copied();
                return Some(because("processes", json!(processes), first.cloned().unwrap_or(Value::Null), other_case(first, processes)));
            }
        }
        if let Some(folders) = &self.folders
            && !folders.iter().any(|folder| is_in(event, folder))
        {
            let found = event.change.folder.as_ref().map_or(Value::Null, |folder| json!(folder));
            let unknown =
                event.change.folder.as_ref().is_some_and(|f| f.path.is_none()) && folders.iter().any(|f| matches!(f, FolderRef::Path(_)));
            let hint = unknown.then(|| "the event does not carry the folder's path; name the folder by `id` or `key`".to_owned());
            return Some(because("folders", json!(folders), found, hint));
        }
        None
    }
}

fn because(path: &str, expected: Value, found: Value, hint: Option<String>) -> Because {
    Because { path: path.to_owned(), expected, found, hint }
}

fn is_one_of(name: Option<&Value>, names: &[String]) -> bool {
    name.and_then(Value::as_str).is_some_and(|name| names.iter().any(|known| known == name))
}

fn other_case(name: Option<&Value>, names: &[String]) -> Option<String> {
    let name = name?.as_str()?;
    names.iter().any(|known| known.eq_ignore_ascii_case(name)).then(|| "names are compared with their case".to_owned())
}

pub(super) fn is_in(event: &Event, wanted: &FolderRef) -> bool {
    let folder = event.change.folder.as_ref();
    match wanted {
        FolderRef::Path(path) => folder.and_then(|f| f.path.as_deref()).is_some_and(|own| own.eq_ignore_ascii_case(path)),
        FolderRef::Key(key) => folder.and_then(|f| f.key.as_deref()).is_some_and(|own| own.eq_ignore_ascii_case(key)),
        FolderRef::Id(id) => folder.and_then(|f| f.id) == Some(*id) || event.folded.from.iter().any(|copy| copy.folder == Some(*id)),
    }
}

fn events(fields: &Fields<'_>, decoder: &mut Decoder<'_>) -> Option<Vec<TypePattern>> {
    if fields.get("events").is_none() {
        if fields.entries().iter().any(|(key, _)| key.name == "on") {
            return None;
        }
        decoder.error_help(
            "missing-key",
            fields.place,
            "the rule has no `events`",
            "add `events: queueItem.transactionFailed`, a list of types, or \"*\"",
        );
        return None;
    }
    let written = fields.texts("events", decoder.faults)?;
    if written.is_empty() {
        let place = fields.key_place("events").unwrap_or(fields.place).clone();
        decoder.error_help("empty", &place, "`events` is empty: the rule can never match", "name at least one type, or \"*\"");
    }
    let patterns: Vec<_> = written.into_iter().map(|(text, place)| event_pattern(text, place, decoder)).collect();
    patterns.into_iter().collect()
}

fn event_pattern(text: &str, place: &Place, decoder: &mut Decoder<'_>) -> Option<TypePattern> {
    let lower = text.trim().to_ascii_lowercase();
    match lower.strip_suffix('*') {
        Some("") => Some(TypePattern::Any),
        Some("tripline.") => {
            let help = format!("such as {}", known_types().iter().find(|t| t.starts_with("tripline.")).unwrap_or(&"tripline.unparsed"));
            decoder.error_help("bad-type", place, "events of tripline itself are named in full", help);
            None
        }
        Some(prefix) if prefix.ends_with('.') && !prefix.contains('*') => Some(TypePattern::Family(prefix.into())),
        _ if lower.contains('*') => {
            decoder.error_help(
                "bad-type",
                place,
                format!("`{text}` is no event type"),
                "`*` stands alone or behind the dot: \"*\", queueItem.*",
            );
            None
        }
        _ if lower.is_empty() => {
            decoder.error("bad-type", place, "an event type is empty");
            None
        }
        // The plural of old documentation means the same.
        _ => Some(TypePattern::Exact(crate::normalize::canonical_type(text.trim()).to_ascii_lowercase().into())),
    }
}

fn sources(fields: &Fields<'_>, decoder: &mut Decoder<'_>) -> Option<Vec<SourceName>> {
    fields.get("sources")?;
    let written = fields.texts("sources", decoder.faults)?;
    if written.is_empty() {
        let place = fields.key_place("sources").unwrap_or(fields.place).clone();
        decoder.error("empty", &place, "`sources` is empty: the rule can never match");
    }
    let known: &Known = decoder.known;
    let mut named = Vec::new();
    for (name, place) in written {
        if !known.sources.iter().any(|source| &*source.name == name) {
            let fault = Fault::error("unknown-source", place.clone(), format!("no source is named `{name}`"));
            let names: Vec<&str> = known.sources.iter().map(|source| &*source.name).collect();
            decoder.faults.push(match nearest(name, names.iter().copied()) {
                Some(near) => fault.help(format!("did you mean `{near}`?")),
                None if names.is_empty() => fault.help("the configuration has no `sources`"),
                None => fault.help(format!("known are: {}", names.join(", "))),
            });
        }
        named.push(SourceName::from(name));
    }
    Some(named)
}

fn names(fields: &Fields<'_>, what: &str, decoder: &mut Decoder<'_>) -> Option<Vec<String>> {
    fields.get(what)?;
    let written = fields.texts(what, decoder.faults)?;
    if written.is_empty() {
        let place = fields.key_place(what).unwrap_or(fields.place).clone();
        decoder.error("empty", &place, format!("`{what}` is empty: the rule can never match"));
    }
    for (name, place) in &written {
        if name.contains("${") {
            decoder.error_help("bad-value", place, format!("`${{…}}` is not evaluated in `{what}`"), "write the name, or use `when`");
        }
    }
    Some(written.into_iter().map(|(name, _)| name.to_owned()).collect())
}

fn folders(fields: &Fields<'_>, decoder: &mut Decoder<'_>) -> Option<Vec<FolderRef>> {
    let node = fields.get("folders")?;
    let items = match &node.value {
        Yaml::List(items) => items.as_slice(),
        _ => std::slice::from_ref(node),
    };
    if items.is_empty() {
        decoder.error("empty", &node.place, "`folders` is empty: the rule can never match");
    }
    let found: Vec<_> = items.iter().filter_map(|item| folder(item, decoder)).collect();
    if !found.is_empty() && found.iter().all(|folder| matches!(folder, FolderRef::Path(_))) {
        // Whoever reads the rule expects it to fire, and no event that a webhook brings would make it.
        decoder.warning(
            "folder-path",
            &node.place,
            "webhooks send a folder's id and key but not its path: no event of theirs is in a folder named by path",
            "name it by its id, such as `folders: [1964513]`; `tripline events show` prints it",
        );
    }
    Some(found)
}

fn folder(node: &Node, decoder: &mut Decoder<'_>) -> Option<FolderRef> {
    match &node.value {
        Yaml::Text(path) => Some(FolderRef::Path(path.clone())),
        Yaml::Number(number) if number.as_i64().is_some() => number.as_i64().map(FolderRef::Id),
        Yaml::Map(_) => {
            let fields = Fields::read(node, "a folder", &FOLDER_OF_EVENT, decoder.faults)?;
            if let Some(id) = fields.integer("id", 1..=u64::MAX >> 1, decoder.faults) {
                return i64::try_from(id).ok().map(FolderRef::Id);
            }
            let path = fields.text("path", decoder.faults).map(|(path, _)| FolderRef::Path(path.to_owned()));
            path.or_else(|| fields.text("key", decoder.faults).map(|(key, _)| FolderRef::Key(key.to_owned())))
        }
        _ => {
            decoder.error("wrong-type", &node.place, format!("a folder is {}; expected a path, an id, or {{key: …}}", node.kind()));
            None
        }
    }
}
