//! Lists: which rows a request sees, as a page in OData's envelope.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::sandbox::call::{Answer, Call, Refusal};
use crate::sandbox::dto::{self, FEED_COLUMNS, ITEM_COLUMNS, ItemRow};
use crate::sandbox::limits::{ITEMS_TOP, LIST_TOP};
use crate::sandbox::model::{Exception, FeedRow, JobState, Named, Status};
use crate::sandbox::odata::{Columns, Kind, Query};
use crate::sandbox::world::World;
use crate::time::Timestamp;

const FOLDER_COLUMNS: Columns = &[
    ("Id", Kind::Int),
    ("Key", Kind::Guid),
    ("DisplayName", Kind::Text),
    ("FullyQualifiedName", Kind::Text),
    ("ParentId", Kind::Int),
    ("FolderType", Kind::Text),
];
const QUEUE_COLUMNS: Columns = &[
    ("Id", Kind::Int),
    ("Key", Kind::Guid),
    ("Name", Kind::Text),
    ("Description", Kind::Text),
    ("EnforceUniqueReference", Kind::Bool),
    ("AcceptAutomaticallyRetry", Kind::Bool),
    ("MaxNumberOfRetries", Kind::Int),
    ("CreationTime", Kind::Time),
    ("OrganizationUnitId", Kind::Int),
];
const RELEASE_COLUMNS: Columns =
    &[("Id", Kind::Int), ("Key", Kind::Guid), ("Name", Kind::Text), ("ProcessKey", Kind::Text), ("ProcessVersion", Kind::Text)];
const JOB_COLUMNS: Columns = &[
    ("Id", Kind::Int),
    ("Key", Kind::Guid),
    ("State", Kind::Enum(JobState::NAMES)),
    ("ReleaseName", Kind::Text),
    ("Release/Name", Kind::Text),
    ("Reference", Kind::Text),
    ("BatchExecutionKey", Kind::Guid),
    ("SourceType", Kind::Text),
    ("CreationTime", Kind::Time),
    ("StartTime", Kind::Time),
    ("EndTime", Kind::Time),
    ("ResumeTime", Kind::Time),
    ("LastModificationTime", Kind::Time),
];
const OLD_JOB_COLUMNS: Columns = match JOB_COLUMNS.split_last() {
    // The last one is LastModificationTime.
    Some((_, rest)) => rest,
    None => JOB_COLUMNS,
};
const COUNTER_COLUMNS: Columns = &[("Id", Kind::Int), ("QueueDefinitionId", Kind::Int), ("QueueDefinitionName", Kind::Text)];
const WEBHOOK_COLUMNS: Columns = &[
    ("Id", Kind::Int),
    ("Key", Kind::Guid),
    ("Name", Kind::Text),
    ("Url", Kind::Text),
    ("Enabled", Kind::Bool),
    ("SubscribeToAllEvents", Kind::Bool),
];

/// A list in OData's envelope; `context` is the part behind `$metadata#`.
pub(in crate::sandbox) fn envelope(context: &str, count: Option<usize>, rows: Vec<Value>) -> Answer {
    let mut body = Map::new();
    body.insert("@odata.context".to_owned(), format!("http://sandbox/odata/$metadata#{context}").into());
    if let Some(count) = count {
        body.insert("@odata.count".to_owned(), count.into());
    }
    body.insert("value".to_owned(), Value::Array(rows));
    Answer::json(200, &body)
}

impl World {
    /// QueueItems of a folder. `drift` moves the beginning of later pages.
    pub(in crate::sandbox) fn list_items(&self, call: &Call, folder: i64, drift: i64) -> Result<Answer, Refusal> {
        let old = self.is_old();
        if old && call.option("$orderby").is_some_and(|order| order.contains("DeferDate")) {
            return Err(Refusal::invalid("The query specified in the URI is not valid. DeferDate cannot be ordered by."));
        }
        let query = drifted(Query::read(call, ITEM_COLUMNS, if old { LIST_TOP } else { ITEMS_TOP })?, drift);
        let rows = self.item_rows(&query, folder);
        let page = query.page(rows);
        let expanded = query.expands("QueueDefinition");
        let rows = page.rows.iter().map(|row| {
            let mut value = dto::item(row.item, row.folder);
            if old {
                dto::as_of_2020(&mut value);
            }
            if expanded {
                value["QueueDefinition"] = dto::queue(row.queue, row.folder);
            }
            for name in ["Robot", "ReviewerUser"] {
                if query.expands(name) {
                    value[name] = Value::Null;
                }
            }
            query.pick(value)
        });
        Ok(envelope("QueueItems", query.count.then_some(page.total), rows.collect()))
    }

