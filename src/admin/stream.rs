//! `GET /api/v1/events/stream`: new events as server-sent events, from now on or from where the client was.
//!
//! The journal wakes the stream and is read at the client's pace: a slow client makes the daemon keep nothing. One that
//! is too far behind gets a `gap` event with the ids between which it must page through `/api/v1/events` itself.

use std::convert::Infallible;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderName};
use hyper::{HeaderMap, StatusCode, Uri};
use serde_json::json;
use tokio::sync::{Mutex, OwnedSemaphorePermit, watch};
use tokio_stream::StreamExt;
use tokio_util::sync::CancellationToken;

use super::query::{self, Filter};
use super::reads::Reads;
use super::{Api, STREAMS_MAX};
use crate::event::EventId;
use crate::http::server::Problem;
use crate::journal::{EventQuery, Journal, PAGE_BYTES_MAX};

/// How far behind a client may be and still get every event here.
pub(super) const BEHIND_MAX: usize = 1000;
/// Events read from the journal at once.
const PAGE: usize = 100;
/// A comment is sent after this long without an event, so that proxies and clients know that we are there.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// What a client that knows events up to an id says.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Answers with the stream.
pub(super) fn follow(api: &Api, headers: &HeaderMap, uri: &Uri) -> Result<Response, Problem> {
    let filter = Arc::new(query::filter(uri)?);
    let reads = api.reads()?;
    let last = match headers.get(LAST_EVENT_ID).map(|value| value.to_str().ok().and_then(|text| text.trim().parse().ok())) {
        None => None,
        Some(Some(id)) => Some(id),
        Some(None) => return Err(Problem::new(StatusCode::BAD_REQUEST, "header `Last-Event-ID`: expected an event id")),
    };
    let permit = Arc::clone(&api.streams)
        .try_acquire_owned()
        .map_err(|_| Problem::new(StatusCode::SERVICE_UNAVAILABLE, format!("there are {STREAMS_MAX} streams already")).retry_after(60))?;
    let mut newest = reads.journal.newest();
    let after = last.unwrap_or(*newest.borrow_and_update());
    if last.is_some() {
        // The client knows less than there is: the first look is due at once.
        newest.mark_changed();
    }
    let tail = Tail { reads, newest, after, filter, stop: api.stop.clone(), _permit: permit };
    let tail = Arc::new(Mutex::new(tail));
    let batches = tokio_stream::iter(std::iter::repeat(()))
        .then(move |()| {
            let tail = Arc::clone(&tail);
            async move { tail.lock().await.next().await }
        })
        .take_while(Option::is_some)
        .map(|batch| Ok::<_, Infallible>(batch.unwrap_or_default()));
    let begin = tokio_stream::once(Ok(Bytes::from_static(b"retry: 2000\n\n")));
    Ok(([(CONTENT_TYPE, "text/event-stream")], Body::from_stream(begin.chain(batches))).into_response())
}

/// One client's place in the journal.
struct Tail {
    reads: Reads,
    newest: watch::Receiver<EventId>,
    after: EventId,
    filter: Arc<Filter>,
    stop: CancellationToken,
    _permit: OwnedSemaphorePermit,
}

impl Tail {
    /// What is to be sent next; `None` ends the stream.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return None,
                changed = self.newest.changed() => changed.ok()?,
                () = tokio::time::sleep(KEEP_ALIVE) => return Some(Bytes::from_static(b": keep-alive\n\n")),
            }
            let (after, filter) = (self.after, Arc::clone(&self.filter));
            // A failed read ends the stream: the client comes again with the id that it has.
            let (events, gap) = self.reads.read(move |journal| since(journal, after, &filter)).await.ok()?;
            let mut text = String::new();
            if let (true, Some((first, _))) = (gap, events.first()) {
                let place = json!({"after": after, "before": first});
                // Writing into a string does not fail.
                write!(text, "event: gap\ndata: {place}\n\n").ok();
            }
            self.after = events.last().map_or(after, |(id, _)| *id);
            text.extend(events.into_iter().map(|(_, event)| event));
            if !text.is_empty() {
                return Some(Bytes::from(text));
            }
        }
    }
}

/// The events after `after`, oldest first, each as it is sent (nothing where it is not wanted), and whether there are more than
/// [`BEHIND_MAX`], or longer ones than fit into a page: the newest of them then.
fn since(journal: &Journal, after: EventId, wanted: &Filter) -> std::io::Result<(Vec<(EventId, String)>, bool)> {
    let mut found: Vec<(EventId, String)> = Vec::new();
    let (mut before, mut bytes) = (None, 0);
    loop {
        let mut ids = Vec::new();
        let page = journal.event_texts(&EventQuery { limit: PAGE, before, ..EventQuery::default() }, |event| {
            ids.push(event.id);
            let is_sent = event.id > after && wanted.takes(event.event_type(), &event.source);
            if is_sent { format!("id: {}\ndata: {}\n\n", event.id, event.to_json()) } else { String::new() }
        })?;
        bytes += page.items.iter().map(String::len).sum::<usize>();
        let known = ids.last().is_none_or(|id| *id <= after);
        found.extend(ids.into_iter().zip(page.items.into_iter().rev()).take_while(|(id, _)| *id > after));
        before = page.next;
        let all = known || before.is_none();
        if all || found.len() >= BEHIND_MAX || bytes >= PAGE_BYTES_MAX {
            found.reverse();
            return Ok((found, !all));
        }
    }
}
