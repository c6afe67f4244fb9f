//! Many items for one queue in one request (BulkAddQueueItems, each item by itself), and what became of each.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::answer::{Meaning, What};
use super::call::Ask;
use super::urls::quoted;
use super::{CallTrace, Called, Orchestrator, bodies, json as read, not_left, unknown};
use crate::config::Edition;
use crate::http::client::excerpt;
use crate::rules::{Enqueue, FolderRef};
use crate::runs::{Class, Failure};

/// Items of one request.
pub const BULK_MAX: usize = 100;
/// How long a filter over references gets before the next request, in characters: some servers refuse longer URLs.
const FILTER_MAX: usize = 1_400;

/// An item that is to be added with others.
#[derive(Clone, Copy, Debug)]
pub struct Addition<'a> {
    /// The item.
    pub item: &'a Enqueue,
    /// Goes into ParentOperationId where the API version has it.
    pub parent: &'a str,
    /// Its Id is needed; the answer tells none, so that it is looked up.
    pub wants_id: bool,
}

/// What became of one of many items.
#[derive(Clone, Debug, PartialEq)]
pub enum BulkAdded {
    /// It was added: the item where its Id is needed, else `{Reference}`.
    New(Value),
    /// The queue enforces unique references and has one with this reference.
    AlreadyThere {
        /// It, where it was looked for and found.
        item: Option<Value>,
        /// Ours or somebody else's, where that is known.
        ours: Option<bool>,
    },
    /// It was not added.
    Failed(Failure),
}

/// What an answer says of an item before anything is looked up.
#[derive(Clone, Debug, PartialEq)]
enum Said {
    Added,
    Duplicate,
    Failed(Failure),
}