    /// The items that can pass the filter at all: by id, by reference, or from an id on.
    fn item_rows<'w>(&'w self, query: &Query, folder: i64) -> Box<dyn Iterator<Item = ItemRow<'w>> + 'w> {
        let row = move |item: &'w crate::sandbox::model::Item| {
            let queue = self.queues.get(&item.queue).filter(|q| q.folders.contains(&folder))?;
            Some(ItemRow { item, queue, folder: self.folders.get(&folder)? })
        };
        let Some(filter) = &query.filter else { return Box::new(self.items.values().filter_map(row)) };
        let chosen = filter.among("Id").or_else(|| {
            let reference = filter.equal_text("Reference")?;
            let queues = self.queues.values().filter(|q| q.folders.contains(&folder));
            Some(queues.flat_map(|q| self.with_reference(q.id, reference).iter().copied()).collect())
        });
        match (chosen, filter.at_least("Id")) {
            (Some(mut ids), _) => {
                ids.sort_unstable();
                ids.dedup();
                Box::new(ids.into_iter().filter_map(|id| self.items.get(&id)).filter_map(row))
            }
            (None, Some(first)) => Box::new(self.items.range(first..).map(|(_, item)| item).filter_map(row)),
            (None, None) => Box::new(self.items.values().filter_map(row)),
        }
    }

    /// QueueItemEvents of a folder.
    pub(in crate::sandbox) fn list_feed(&self, call: &Call, folder: i64, drift: i64) -> Result<Answer, Refusal> {
        if !self.options.feed {
            return Err(Refusal::new(404, 0, "ItemNotFound", "No HTTP resource was found that matches the request URI."));
        }
        let query = drifted(Query::read(call, FEED_COLUMNS, LIST_TOP)?, drift);
        // Rows stand in the order of their ids.
        let first = query.filter.as_ref().and_then(|filter| filter.at_least("Id")).unwrap_or(i64::MIN);
        let start = self.feed.partition_point(|row| row.id < first);
        let seen =
            |row: &&FeedRow| !self.hidden.contains(&row.id) && self.queues.get(&row.queue).is_some_and(|q| q.folders.contains(&folder));
        let page = query.page(self.feed.range(start..).filter(seen));
        let rows = page.rows.iter().map(|row| {
            let mut value = dto::feed(row);
            if self.feed_data > 0 {
                value["Data"] = "x".repeat(self.feed_data).into();
            }
            query.pick(value)
        });
        Ok(envelope("QueueItemEvents", query.count.then_some(page.total), rows.collect()))
    }

    /// GetQueueItemEventsHistory: the rows of the whole chain of attempts.
    pub(in crate::sandbox) fn item_history(&self, call: &Call, folder: i64, id: i64) -> Result<Answer, Refusal> {
        let key = self.item_in(folder, id)?.key.clone();
        let query = Query::read(call, FEED_COLUMNS, LIST_TOP)?;
        let page = query.page(self.feed.iter().filter(|row| self.items.get(&row.item).is_some_and(|item| item.key == key)));
        let rows = page.rows.iter().map(|row| query.pick(dto::feed(row))).collect();
        Ok(envelope("QueueItemEvents", query.count.then_some(page.total), rows))
    }

    /// Whether this is a version of 2020 or before.
    fn is_old(&self) -> bool {
        self.version() < 12.0
    }

    /// RetrieveQueuesProcessingStatus: counters of a folder's queues.
    pub(in crate::sandbox) fn list_counters(&self, call: &Call, folder: i64) -> Result<Answer, Refusal> {
        if !self.options.counters {
            return Err(Refusal::new(404, 0, "ItemNotFound", "No HTTP resource was found that matches the request URI."));
        }
        let mut counters: BTreeMap<i64, [i64; 5]> = BTreeMap::new();
        let mut last: BTreeMap<i64, Timestamp> = BTreeMap::new();
        for item in self.items.values() {
            let counts = counters.entry(item.queue).or_default();
            let business = item.failure.as_ref().is_some_and(|failure| failure.kind == Exception::BusinessException);
            match item.status {
                Status::New => counts[0] += 1,
                Status::InProgress => counts[1] += 1,
                Status::Successful => counts[2] += 1,
                Status::Failed | Status::Retried if business => counts[4] += 1,
                Status::Failed | Status::Retried => counts[3] += 1,
                Status::Abandoned | Status::Deleted => {}
            }
            if let Some(ended) = item.ended {
                let newest = last.entry(item.queue).or_insert(ended);
                *newest = ended.max(*newest);
            }
        }
        let rows = self.queues.values().filter(|q| q.folders.contains(&folder)).map(|q| {
            let [new, taken, done, failed, refused] = counters.get(&q.id).copied().unwrap_or_default();
            json!({
                "ItemsToProcess": new, "ItemsInProgress": taken, "QueueDefinitionId": q.id, "QueueDefinitionName": q.name,
                "SuccessfulTransactionsNo": done, "ApplicationExceptionsNo": failed, "BusinessExceptionsNo": refused,
                "TotalNumberOfTransactions": done + failed + refused, "LastProcessed": last.get(&q.id).map(|at| dto::rest(*at)), "Id": q.id,
            })
        });
        small(call, "QueueProcessingRecords", COUNTER_COLUMNS, rows.collect())
    }

    /// Folders of the tenant.
    pub(in crate::sandbox) fn list_folders(&self, call: &Call) -> Result<Answer, Refusal> {
        small(call, "Folders", FOLDER_COLUMNS, self.folders.values().map(dto::folder).collect())
    }

    /// Queues of a folder, or of all folders.
    pub(in crate::sandbox) fn list_queues(&self, call: &Call, folder: Option<i64>) -> Result<Answer, Refusal> {
        let seen = self.queues.values().filter(|q| folder.is_none_or(|folder| q.folders.contains(&folder)));
        let rows = seen.filter_map(|q| Some(dto::queue(q, self.folders.get(&folder.or(q.folders.first().copied())?)?))).collect();
        small(call, "QueueDefinitions", QUEUE_COLUMNS, rows)
    }

    /// Processes of a folder.
    pub(in crate::sandbox) fn list_releases(&self, call: &Call, folder: i64) -> Result<Answer, Refusal> {
        let seen = self.releases.values().filter(|r| r.folder == folder);
        small(call, "Releases", RELEASE_COLUMNS, seen.filter_map(|r| Some(dto::release(r, self.folders.get(&r.folder)?))).collect())
    }

    /// Jobs of a folder, without their arguments.
    pub(in crate::sandbox) fn list_jobs(&self, call: &Call, folder: i64) -> Result<Answer, Refusal> {
        let rows = self.jobs.values().filter(|j| j.folder == folder).filter_map(|j| {
            let mut row = self.job_row(j.id, false)?;
            let release = self.releases.get(&j.release)?;
            row["Release"] = dto::release_of_job(release);
            Some(row)
        });
        let mut rows: Vec<Value> = rows.collect();
        let old = self.is_old();
        if old {
            for row in rows.iter_mut().filter_map(Value::as_object_mut) {
                row.shift_remove("LastModificationTime");
            }
        }
        let columns = if old { OLD_JOB_COLUMNS } else { JOB_COLUMNS };
        let query = Query::read(call, columns, LIST_TOP)?;
        let page = query.page(rows.into_iter());
        let rows = page.rows.into_iter().map(|mut row| {
            // A navigation property is there when it is asked for.
            if !query.expands("Release")
                && let Some(fields) = row.as_object_mut()
            {
                fields.shift_remove("Release");
            }
            query.pick(row)
        });
        Ok(envelope("Jobs", query.count.then_some(page.total), rows.collect()))
    }

    /// Webhooks of the tenant.
    pub(in crate::sandbox) fn list_webhooks(&self, call: &Call) -> Result<Answer, Refusal> {
        small(call, "Webhooks", WEBHOOK_COLUMNS, self.webhook_rows())
    }
}

fn small(call: &Call, context: &str, columns: Columns, rows: Vec<Value>) -> Result<Answer, Refusal> {
    let query = Query::read(call, columns, LIST_TOP)?;
    let page = query.page(rows.into_iter());
    Ok(envelope(context, query.count.then_some(page.total), page.rows.into_iter().map(|row| query.pick(row)).collect()))
}

fn drifted(mut query: Query, drift: i64) -> Query {
    if query.skip > 0 {
        let shift = usize::try_from(drift.unsigned_abs()).unwrap_or(usize::MAX);
        query.skip = if drift > 0 { query.skip.saturating_sub(shift) } else { query.skip.saturating_add(shift) };
    }
    query
}
