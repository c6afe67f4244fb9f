//! `tripline events`: the journal, listed, shown, followed.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::args::{AdminArgs, Filters};
use super::client::{Client, meant, why};
use super::listing::{self, Page, Query, fits_type};
use super::output::{Cell, DIM, Out, Stop, WARN, say};
use super::print_as::PrintArgs;
use super::store::{Files, Store, gone, open};
use super::{INTERRUPTED, YES};

/// Between two attempts to follow a daemon that went away, and between two looks at the journal's files.
const RECONNECT_WAIT: Duration = Duration::from_secs(1);

/// Events read at once where the stream left some out.
const GAP_PAGE: usize = 500;

/// Events read at once out of the journal's files.
const LOOK_PAGE: usize = 1_000;

/// The longest event that is followed, in bytes: a body has at most 32 MiB, and JSON may escape it.
const STREAM_EVENT_MAX: usize = 256 << 20;

pub(super) fn list(config: Option<&Path>, admin: &AdminArgs, filters: &Filters, print: PrintArgs, out: &mut Out) -> Result<u8, Stop> {
    let store = open(config, admin, out)?;
    let events = listing::events(&*store, &Query::of(filters)?)?;
    if !print.is_text() {
        for event in &events {
            print.line(event, out)?;
        }
        return Ok(YES);
    }
    if events.is_empty() {
        say("no events");
        return Ok(YES);
    }
    let rows: Vec<Vec<Cell>> = events.iter().map(row).collect();
    out.table(&HEAD, &rows)?;
    Ok(YES)
}

const HEAD: [&str; 6] = ["ID", "RECEIVED", "SOURCE", "TYPE", "COPIES", "SUBJECT"];

fn row(event: &Value) -> Vec<Cell> {
    let text = |field: &str| event.get(field).and_then(Value::as_str).unwrap_or("-");
    let copies = event.pointer("/folded/count").and_then(Value::as_u64).unwrap_or(0);
    let conflict = event.get("conflict").and_then(Value::as_bool).unwrap_or(false);
    let subject = match event.pointer("/problem/message").and_then(Value::as_str) {
        Some(problem) => Cell::styled(problem, WARN),
        None if conflict => Cell::styled(format!("{} (conflict)", text("subject")), WARN),
        None => Cell::plain(text("subject")),
    };
    vec![
        Cell::plain(text("id")),
        Cell::styled(to_millis(text("received")), DIM),
        Cell::plain(text("source")),
        Cell::plain(text("type")),
        Cell::plain(if copies == 0 { "-".to_owned() } else { format!("+{copies}") }),
        subject,
    ]
}

/// A stamp with at most three fraction digits.
pub(super) fn to_millis(stamp: &str) -> String {
    match stamp.strip_suffix('Z').and_then(|s| s.split_once('.')) {
        Some((seconds, fraction)) => format!("{seconds}.{:0<3.3}Z", fraction),
        None => stamp.to_owned(),
    }
}

pub(super) fn show(config: Option<&Path>, admin: &AdminArgs, id: &str, print: PrintArgs, out: &mut Out) -> Result<u8, Stop> {
    let id: crate::event::EventId = id.parse().map_err(Stop::no)?;
    let store = open(config, admin, out)?;
    let event = store.event(&id.to_string())?.ok_or_else(|| gone("event", id, id))?;
    if print.is_text() {
        out.pretty_json(&event)?;
    } else {
        print.line(&event, out)?;
    }
    Ok(YES)
}

/// Prints a stored event with what its rules made of it.
pub(super) fn explain(config: Option<&Path>, admin: &AdminArgs, id: &str, json: bool, out: &mut Out) -> Result<u8, Stop> {
    let id: crate::event::EventId = id.parse().map_err(Stop::no)?;
    let store = open(config, admin, out)?;
    let explained = store.explained(id)?.ok_or_else(|| gone("event", id, id))?;
    if json {
        out.json(&explained)?;
    } else {
        super::explain::show_stored(&explained, out)?;
    }
    Ok(YES)
}

/// Which events `tail` prints.
pub(super) struct Wanted<'a> {
    pub(super) event_type: Option<&'a str>,
    pub(super) source: Option<&'a str>,
}

impl Wanted<'_> {
    fn fits(&self, event: &Value) -> bool {
        let text = |field: &str| event.get(field).and_then(Value::as_str).unwrap_or_default();
        fits_type(self.event_type, text("type")) && self.source.is_none_or(|source| source == text("source"))
    }
}

