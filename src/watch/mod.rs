//! Watches: tells what should have happened and did not. What it goes by is kept in the journal by the router; what it told is
//! kept together with the event that tells it. Knows nothing of rules that may want it.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::event::{Change, Event, EventId, Key, Verified, Via};
use crate::journal::{AppendError, Delivery, Journal, Kept, Space};
use crate::panics;
use crate::rules::{Absent, RulesInForce, Seen, Stay, Stuck, Watch, WatchKind};
use crate::time::{Timestamp, format_duration};

/// Between two looks, at least.
const LOOK_MIN: Duration = Duration::from_millis(250);
/// And at most: what is due in between is told that much late.
const LOOK_MAX: Duration = Duration::from_secs(15);
/// Kept values that are read at once.
const PAGE: usize = 512;
/// Items that are told of in one go; the rest follows at the next look.
const TOLD_AT_ONCE: usize = 256;

/// What watches work with.
#[derive(Clone, Debug)]
pub struct Watching {
    /// What they go by, and where their events go.
    pub journal: Journal,
    /// The watches are with the rules; a reload changes them.
    pub rules: Arc<ArcSwap<RulesInForce>>,
    /// The time.
    pub clock: Clock,
}

/// Why a look ended early.
enum Ended {
    /// It is tried again.
    Later(String),
    /// The journal has ended.
    Journal,
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self::Later(error.to_string())
    }
}

impl From<AppendError> for Ended {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Full(why) => Self::Later(why),
            AppendError::Ended(_) => Self::Journal,
        }
    }
}

/// Looks until `stop`.
pub async fn run(watching: Watching, stop: CancellationToken) {
    let started = watching.clock.now();
    let mut next: BTreeMap<String, Timestamp> = BTreeMap::new();
    let mut generation_of_watches: Option<Vec<String>> = None;
    loop {
        let rules = watching.rules.load_full();
        let watches = rules.set.watches().all();
        let now = watching.clock.now();
        let keys: Vec<String> = watches.iter().map(|watch| watch.key()).collect();
        if generation_of_watches.as_ref() != Some(&keys) {
            // Those of watches that are no more, or are others now.
            match watching.forget(&keys).await {
                Ok(()) => generation_of_watches = Some(keys),
                Err(Ended::Journal) => return,
                Err(Ended::Later(why)) => tracing::warn!(why, "cannot tidy up behind former watches; trying again"),
            }
        }
        let mut wait = LOOK_MAX;
        for watch in watches {
            let due = next.entry(watch.key()).or_insert(now);
            // Set back: then it is looked at once.
            if *due > now && due.since(now) <= LOOK_MAX {
                wait = wait.min(due.since(now));
                continue;
            }
            let again = match panics::outlived(Box::pin(watching.look(watch, started, now))).await {
                Some(Ok(again)) => again,
                Some(Err(Ended::Journal)) => return,
                None => {
                    let pause = panics::PAUSE.as_secs();
                    tracing::error!(watch = &*watch.name, "looking after what is watched panicked; it is begun again in {pause} s");
                    panics::PAUSE
                }
                Some(Err(Ended::Later(why))) => {
                    tracing::warn!(watch = &*watch.name, why, "cannot look after what is watched; trying again");
                    LOOK_MAX
                }
            };
            let again = again.clamp(LOOK_MIN, LOOK_MAX);
            *due = now.plus(again);
            wait = wait.min(again);
        }
        next.retain(|key, _| watches.iter().any(|watch| watch.key() == *key));
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait.max(LOOK_MIN)) => {}
        }
    }
}

impl Watching {
    /// Looks after one watch. Gives when to look again.
    async fn look(&self, watch: &Watch, started: Timestamp, now: Timestamp) -> Result<Duration, Ended> {
        #[cfg(test)]
        panics::on_purpose::here(&watch.name);
        match &watch.kind {
            WatchKind::Stuck(stuck) => self.stuck(watch, stuck, now).await,
            WatchKind::Absent(absent) => self.absent(watch, absent, started, now).await,
        }
    }

    /// Forgets what is kept for watches that are not among these.
    async fn forget(&self, keys: &[String]) -> Result<(), Ended> {
        let mut after: Option<String> = None;
        loop {
            let page = self.journal.kept_after(Space::Watch, "", after.as_deref(), PAGE)?;
            let full = page.len() == PAGE;
            after = page.last().map(|(name, _)| name.clone());
            let of_none = |name: &String| !keys.iter().any(|key| name.strip_prefix(key.as_str()).is_some_and(|rest| rest.starts_with('/')));
            let kept: Vec<Kept> = page.into_iter().map(|(name, _)| name).filter(of_none).map(|name| value(name, None)).collect();
            if !kept.is_empty() {
                self.journal.keep(kept).await?;
            }
            if !full {
                return Ok(());
            }
        }
    }

