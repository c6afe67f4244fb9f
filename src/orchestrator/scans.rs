//! Lists that are read by what changed, where no change feed tells it: items and jobs of a folder, page by page. Pages go
//! by Id, so that nothing that changes meanwhile moves a row past the reader.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::answer::What;
use super::call::Ask;
use super::{Called, Orchestrator, answer::Meaning, invalid};
use crate::config::Edition;
use crate::rules::FolderRef;
use crate::runs::{Failure, Who};
use crate::time::Timestamp;

/// The most queues that a filter names; of more the whole folder is read.
pub const QUEUES_NAMED_MAX: usize = 20;

/// Rows of one page that every edition and version gives.
pub const SCAN_ROWS: usize = 100;

/// Rows of one page where the service has no limit that Automation Cloud has.
pub const SCAN_ROWS_STANDALONE: usize = 1000;

/// Which items.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Items {
    /// All.
    Any,
    /// Added at or after.
    Created(Timestamp),
    /// Added at or after, and before.
    CreatedWithin(Timestamp, Timestamp),
    /// Taken by a robot at or after.
    Started(Timestamp),
    /// Ended at or after.
    Ended(Timestamp),
    /// New or in progress, up to this Id.
    Open(i64),
}

/// Which jobs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Jobs {
    /// Changed at or after, by `LastModificationTime`.
    Modified(Timestamp),
    /// Created, started or ended at or after: for versions whose jobs do not say when they changed.
    Stamped(Timestamp),
}

/// Which rows of the matching ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rows {
    /// By ascending Id from behind this one on, at most so many.
    After(i64, usize),
    /// The newest one alone.
    Newest,
}

impl Orchestrator {
    /// How many rows a page may be asked for: learnt from a refusal where the edition says too little.
    #[must_use]
    pub fn scan_rows(&self) -> usize {
        if self.inner.config.edition == Edition::Standalone { SCAN_ROWS_STANDALONE } else { SCAN_ROWS }
    }

    /// Items of a folder (`GET /odata/QueueItems`), of these queues (at most [`QUEUES_NAMED_MAX`]; all when empty).
    pub async fn scan_items(&self, folder: &FolderRef, queues: &[i64], which: Items, rows: Rows, timeout: Duration) -> Called<Vec<Value>> {
        let stamp = |at: Timestamp| at.to_jiff().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
        let mut terms = Vec::new();
        if !queues.is_empty() && queues.len() <= QUEUES_NAMED_MAX {
            let named: Vec<String> = queues.iter().map(|id| format!("QueueDefinitionId eq {id}")).collect();
            terms.push(format!("({})", named.join(" or ")));
        }
        match which {
            Items::Any => {}
            Items::Created(at) => terms.push(format!("CreationTime ge {}", stamp(at))),
            Items::CreatedWithin(from, to) => {
                terms.push(format!("CreationTime ge {} and CreationTime lt {}", stamp(from), stamp(to)));
            }
            Items::Started(at) => terms.push(format!("StartProcessing ge {}", stamp(at))),
            Items::Ended(at) => terms.push(format!("EndProcessing ge {}", stamp(at))),
            Items::Open(id) => terms.push(format!("(Status eq 'New' or Status eq 'InProgress') and Id le {id}")),
        }
        let newest = match which {
            Items::Started(_) => "StartProcessing desc",
            Items::Ended(_) => "EndProcessing desc",
            _ => "Id desc",
        };
        self.scan(What::ReadItems, folder, "QueueItems", terms, rows, newest, &[], timeout).await
    }

    /// Jobs of a folder (`GET /odata/Jobs`) with their robot and process. Lists have no arguments.
    pub async fn scan_jobs(&self, folder: &FolderRef, which: Jobs, rows: Rows, timeout: Duration) -> Called<Vec<Value>> {
        let stamp = |at: Timestamp| at.to_jiff().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
        let (term, newest) = match which {
            Jobs::Modified(at) => (format!("LastModificationTime ge {}", stamp(at)), "LastModificationTime desc"),
            Jobs::Stamped(at) => {
                let at = stamp(at);
                (format!("(CreationTime ge {at} or StartTime ge {at} or EndTime ge {at})"), "Id desc")
            }
        };
        self.scan(What::ReadJobs, folder, "Jobs", vec![term], rows, newest, &[("$expand", "Robot,Release")], timeout).await
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one request")]
    async fn scan(
        &self,
        what: What<'_>,
        folder: &FolderRef,
        path: &str,
        mut terms: Vec<String>,
        rows: Rows,
        newest: &str,
        more: &[(&'static str, &str)],
        timeout: Duration,
    ) -> Called<Vec<Value>> {
        let (order, top) = match rows {
            Rows::After(after, top) => {
                terms.push(format!("Id gt {after}"));
                ("Id", top.to_string())
            }
            Rows::Newest => (newest, "1".to_owned()),
        };
        let filter = terms.join(" and ");
        let mut query = vec![("$orderby", order), ("$top", top.as_str())];
        if !filter.is_empty() {
            query.insert(0, ("$filter", filter.as_str()));
        }
        query.extend(more);
        self.list(Who::Polling, what, Some(folder), path, query, Instant::now() + timeout).await
    }

    /// The counters of a folder's queues (`RetrieveQueuesProcessingStatus`): cheap to ask for, and they move when a queue does.
    pub async fn queue_counters(&self, folder: &FolderRef, timeout: Duration) -> Called<Vec<Value>> {
        let path = "QueueProcessingRecords/UiPathODataSvc.RetrieveQueuesProcessingStatus";
        self.list(Who::Polling, What::ReadQueue, Some(folder), path, vec![("$top", "1000")], Instant::now() + timeout).await
    }

    /// The oldest row of a folder's change feed.
    pub async fn oldest_in_feed(&self, folder: &FolderRef, timeout: Duration) -> Called<Option<Value>> {
        let query = vec![("$orderby", "Id"), ("$top", "1")];
        let Called { trace, result } =
            self.list(Who::Polling, What::ReadFeed, Some(folder), "QueueItemEvents", query, Instant::now() + timeout).await;
        Called { trace, result: result.map(|rows| rows.into_iter().next()) }
    }

    /// A job by Id with its arguments, for polling; `None` where it is gone.
    pub async fn whole_job(&self, folder: &FolderRef, id: i64, timeout: Duration) -> Result<Option<Value>, Failure> {
        let ask = Ask { what: What::ReadJob, folder: Some(folder), path: format!("Jobs({id})"), query: Vec::new(), body: None };
        let (trace, said) = self.inner.call_as(Who::Polling, ask, Instant::now() + timeout).await;
        match said? {
            Meaning::Body(body) if body.is_object() => Ok(Some(body)),
            Meaning::Missing => Ok(None),
            _ => Err(invalid(&trace, "no job in the answer")),
        }
    }
}