pub(super) fn tail(
    config: Option<&Path>,
    admin: &AdminArgs,
    wanted: &Wanted<'_>,
    after: Option<&str>,
    print: PrintArgs,
    out: &mut Out,
) -> Result<u8, Stop> {
    let after = after.map(|id| id.parse::<crate::event::EventId>().map_err(Stop::unknown)).transpose()?;
    let meant = meant(config, admin)?;
    let client = Client::new(&meant)?;
    let files = meant.state.filter(|state| state.join("journal").is_dir()).map(|state| Files::of(&state));
    let mut follower = Follower { client: &client, files, last: after.map(|id| id.to_string()), wanted, print, out };
    client.runtime().block_on(async {
        tokio::select! {
            ended = follower.follow() => ended,
            _ = tokio::signal::ctrl_c() => Ok(INTERRUPTED),
        }
    })
}

/// Follows the stream over restarts of the daemon: the id of the last event seen is where it begins again.
struct Follower<'a> {
    client: &'a Client,
    /// The journal of this machine, for the time that nobody answers.
    files: Option<Files>,
    last: Option<String>,
    wanted: &'a Wanted<'a>,
    print: PrintArgs,
    out: &'a mut Out,
}

impl Follower<'_> {
    async fn follow(&mut self) -> Result<u8, Stop> {
        let mut reached = false;
        loop {
            let mut request = self.client.request(reqwest::Method::GET, "/api/v1/events/stream", &[]);
            if let Some(last) = &self.last {
                request = request.header("last-event-id", last);
            }
            match request.header("accept", "text/event-stream").send().await {
                Ok(answer) if answer.status().is_success() => {
                    reached = true;
                    if let Some(reason) = self.read(answer).await? {
                        say(&format!("the stream ended ({reason}); connecting again"));
                    }
                }
                // It opens its store, or is about to end: it will be back.
                Ok(answer) if answer.status() == reqwest::StatusCode::SERVICE_UNAVAILABLE => {}
                Ok(answer) => {
                    let status = answer.status().as_u16();
                    return Err(self.client.refusal(status, &answer.text().await.unwrap_or_default()));
                }
                Err(error) if reached || self.files.is_some() => {
                    if !std::mem::replace(&mut reached, true) {
                        say(&format!("no daemon at {} ({}); following the journal's files", self.client.shown(), why(&error)));
                    }
                    self.look()?;
                }
                Err(error) => {
                    return Err(Stop::unknown(format!(
                        "no daemon at {} ({}); is `tripline run` running?",
                        self.client.shown(),
                        why(&error)
                    )));
                }
            }
            tokio::time::sleep(RECONNECT_WAIT).await;
        }
    }

    /// Reads one stream to its end, and says why it ended.
    async fn read(&mut self, mut answer: reqwest::Response) -> Result<Option<String>, Stop> {
        let mut parser = SseParser::default();
        loop {
            let chunk = match answer.chunk().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => return Ok(Some("the daemon closed it".to_owned())),
                Err(error) => return Ok(Some(why(&error))),
            };
            for message in parser.feed(&chunk).map_err(Stop::unknown)? {
                let Ok(data) = super::client::read(&message.data) else { continue };
                if message.kind.as_deref() == Some("gap") {
                    let place = |field: &str| data.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
                    for event in self.between(&place("after"), &place("before")).await? {
                        self.print(&event)?;
                    }
                    continue;
                }
                self.print(&data)?;
                if message.id.is_some() {
                    self.last = message.id;
                }
            }
            self.out.flush()?;
        }
    }
}

impl Follower<'_> {
    /// Prints what the journal's files have behind the last event; at first, without one, only where they end.
    fn look(&mut self) -> Result<(), Stop> {
        let Some(files) = &self.files else { return Ok(()) };
        let Some(last) = self.last.clone() else {
            let newest = files.events(&Query { limit: 1, ..Query::default() })?;
            // Before the first event, every event is new.
            self.last = Some(newest.items.last().map_or_else(|| crate::event::EventId(0).to_string(), id_of));
            return Ok(());
        };
        for event in newer(&last, &mut |cursor| files.events(&Query { limit: LOOK_PAGE, cursor, ..Query::default() }))? {
            self.print(&event)?;
            self.last = Some(id_of(&event));
        }
        self.out.flush()
    }

    fn print(&mut self, event: &Value) -> Result<(), Stop> {
        if !self.wanted.fits(event) {
            return Ok(());
        }
        if !self.print.is_text() { self.print.line(event, self.out) } else { self.out.row(&row(event), &[26, 24, 12, 32, 6]) }
    }

    /// The events that the stream left out because we were too far behind, oldest first.
    async fn between(&self, after: &str, before: &str) -> Result<Vec<Value>, Stop> {
        let mut found = Vec::new();
        let mut cursor = before.to_owned();
        loop {
            let query = [("limit", GAP_PAGE.to_string()), ("cursor", cursor.clone())];
            let answer = async { self.client.request(reqwest::Method::GET, "/api/v1/events", &query).send().await?.bytes().await };
            let bytes = answer.await.map_err(|error| Stop::unknown(format!("the daemon did not answer: {}", why(&error))))?;
            let page = super::client::read(&String::from_utf8_lossy(&bytes)).unwrap_or_default();
            // Ids are as long as each other, so they sort as texts.
            let id = |event: &Value| event.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
            let items = page.get("items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            let newer = items.iter().rev().take_while(|event| id(event).as_str() > after);
            let known = found.len();
            found.extend(newer.cloned());
            let whole = found.len() - known == items.len();
            match page.get("next").and_then(Value::as_str) {
                Some(next) if whole && next != cursor => next.clone_into(&mut cursor),
                _ => break,
            }
        }
        found.reverse();
        Ok(found)
    }
}

