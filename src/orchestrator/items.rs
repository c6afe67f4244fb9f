//! Queues and their items.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::answer::{Meaning, What};
use super::call::Ask;
use super::urls::quoted;
use super::{
    Added, CallTrace, Called, NO_CONTENT, Orchestrator, QueueInfo, bodies, folder_key, invalid, json as read, not_left, not_there, unknown,
};
use crate::config::Edition;
use crate::rules::{Enqueue, FolderRef};
use crate::runs::Class;

impl Orchestrator {
    /// Adds one queue item (`POST /odata/Queues/UiPathODataSvc.AddQueueItem`). `parent` goes into ParentOperationId where the
    /// API version has it. The item of a 409/1016 is looked up so that its Id is known.
    ///
    /// A 204 is looked up too; where that finds nothing, the value is `{Reference}`. Any other success without an Id does not tell
    /// that an item was added: its outcome is unknown.
    pub async fn add_queue_item(&self, folder: Option<&FolderRef>, item: &Enqueue, parent: &str, timeout: Duration) -> Called<Added> {
        let deadline = Instant::now() + timeout;
        let folder = folder.or(self.default_folder());
        if self.inner.config.edition == Edition::Standalone && !self.inner.version.is_known() {
            // Any answer tells the version, and the queue is asked for anyway when the outcome has to be looked up.
            let probed = self.queue_until(folder, &item.queue, deadline).await;
            // A refusal of the read alone is passed over: the add says for itself what is wrong.
            if let Err(failure) = probed.result
                && !matches!(failure.class, Class::Configuration | Class::Refused | Class::Invalid | Class::Conflict)
            {
                return Called { trace: probed.trace, result: Err(not_left(failure)) };
            }
        }
        let (mut trace, mut said) = (CallTrace::default(), Ok(Meaning::Empty));
        let mut sent_parent = None;
        // Once more without the field, when an older API has just shown that it does not know it: a 400 did nothing.
        for _ in 0..2 {
            sent_parent = self.inner.version.parent(parent);
            let ask = Ask {
                what: What::AddItem { queue: &item.queue },
                folder,
                path: "Queues/UiPathODataSvc.AddQueueItem".to_owned(),
                query: Vec::new(),
                body: Some(bodies::add_queue_item(item, sent_parent)),
            };
            (trace, said) = self.inner.call(ask, deadline).await;
            if !self.refused_for_parent(&trace, sent_parent.is_some()) {
                break;
            }
        }
        let result = match said {
            Ok(Meaning::Body(body)) if read::field(&body, "Id").is_some() => Ok(Added::New(body)),
            Ok(Meaning::Empty) if trace.status == Some(NO_CONTENT) => {
                let found = self.find_item(folder, &item.queue, &item.reference, deadline).await;
                Ok(Added::New(found.unwrap_or_else(|| json!({ "Reference": item.reference }))))
            }
            Ok(Meaning::Duplicate) => {
                let found = self.find_item(folder, &item.queue, &item.reference, deadline).await;
                let ours = found.as_ref().zip(sent_parent).map(|(found, parent)| bodies::is_ours(found, parent));
                Ok(Added::AlreadyThere { item: found, ours })
            }
            Ok(_) => Err(unknown(&trace, "no Id of an item in the answer")),
            Err(failure) => Err(failure),
        };
        Called { trace, result }
    }

    /// An item by Id (`GET /odata/QueueItems({id})`).
    pub async fn item(&self, folder: Option<&FolderRef>, id: i64, timeout: Duration) -> Called<Option<Value>> {
        self.one_item(folder, format!("QueueItems({id})"), timeout).await
    }

    async fn one_item(&self, folder: Option<&FolderRef>, path: String, timeout: Duration) -> Called<Option<Value>> {
        let ask = Ask { what: What::ReadItem, folder: folder.or(self.default_folder()), path, query: Vec::new(), body: None };
        let (trace, said) = self.inner.call(ask, Instant::now() + timeout).await;
        let result = match said {
            Ok(Meaning::Body(body)) if body.is_object() => Ok(Some(body)),
            Ok(Meaning::Missing) => Ok(None),
            Ok(_) => Err(invalid(&trace, "no item in the answer")),
            Err(failure) => Err(failure),
        };
        Called { trace, result }
    }

    /// The newest attempt of a retried item (`GET /odata/QueueItems({id})/…GetItemLastRetry`).
    pub async fn last_retry(&self, folder: Option<&FolderRef>, id: i64, timeout: Duration) -> Called<Option<Value>> {
        self.one_item(folder, format!("QueueItems({id})/UiPath.Server.Configuration.OData.GetItemLastRetry"), timeout).await
    }

    /// The newest item of a queue with a reference. A queue that is not there is a failure, not an absent item.
    pub async fn item_by_reference(
        &self,
        folder: Option<&FolderRef>,
        queue: &str,
        reference: &str,
        timeout: Duration,
    ) -> Called<Option<Value>> {
        self.item_by_reference_until(folder, queue, reference, Instant::now() + timeout).await
    }

    async fn item_by_reference_until(
        &self,
        folder: Option<&FolderRef>,
        queue: &str,
        reference: &str,
        deadline: Instant,
    ) -> Called<Option<Value>> {
        let folder = folder.or(self.default_folder());
        let known = self.queue_until(folder, queue, deadline).await;
        let id = match known.result {
            Ok(Some(info)) => info.id,
            Ok(None) => return Called { result: Err(not_there(&known.trace, "queue", queue, folder)), trace: known.trace },
            Err(failure) => return Called { trace: known.trace, result: Err(failure) },
        };
        let filter = format!("QueueDefinitionId eq {id} and Reference eq {}", quoted(reference));
        let query = vec![("$filter", filter.as_str()), ("$orderby", "Id desc"), ("$top", "1")];
        self.first_row(What::ReadItems, folder, "QueueItems", query, deadline).await
    }

    /// A queue by name; cached for some minutes.
    pub async fn queue(&self, folder: Option<&FolderRef>, name: &str, timeout: Duration) -> Called<Option<QueueInfo>> {
        self.queue_until(folder.or(self.default_folder()), name, Instant::now() + timeout).await
    }

    pub(super) async fn queue_until(&self, folder: Option<&FolderRef>, name: &str, deadline: Instant) -> Called<Option<QueueInfo>> {
        let key = folder_key(folder);
        if let Some(info) = self.inner.queues.get(&key, name, self.inner.clock.now()) {
            return Called { trace: CallTrace::default(), result: Ok(Some(info)) };
        }
        let filter = format!("Name eq {}", quoted(name));
        let query = vec![("$filter", filter.as_str()), ("$top", "1")];
        let Called { trace, result } = self.first_row(What::ReadQueue, folder, "QueueDefinitions", query, deadline).await;
        let result = result.and_then(|row| match row.as_ref().map(bodies::queue_info) {
            None => Ok(None),
            Some(Some(info)) => {
                self.inner.queues.put(&key, name, info.clone(), self.inner.clock.now());
                Ok(Some(info))
            }
            Some(None) => Err(invalid(&trace, "no Id and Name in the queue")),
        });
        Called { trace, result }
    }

    /// The item of an add that told no Id. That it cannot be read changes nothing about the add.
    async fn find_item(&self, folder: Option<&FolderRef>, queue: &str, reference: &str, deadline: Instant) -> Option<Value> {
        self.item_by_reference_until(folder, queue, reference, deadline).await.result.ok().flatten()
    }
}
