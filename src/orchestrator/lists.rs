//! The lists that polling reads: folders, queues, the change feed, items by Id. Pages go by Id, never by `$skip`, so that
//! nothing that comes or goes meanwhile moves a row past the reader.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::answer::{Meaning, What};
use super::call::Ask;
use super::json::{field, integer, text};
use super::{CallTrace, Called, Orchestrator, bodies, invalid};
use crate::event::Folder;
use crate::rules::FolderRef;
use crate::runs::Who;
use crate::time::Timestamp;

/// Rows of one page of the feed and of the small lists.
pub const PAGE_ROWS: usize = 1000;

/// Items that are asked for at once: more are refused on Automation Cloud.
pub const ITEMS_AT_ONCE: usize = 100;

/// Pages of a small list (folders, queues) that are read at most.
const SMALL_PAGES_MAX: usize = 50;

/// What a page of the feed is asked from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FeedFrom {
    /// Rows behind this Id.
    After(i64),
    /// Rows from this moment on.
    Since(Timestamp),
}

impl Orchestrator {
    /// The rows of a list; an answer that is no list is invalid, never "nothing there".
    pub(super) async fn list(
        &self,
        who: Who,
        what: What<'_>,
        folder: Option<&FolderRef>,
        path: &str,
        query: Vec<(&str, &str)>,
        deadline: Instant,
    ) -> Called<Vec<Value>> {
        let ask = Ask { what, folder, path: path.to_owned(), query, body: None };
        let (trace, said) = self.inner.call_as(who, ask, deadline).await;
        let result = match said {
            Ok(Meaning::Body(body)) => bodies::rows(&body).map(<[Value]>::to_vec).ok_or_else(|| invalid(&trace, "no list in the answer")),
            Ok(_) => Err(invalid(&trace, "an empty answer where a list is due")),
            Err(failure) => Err(failure),
        };
        Called { trace, result }
    }

    /// All rows of a small list, by ascending Id.
    pub(super) async fn all(&self, what: What<'_>, folder: Option<&FolderRef>, path: &str, deadline: Instant) -> Called<Vec<Value>> {
        let mut all: Vec<Value> = Vec::new();
        let mut last: Option<i64> = None;
        let mut trace = CallTrace::default();
        for _ in 0..SMALL_PAGES_MAX {
            let after = last.map(|last| format!("Id gt {last}"));
            let mut query = vec![("$orderby", "Id"), ("$top", "100")];
            if let Some(after) = &after {
                query.insert(0, ("$filter", after));
            }
            let page = self.list(Who::Polling, what, folder, path, query, deadline).await;
            trace = page.trace;
            let rows = match page.result {
                Ok(rows) => rows,
                Err(failure) => return Called { trace, result: Err(failure) },
            };
            // A server that ignores the filter gives the same rows again: nothing is new, so that is the end.
            let known = last;
            let count = rows.len();
            for row in rows {
                let id = field(&row, "Id").and_then(integer);
                if id.is_some_and(|id| known.is_none_or(|known| id > known)) {
                    last = last.max(id);
                    all.push(row);
                }
            }
            if count < 100 || last == known {
                break;
            }
        }
        Called { trace, result: Ok(all) }
    }

    /// The folders that the application may see (`GET /odata/Folders`).
    pub async fn folders(&self, timeout: Duration) -> Called<Vec<Folder>> {
        let Called { trace, result } = self.all(What::ReadFolders, None, "Folders", Instant::now() + timeout).await;
        let folder = |row: &Value| Folder {
            id: field(row, "Id").and_then(integer),
            key: text(row, "Key").map(str::to_owned),
            path: text(row, "FullyQualifiedName").or_else(|| text(row, "DisplayName")).map(str::to_owned),
        };
        Called { trace, result: result.map(|rows| rows.iter().map(folder).collect()) }
    }

    /// The names of a folder's processes (`GET /odata/Releases`).
    pub async fn processes(&self, folder: &FolderRef, timeout: Duration) -> Called<Vec<String>> {
        let Called { trace, result } = self.all(What::ReadRelease, Some(folder), "Releases", Instant::now() + timeout).await;
        let names = |rows: Vec<Value>| rows.iter().filter_map(|row| text(row, "Name").map(str::to_owned)).collect();
        Called { trace, result: result.map(names) }
    }

    /// The version of its API, as far as its answers told.
    #[must_use]
    pub fn api_version(&self) -> Option<u32> {
        self.inner.version.known()
    }

    /// How far its clock is from ours, and whether it is ahead, as its last answer told.
    #[must_use]
    pub fn clock_skew(&self) -> Option<(Duration, bool)> {
        self.inner.version.skew()
    }

    /// The queues of a folder (`GET /odata/QueueDefinitions`), each as its row.
    pub async fn queues(&self, folder: &FolderRef, timeout: Duration) -> Called<Vec<Value>> {
        self.all(What::ReadQueue, Some(folder), "QueueDefinitions", Instant::now() + timeout).await
    }

    /// A page of a folder's change feed by ascending Id (`GET /odata/QueueItemEvents`), at most so many rows and [`PAGE_ROWS`].
    pub async fn feed(&self, folder: &FolderRef, from: FeedFrom, most: usize, timeout: Duration) -> Called<Vec<Value>> {
        let filter = match from {
            FeedFrom::After(id) => format!("Id gt {id}"),
            FeedFrom::Since(at) => format!("Timestamp ge {}", at.to_jiff().strftime("%Y-%m-%dT%H:%M:%S%.3fZ")),
        };
        let top = most.min(PAGE_ROWS).to_string();
        let query = vec![("$filter", filter.as_str()), ("$orderby", "Id"), ("$top", top.as_str())];
        self.list(Who::Polling, What::ReadFeed, Some(folder), "QueueItemEvents", query, Instant::now() + timeout).await
    }

    /// The newest row of a folder's change feed.
    pub async fn newest_in_feed(&self, folder: &FolderRef, timeout: Duration) -> Called<Option<Value>> {
        let query = vec![("$orderby", "Id desc"), ("$top", "1")];
        let Called { trace, result } =
            self.list(Who::Polling, What::ReadFeed, Some(folder), "QueueItemEvents", query, Instant::now() + timeout).await;
        Called { trace, result: result.map(|rows| rows.into_iter().next()) }
    }

    /// Items of a folder by Id, at most [`ITEMS_AT_ONCE`]; those that are gone are left out.
    pub async fn items(&self, folder: &FolderRef, ids: &[i64], timeout: Duration) -> Called<Vec<Value>> {
        let ids: Vec<String> = ids.iter().take(ITEMS_AT_ONCE).map(i64::to_string).collect();
        let (filter, top) = (format!("Id in ({})", ids.join(",")), ids.len().to_string());
        let query = vec![("$filter", filter.as_str()), ("$top", top.as_str())];
        self.list(Who::Polling, What::ReadItems, Some(folder), "QueueItems", query, Instant::now() + timeout).await
    }
}