    /// Tells of items that are stuck, and forgets those that went on long ago. Gives when to look again.
    async fn stuck(&self, watch: &Watch, stuck: &Stuck, now: Timestamp) -> Result<Duration, Ended> {
        let mut again = LOOK_MAX.min(stuck.longer_than / 20);
        let mut told = 0;
        let mut after: Option<String> = None;
        let prefix = watch.stays();
        loop {
            let page = self.journal.kept_after(Space::Watch, &prefix, after.as_deref(), PAGE)?;
            let full = page.len() == PAGE;
            after = page.last().map(|(name, _)| name.clone());
            let mut over = Vec::new();
            for (name, kept) in page {
                let item = name.strip_prefix(&prefix).and_then(|item| item.parse::<i64>().ok());
                let (Some(item), Ok(stay)) = (item, serde_json::from_slice::<Stay>(&kept)) else {
                    over.push(value(name, None));
                    continue;
                };
                if stuck.is_over(&stay, now) {
                    over.extend([value(name, None), value(watch.told_key(Some(item)), None)]);
                    continue;
                }
                let Some(due) = stuck.due(&stay) else { continue };
                if due > now {
                    again = again.min(due.since(now));
                    continue;
                }
                let mark = Bytes::from(stay.since.as_millis().to_string());
                if told < TOLD_AT_ONCE && self.journal.kept(Space::Watch, &watch.told_key(Some(item)))? != Some(mark.clone()) {
                    let delivery = self.stuck_event(watch, stuck, item, &stay, now)?;
                    let kept = value(watch.told_key(Some(item)), Some(mark));
                    self.journal.accept_keeping(delivery, vec![kept]).await?;
                    tracing::info!(watch = &*watch.name, item, since = %stay.since, "an item is stuck");
                    told += 1;
                }
            }
            if !over.is_empty() {
                self.journal.keep(over).await?;
            }
            if !full {
                return Ok(if told == TOLD_AT_ONCE { LOOK_MIN } else { again });
            }
        }
    }

    fn stuck_event(&self, watch: &Watch, stuck: &Stuck, item: i64, stay: &Stay, now: Timestamp) -> Result<Delivery, Ended> {
        // Retention may have taken it: then what is kept has to do.
        let event = match stay.event.parse::<EventId>() {
            Ok(id) => self.journal.event(id)?,
            Err(_) => None,
        };
        let field = |name: &str| event.as_ref().and_then(|event| event.data().get(name).cloned());
        let mut of_item = field("QueueItem").unwrap_or_else(|| json!({"Id": item, "Reference": stay.reference}));
        of_item["Status"] = json!(stay.status.as_str());
        let data = json!({
            "Queue": field("Queue").unwrap_or_else(|| json!({"Name": stuck.queue})),
            "QueueItem": of_item,
            "stuck": {
                "watch": watch.name, "status": stay.status.as_str(), "since": stay.since,
                "longer_than": format_duration(stuck.longer_than), "for": format_duration(now.since(stay.since)),
            },
        });
        let key = format!("watch:{}|item|{item}|tripline.item.stuck|{}", watch.key(), stay.since.as_millis());
        let subject = format!("queues/{}/items/{item}", stuck.queue);
        Ok(delivery(watch, event.as_deref(), "tripline.item.stuck", key, subject, data, now))
    }

    /// Tells of what did not come. Gives when to look again.
    async fn absent(&self, watch: &Watch, absent: &Absent, started: Timestamp, now: Timestamp) -> Result<Duration, Ended> {
        let again = LOOK_MAX.min(absent.within / 20);
        let read = |name: String| -> Result<Option<Timestamp>, Ended> {
            Ok(self.journal.kept(Space::Watch, &name)?.and_then(|value| serde_json::from_slice(&value).ok()))
        };
        let Some(begun) = read(watch.begun_key())? else {
            self.journal.keep(vec![value(watch.begun_key(), Some(Bytes::from(json!(now).to_string())))]).await?;
            return Ok(again);
        };
        let seen = self.journal.kept(Space::Watch, &watch.seen_key())?;
        let seen: Seen = seen.and_then(|value| serde_json::from_slice(&value).ok()).unwrap_or_default();
        let told = read(watch.told_key(None))?;
        let Some(moment) = absent.absence(&seen, begun, started, told, now) else { return Ok(again) };
        let data = json!({
            "watch": watch.name, "events": absent.events, "within": format_duration(absent.within), "at": moment, "last": seen.until(moment),
        });
        let key = format!("watch:{}|tripline.absent|{}", watch.key(), moment.as_millis());
        let delivery = delivery(watch, None, "tripline.absent", key, format!("sources/{}", watch.name), data, now);
        let kept = value(watch.told_key(None), Some(Bytes::from(json!(moment).to_string())));
        self.journal.accept_keeping(delivery, vec![kept]).await?;
        tracing::info!(watch = &*watch.name, %moment, "what is watched did not come");
        Ok(again)
    }
}

fn value(key: String, value: Option<Bytes>) -> Kept {
    Kept { space: Space::Watch, key, value }
}

fn delivery(watch: &Watch, of: Option<&Event>, event_type: &str, key: String, subject: String, data: Value, now: Timestamp) -> Delivery {
    let change = Change {
        time: Some(now),
        tenant: of.and_then(|event| event.change.tenant.clone()),
        folder: of.and_then(|event| event.change.folder.clone()),
        subject: Some(Arc::from(subject)),
        data: Arc::new(data),
        ..Change::told(Key::exact(key), event_type)
    };
    Delivery {
        source: Arc::clone(&watch.name),
        via: Via::Internal,
        orchestrator: of.and_then(|event| event.orchestrator.clone()).or_else(|| watch.orchestrator.clone()),
        verified: Verified::Yes,
        received: now,
        body: Bytes::new(),
        delivery_id: None,
        changes: vec![change],
    }
}
