//! The thing that a change is about: which of `data`'s fields it is, its id, and how people find it.

use std::fmt::Write as _;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::event::Tree;

/// The longest id or name that goes into a key or subject as it is, in bytes; a longer one is hashed or cut.
pub const NAME_MAX: usize = 128;

/// What kind of thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    QueueItem,
    Job,
    Session,
    Robot,
    Process,
    Task,
    Schedule,
    Queue,
}

/// In which field of `data` each kind stands. `Queue` is last: items come with their queue.
const KINDS: &[(Kind, &str, &str)] = &[
    (Kind::QueueItem, "QueueItem", "queueItem"),
    (Kind::Job, "Job", "job"),
    (Kind::Session, "Session", "session"),
    (Kind::Robot, "Robot", "robot"),
    (Kind::Process, "Release", "process"),
    (Kind::Task, "Task", "task"),
    (Kind::Schedule, "ProcessSchedule", "schedule"),
    (Kind::Queue, "Queue", "queue"),
];

/// A thing in a change's `data`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Thing<'a> {
    pub kind: Kind,
    /// How keys name the kind.
    pub name: &'static str,
    /// Its fields: always an object.
    pub fields: &'a Tree<'a>,
    data: &'a Tree<'a>,
}

impl<'a> Thing<'a> {
    /// The thing that `data` is about, if it is about one.
    pub(super) fn of(data: &'a Tree<'a>) -> Option<Self> {
        KINDS.iter().find_map(|(kind, field, name)| {
            let fields = data.get(field).filter(|value| matches!(value, Tree::Object(_)))?;
            Some(Self { kind: *kind, name, fields, data })
        })
    }

    /// What identifies it within its tenant, ready for a key.
    pub(super) fn id(&self) -> Option<String> {
        let own = |name: &str| self.fields.get(name).and_then(id_text);
        match self.kind {
            Kind::QueueItem => own("Id"),
            Kind::Job => own("Key").map(|key| key.to_ascii_lowercase()).or_else(|| own("Id")),
            Kind::Session => {
                let robot = self.fields.get("Robot").and_then(|robot| robot.get("Id")).and_then(id_text);
                match (robot, own("Id")) {
                    (Some(robot), Some(session)) => Some(format!("{robot}.{session}")),
                    (robot, session) => robot.or(session),
                }
            }
            _ => own("Id").or_else(|| own("Key")).or_else(|| own("Name")),
        }
    }

    /// Where people find it: `queues/Invoices/items/436141352`, `jobs/1234`.
    pub(super) fn subject(&self) -> Option<Arc<str>> {
        let of = |value: &Tree<'_>, name: &str| value.get(name).and_then(segment);
        let first = |value: &Tree<'_>, names: &[&str]| names.iter().find_map(|name| of(value, name));
        let text = match self.kind {
            Kind::QueueItem => {
                let queue = self.data.get("Queue").and_then(|queue| first(queue, &["Name", "Id"]));
                let queue = queue.or_else(|| of(self.fields, "QueueDefinitionId"));
                let item = first(self.fields, &["Id", "UniqueKey", "Key"])?;
                match queue {
                    Some(queue) => ["queues/", &*queue, "/items/", &*item].concat(),
                    None => format!("items/{item}"),
                }
            }
            Kind::Job => format!("jobs/{}", first(self.fields, &["Id", "Key"])?),
            Kind::Session => match self.fields.get("Robot").and_then(|robot| first(robot, &["Id", "Name"])) {
                Some(robot) => format!("robots/{robot}"),
                None => format!("sessions/{}", first(self.fields, &["Id"])?),
            },
            Kind::Robot => format!("robots/{}", first(self.fields, &["Id", "Key", "Name"])?),
            Kind::Process => format!("processes/{}", first(self.fields, &["Name", "ProcessKey", "Id", "Key"])?),
            Kind::Task => format!("tasks/{}", first(self.fields, &["Id", "Key"])?),
            Kind::Schedule => format!("schedules/{}", first(self.fields, &["Name", "Id", "Key"])?),
            Kind::Queue => format!("queues/{}", first(self.fields, &["Name", "Id", "Key"])?),
        };
        Some(Arc::from(text))
    }
}

/// An id as keys carry it; `None` where it identifies nothing (missing, 0, empty). The separator of keys and
/// control characters are escaped, long ids hashed, so that two ids never look the same.
pub(super) fn id_text(value: &Tree<'_>) -> Option<String> {
    match value {
        Tree::Number(number) if number.as_f64() == Some(0.0) => None,
        Tree::Number(number) => Some(digits(number)),
        Tree::Text(text) if text.trim().is_empty() => None,
        Tree::Text(text) if text.len() > NAME_MAX => Some(format!("sha256:{}", sha256(text.as_bytes()))),
        Tree::Text(text) => Some(escape(text, &['|', '%'])),
        _ => None,
    }
}

/// A number in its digits; integers, as ids are, without growing the text.
fn digits(number: &serde_json::Number) -> String {
    number.as_i64().map_or_else(|| number.to_string(), |number| number.to_string())
}

/// A name as one segment of a subject: without the separator, cut to a readable length.
fn segment(value: &Tree<'_>) -> Option<String> {
    match value {
        Tree::Number(number) => Some(digits(number)),
        Tree::Text(text) if !text.trim().is_empty() => {
            let end = text.char_indices().map(|(at, _)| at).take_while(|at| *at <= NAME_MAX).last().unwrap_or(0);
            let cut = if text.len() > NAME_MAX { &text[..end] } else { text };
            Some(escape(cut, &['/', '%']))
        }
        _ => None,
    }
}

fn escape(text: &str, special: &[char]) -> String {
    let must = |c: char| c.is_control() || special.contains(&c);
    if !text.contains(must) {
        return text.to_owned();
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if must(c) {
            let mut bytes = [0_u8; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                write!(escaped, "%{byte:02X}").ok();
            }
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// SHA-256 in hex.
pub(super) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// A short digest of values: equal values give equal digests whatever the order of their fields.
pub(super) fn digest<'v>(values: impl IntoIterator<Item = &'v Tree<'v>>) -> String {
    let mut hasher = Sha256::new();
    for value in values {
        feed(&mut hasher, value);
    }
    hex(&hasher.finalize()[..8])
}

fn feed(hasher: &mut Sha256, value: &Tree<'_>) {
    match value {
        Tree::Null => hasher.update(b"n"),
        Tree::Bool(b) => hasher.update(if *b { b"t" } else { b"f" }),
        Tree::Number(number) => {
            hasher.update(b"#");
            hasher.update(number.to_string());
            hasher.update(b";");
        }
        Tree::Text(text) => {
            hasher.update(b"s");
            hasher.update(text.len().to_be_bytes());
            hasher.update(&**text);
        }
        Tree::List(items) => {
            hasher.update(b"[");
            items.iter().for_each(|item| feed(hasher, item));
            hasher.update(b"]");
        }
        Tree::Object(fields) => {
            let mut entries: Vec<_> = fields.iter().collect();
            entries.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
            hasher.update(b"{");
            for (name, value) in entries {
                hasher.update(name.len().to_be_bytes());
                hasher.update(&**name);
                feed(hasher, value);
            }
            hasher.update(b"}");
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").ok();
        text
    })
}
