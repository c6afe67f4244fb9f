//! Pages of a folder's change feed, as they come.

use serde_json::Value;

use super::items::is_too_long;
use super::pass::REQUEST_TIMEOUT;
use super::place::Place;
use crate::orchestrator::{FeedFrom, PAGE_ROWS};
use crate::runs::Failure;
use crate::time::Timestamp;

/// How many rows are asked for, where more of them make an answer that cannot be read.
const FEWER: [usize; 4] = [PAGE_ROWS, 100, 10, 1];

/// A page of the feed.
pub(super) struct FeedPage {
    pub(super) rows: Vec<Value>,
    /// Whether more may stand behind it.
    pub(super) full: bool,
}

/// Asks for a page; for a smaller one where the answer is too long, or cut.
pub(super) async fn page(place: &Place<'_>, from: FeedFrom) -> Result<FeedPage, Failure> {
    let mut sizes = FEWER.into_iter().peekable();
    while let Some(most) = sizes.next() {
        match place.ask("QueueItemEvents", place.source.orchestrator.feed(&place.folder, from, most, REQUEST_TIMEOUT)).await {
            Ok(rows) => {
                // Servers cut pages at round numbers: any other length is the end.
                let full = rows.len() >= most || (!rows.is_empty() && rows.len().is_multiple_of(100));
                return Ok(FeedPage { rows, full });
            }
            Err(failure) if is_too_long(&failure) && sizes.peek().is_some() => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(FeedPage { rows: Vec::new(), full: false })
}

/// The newest row.
pub(super) async fn newest(place: &Place<'_>) -> Result<Option<Value>, Failure> {
    place.ask("QueueItemEvents", place.source.orchestrator.newest_in_feed(&place.folder, REQUEST_TIMEOUT)).await
}

/// A row's own Id.
pub(super) fn row_id(row: &Value) -> Option<i64> {
    row.get("Id").and_then(|value| value.as_i64().or_else(|| value.as_str()?.trim().parse().ok()))
}

/// When a row was made; nothing where that means no moment.
pub(super) fn row_time(row: &Value) -> Option<Timestamp> {
    row.get("Timestamp")?.as_str().and_then(Timestamp::parse_lenient).and_then(Timestamp::sane)
}