impl Orchestrator {
    /// Adds up to [`BULK_MAX`] items to one queue (`POST /odata/Queues/UiPathODataSvc.BulkAddQueueItems`), each by itself: what
    /// is wrong with one says nothing of the others. One outcome for each item, in their order.
    pub async fn bulk_add(
        &self,
        folder: Option<&FolderRef>,
        queue: &str,
        items: &[Addition<'_>],
        timeout: Duration,
    ) -> Called<Vec<BulkAdded>> {
        let deadline = Instant::now() + timeout;
        let folder = folder.or(self.default_folder());
        if self.inner.config.edition == Edition::Standalone && !self.inner.version.is_known() {
            let probed = self.queue_until(folder, queue, deadline).await;
            if let Err(failure) = probed.result
                && !matches!(failure.class, Class::Configuration | Class::Refused | Class::Invalid | Class::Conflict)
            {
                return Called { trace: probed.trace, result: Err(not_left(failure)) };
            }
        }
        let (mut trace, mut said) = (CallTrace::default(), Ok(Meaning::Empty));
        // Once more without ParentOperationId, when an older API has just shown that it does not know it.
        for _ in 0..2 {
            let with_parent = self.inner.version.has_parent();
            let ask = Ask {
                what: What::AddItem { queue },
                folder,
                path: "Queues/UiPathODataSvc.BulkAddQueueItems".to_owned(),
                query: Vec::new(),
                body: Some(body(queue, items, |parent| self.inner.version.parent(parent))),
            };
            (trace, said) = self.inner.call(ask, deadline).await;
            if !self.refused_for_parent(&trace, with_parent) {
                break;
            }
        }
        let outcomes = match said {
            Ok(Meaning::Body(answer)) => outcomes(&answer, items.len(), &trace),
            Ok(_) => vec![Said::Failed(unknown(&trace, "no answer that tells what was added")); items.len()],
            Err(failure) => return Called { trace, result: Err(failure) },
        };
        let result = Ok(self.complete(folder, queue, items, outcomes, &trace, deadline).await);
        Called { trace, result }
    }

    /// Looks up what an answer does not tell and somebody needs.
    async fn complete(
        &self,
        folder: Option<&FolderRef>,
        queue: &str,
        items: &[Addition<'_>],
        outcomes: Vec<Said>,
        trace: &CallTrace,
        deadline: Instant,
    ) -> Vec<BulkAdded> {
        let wanted: Vec<&str> = items
            .iter()
            .zip(&outcomes)
            .filter(|(one, said)| match said {
                Said::Added => one.wants_id,
                Said::Duplicate => one.wants_id || !one.item.accept_duplicate,
                Said::Failed(_) => false,
            })
            .map(|(one, _)| one.item.reference.as_str())
            .collect();
        let found = self.items_by_reference(folder, queue, &wanted, deadline).await;
        let each = items.iter().zip(outcomes).map(|(one, said)| {
            let reference = &one.item.reference;
            match said {
                Said::Failed(failure) => BulkAdded::Failed(failure),
                Said::Added if !one.wants_id => BulkAdded::New(json!({ "Reference": reference })),
                Said::Added => match found.get(reference.as_str()) {
                    Some(item) => BulkAdded::New(item.clone()),
                    // Its Id is needed and not known: the look-up of unknown outcomes brings it.
                    None => BulkAdded::Failed(unknown(trace, "it was added and could not be looked up")),
                },
                Said::Duplicate => {
                    let item = found.get(reference.as_str()).cloned();
                    let ours = item.as_ref().filter(|_| self.inner.version.has_parent()).map(|item| bodies::is_ours(item, one.parent));
                    BulkAdded::AlreadyThere { item, ours }
                }
            }
        });
        each.collect()
    }

    /// The newest item for each reference, as far as they can be read.
    async fn items_by_reference(
        &self,
        folder: Option<&FolderRef>,
        queue: &str,
        references: &[&str],
        deadline: Instant,
    ) -> HashMap<String, Value> {
        let mut found = HashMap::new();
        if references.is_empty() {
            return found;
        }
        let Ok(Some(info)) = self.queue_until(folder, queue, deadline).await.result else { return found };
        for filter in filters(info.id, references) {
            let query = vec![("$filter", filter.as_str()), ("$orderby", "Id desc"), ("$top", "100")];
            let ask = Ask { what: What::ReadItems, folder, path: "QueueItems".to_owned(), query, body: None };
            let (_, Ok(Meaning::Body(body))) = self.inner.call(ask, deadline).await else { return found };
            for row in bodies::rows(&body).unwrap_or_default() {
                if let Some(reference) = read::text(row, "Reference") {
                    // The newest comes first.
                    found.entry(reference.to_owned()).or_insert_with(|| row.clone());
                }
            }
        }
        found
    }
}

/// The body of BulkAddQueueItems; each item as AddQueueItem has it, without the queue's name.
fn body<'a>(queue: &str, items: &[Addition<'a>], parent: impl Fn(&'a str) -> Option<&'a str>) -> Value {
    let rows = items.iter().map(|one| {
        let mut data = match bodies::add_queue_item(one.item, parent(one.parent)) {
            Value::Object(mut body) => body.remove("itemData").unwrap_or_default(),
            _ => Value::Null,
        };
        if let Some(data) = data.as_object_mut().map(|data: &mut Map<String, Value>| data) {
            data.remove("Name");
        }
        data
    });
    json!({ "queueName": queue, "commitType": "ProcessAllIndependently", "queueItems": rows.collect::<Vec<_>>() })
}

/// What the answer says of each of `count` items. Places are counted from 1; a failure without a place may mean any item
/// that is not named, so that nothing is known of those.
fn outcomes(answer: &Value, count: usize, trace: &CallTrace) -> Vec<Said> {
    let failed = read::field(answer, "FailedItems").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let success = read::field(answer, "Success").and_then(Value::as_bool);
    let mut named: Vec<Option<Said>> = vec![None; count];
    let mut somewhere = None;
    for row in failed {
        let place = read::field(row, "Ordinal").and_then(read::integer).and_then(|at| usize::try_from(at).ok()?.checked_sub(1));
        match place.and_then(|at| named.get_mut(at)) {
            Some(one) => *one = Some(judge(row, trace)),
            None => somewhere = Some(words(row)),
        }
    }
    let rest = match (success, somewhere) {
        (_, Some(why)) => Said::Failed(unknown(trace, &format!("an item of the batch failed and the answer does not say which ({why})"))),
        (Some(true), None) => Said::Added,
        (Some(false), None) if !failed.is_empty() => Said::Added,
        (Some(false), None) => Said::Failed(unknown(trace, "the batch failed and the answer names no item")),
        (None, None) => Said::Failed(unknown(trace, "no answer that tells what was added")),
    };
    named.into_iter().map(|one| one.unwrap_or_else(|| rest.clone())).collect()
}

fn words(row: &Value) -> String {
    let text = |name| read::text(row, name).unwrap_or_default();
    excerpt(format!("{} {}", text("ErrorCode"), text("ErrorMessage")).trim().as_bytes())
}

fn judge(row: &Value, trace: &CallTrace) -> Said {
    let code = read::field(row, "ErrorCode");
    let is = |name: &str, number: i64| {
        code.is_some_and(|code| code.as_str().is_some_and(|text| text.eq_ignore_ascii_case(name)) || read::integer(code) == Some(number))
    };
    if is("DuplicateReference", 1016) {
        return Said::Duplicate;
    }
    let message = format!("the item is refused by BulkAddQueueItems: {}", words(row));
    Said::Failed(Failure { class: Class::Refused, status: trace.status, message, retry_after: None })
}

/// Filters that find the references, each short enough for a URL.
fn filters(queue: i64, references: &[&str]) -> Vec<String> {
    let mut filters = Vec::new();
    let mut terms: Vec<String> = Vec::new();
    let mut length = 0;
    let mut close = |terms: &mut Vec<String>| {
        if !terms.is_empty() {
            filters.push(format!("QueueDefinitionId eq {queue} and ({})", terms.join(" or ")));
            terms.clear();
        }
    };
    for reference in references {
        let term = format!("Reference eq {}", quoted(reference));
        if length + term.len() > FILTER_MAX {
            close(&mut terms);
            length = 0;
        }
        length += term.len() + 4;
        terms.push(term);
    }
    close(&mut terms);
    filters
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(answer: &Value, count: usize) -> Vec<&'static str> {
        let trace = CallTrace { request: "POST https://host/bulk".to_owned(), status: Some(200), bytes: 1, exchange: None };
        outcomes(answer, count, &trace)
            .iter()
            .map(|one| match one {
                Said::Added => "added",
                Said::Duplicate => "duplicate",
                Said::Failed(failure) if failure.class == Class::Refused => "refused",
                Said::Failed(failure) if failure.class == Class::Unknown => "unknown",
                Said::Failed(_) => "other",
            })
            .collect()
    }