fn id_of(event: &Value) -> String {
    event.get("id").and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// The events behind `last`, oldest first, out of pages that begin with the newest. Ids are as long as each other, so
/// they sort as texts.
fn newer(last: &str, page: &mut dyn FnMut(Option<String>) -> Result<Page, Stop>) -> Result<Vec<Value>, Stop> {
    let (mut found, mut cursor) = (Vec::new(), None);
    loop {
        let Page { items, next } = page(cursor.take())?;
        let (known, size) = (found.len(), items.len());
        found.extend(items.into_iter().rev().take_while(|event| id_of(event).as_str() > last));
        if next.is_none() || found.len() - known < size {
            found.reverse();
            return Ok(found);
        }
        cursor = next;
    }
}

/// One message of an event stream.
#[derive(Debug, Default, PartialEq, Eq)]
struct Message {
    kind: Option<String>,
    id: Option<String>,
    data: String,
}

/// Takes an event stream apart (WHATWG HTML, "server-sent events"): `event`, `id` and `data`.
#[derive(Default)]
struct SseParser {
    bytes: Vec<u8>,
    current: Message,
}

impl SseParser {
    /// The messages that are complete with this piece.
    fn feed(&mut self, piece: &[u8]) -> Result<Vec<Message>, String> {
        self.bytes.extend_from_slice(piece);
        if self.bytes.len() > STREAM_EVENT_MAX {
            return Err(format!("an event of the stream is longer than {STREAM_EVENT_MAX} bytes"));
        }
        let mut messages = Vec::new();
        let mut begin = 0;
        while let Some(length) = self.bytes[begin..].iter().position(|byte| *byte == b'\n') {
            let line = String::from_utf8_lossy(&self.bytes[begin..begin + length]).into_owned();
            begin += length + 1;
            let line = line.strip_suffix('\r').unwrap_or(&line);
            if line.is_empty() {
                let message = std::mem::take(&mut self.current);
                if !message.data.is_empty() {
                    messages.push(message);
                }
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => self.current.kind = Some(value.to_owned()),
                "id" => self.current.id = Some(value.to_owned()),
                "data" => {
                    if !self.current.data.is_empty() {
                        self.current.data.push('\n');
                    }
                    self.current.data.push_str(value);
                }
                _ => {}
            }
        }
        self.bytes.drain(..begin);
        Ok(messages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_read_however_it_is_cut() {
        let stream = b": hello\n\nid: 1\ndata: {\"a\":\ndata: 1}\n\nevent: x\r\nid: 2\r\ndata: b\r\n\r\ndata: half";
        for size in [1, 2, 7, stream.len()] {
            let mut parser = SseParser::default();
            let messages: Vec<Message> = stream.chunks(size).flat_map(|piece| parser.feed(piece).expect("fits")).collect();
            let expected = [("1", "{\"a\":\n1}"), ("2", "b")];
            let found: Vec<_> = messages.iter().map(|m| (m.id.as_deref().unwrap_or_default(), m.data.as_str())).collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn what_is_newer_is_found_over_pages_and_comes_oldest_first() {
        let mut asked = Vec::new();
        let mut page = |cursor: Option<String>| {
            let end: u32 = cursor.as_deref().map_or(10, |c| c.parse().expect("a cursor"));
            asked.push(end);
            let items = (end.saturating_sub(3)..end).map(|n| serde_json::json!({"id": n.to_string()})).collect();
            Ok(Page { items, next: (end > 3).then(|| (end - 3).to_string()) })
        };
        let found = newer("4", &mut page).expect("events");
        assert_eq!(found.iter().map(id_of).collect::<Vec<_>>(), ["5", "6", "7", "8", "9"]);
        assert!(newer("9", &mut page).expect("none").is_empty());
        assert_eq!(newer("", &mut page).expect("all").len(), 10);
        assert_eq!(asked, [10, 7, 10, 10, 7, 4, 1]);
    }

    #[test]
    fn stamps_are_shown_in_milliseconds() {
        assert_eq!(to_millis("2026-11-22T10:00:00.1234567Z"), "2026-11-22T10:00:00.123Z");
        assert_eq!(to_millis("2026-11-22T10:00:00.1Z"), "2026-11-22T10:00:00.100Z");
        assert_eq!(to_millis("2026-11-22T10:00:00Z"), "2026-11-22T10:00:00Z");
        assert_eq!(to_millis("-"), "-");
    }
}