    #[test]
    fn places_are_counted_from_one_and_a_failure_touches_its_item_only() {
        let all = json!({"Success": true, "Message": "", "FailedItems": []});
        assert_eq!(said(&all, 3), ["added"; 3]);
        let some = json!({"Success": false, "FailedItems": [
            {"Ordinal": 2, "ErrorCode": "DuplicateReference", "ErrorMessage": "x"},
            {"Ordinal": 3, "ErrorCode": "QueueItemContentSizeExceeded", "ErrorMessage": "too long"},
        ]});
        assert_eq!(said(&some, 4), ["added", "duplicate", "refused", "added"]);
        let numbered = json!({"success": false, "failedItems": [{"ordinal": "1", "errorCode": 1016}]});
        assert_eq!(said(&numbered, 2), ["duplicate", "added"]);
    }

    #[test]
    fn of_a_failure_without_a_place_nothing_is_known() {
        for row in
            [json!({"Ordinal": null, "ErrorCode": "X"}), json!({"ErrorCode": "X"}), json!({"Ordinal": 0}), json!({"Ordinal": 9}), json!(7)]
        {
            let answer = json!({"Success": false, "FailedItems": [{"Ordinal": 1, "ErrorCode": "DuplicateReference"}, row]});
            assert_eq!(said(&answer, 3), ["duplicate", "unknown", "unknown"], "{answer}");
        }
        for odd in [json!({"Success": false}), json!({"Success": false, "FailedItems": null}), json!({}), json!([]), json!("yes")] {
            assert_eq!(said(&odd, 2), ["unknown"; 2], "{odd}");
        }
    }

    #[test]
    fn filters_hold_all_references_and_stay_short() {
        let references: Vec<String> = (0..100).map(|n| format!("it's-{n}-{}", "x".repeat(90))).collect();
        let borrowed: Vec<&str> = references.iter().map(String::as_str).collect();
        let filters = filters(7, &borrowed);
        assert!(filters.len() > 5 && filters.iter().all(|filter| filter.len() < FILTER_MAX + 200), "{}", filters.len());
        let all = filters.join(" ");
        assert!(references.iter().all(|reference| all.contains(&reference.replace('\'', "''"))));
        assert_eq!(super::filters(7, &["a"]), ["QueueDefinitionId eq 7 and (Reference eq 'a')"]);
        assert!(super::filters(7, &[]).is_empty());
    }
}
