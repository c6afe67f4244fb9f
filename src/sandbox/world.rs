//! Everything that the simulated Orchestrator keeps, and how it finds it again.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use base64::Engine as _;
use serde_json::Value;

use crate::sandbox::Options;
use crate::sandbox::auth::Tokens;
use crate::sandbox::call::{Call, Refusal};
use crate::sandbox::delivery::Delivery;
use crate::sandbox::faults::Faults;
use crate::sandbox::limits::{CONTENT_MAX, FEED_MAX, FOLDERS_MAX, QUEUE_NAME_MAX, QUEUES_MAX, RELEASES_MAX};
use crate::sandbox::model::{Action, FeedRow, Folder, Item, Job, Priority, Queue, Release, Status};
use crate::sandbox::records::Records;
use crate::sandbox::throttle::Throttle;
use crate::sandbox::webhooks::Webhook;
use crate::time::Timestamp;

/// EventIds begin so much above other ids, so that nobody takes one for the other.
const EVENT_IDS_FROM: i64 = 7_000_000_000;

/// The whole state. One lock guards it; no method waits, so it is whole between two requests.
#[derive(Debug)]
pub(in crate::sandbox) struct World {
    pub(in crate::sandbox) options: Options,
    pub(in crate::sandbox) folders: BTreeMap<i64, Folder>,
    pub(in crate::sandbox) queues: BTreeMap<i64, Queue>,
    pub(in crate::sandbox) items: BTreeMap<i64, Item>,
    pub(in crate::sandbox) feed: VecDeque<FeedRow>,
    pub(in crate::sandbox) releases: BTreeMap<i64, Release>,
    pub(in crate::sandbox) jobs: BTreeMap<i64, Job>,
    pub(in crate::sandbox) webhooks: BTreeMap<i64, Webhook>,
    pub(in crate::sandbox) tokens: Tokens,
    pub(in crate::sandbox) faults: Faults,
    pub(in crate::sandbox) records: Records,
    pub(in crate::sandbox) throttle: Throttle,
    /// Deliveries that wait for a worker.
    pub(in crate::sandbox) outbox: VecDeque<Delivery>,
    /// Deliveries that a reordering holds back.
    pub(in crate::sandbox) held: Vec<Delivery>,
    /// New items per queue, in the order in which transactions start.
    waiting: HashMap<i64, BTreeSet<(Priority, i64)>>,
    /// Items by queue and reference in lower case: the database's unique index knows no case.
    references: HashMap<(i64, String), Vec<i64>>,
    next_id: i64,
    next_event: i64,
    /// Rows of the feed have Ids so much below those of other things.
    feed_shift: i64,
    /// So many next rows of the feed are hidden, and those that are.
    hide_next: u64,
    pub(in crate::sandbox) hidden: BTreeSet<i64>,
    /// Characters in `Data` of every row of the feed.
    pub(in crate::sandbox) feed_data: usize,
    chance: u64,
}

impl World {
    /// The state at the start.
    pub(in crate::sandbox) fn new(options: Options) -> Self {
        let now = options.clock.now();
        let base = options.first_id.unwrap_or(now.as_millis() / 10 - 170_000_000_000).max(1);
        let given = options.faults.clone();
        let mut world = Self {
            options,
            folders: BTreeMap::new(),
            queues: BTreeMap::new(),
            items: BTreeMap::new(),
            feed: VecDeque::new(),
            releases: BTreeMap::new(),
            jobs: BTreeMap::new(),
            webhooks: BTreeMap::new(),
            tokens: Tokens::default(),
            faults: Faults::default(),
            records: Records::default(),
            throttle: Throttle::default(),
            outbox: VecDeque::new(),
            held: Vec::new(),
            waiting: HashMap::new(),
            references: HashMap::new(),
            next_id: base,
            next_event: base + EVENT_IDS_FROM,
            feed_shift: 0,
            hide_next: 0,
            hidden: BTreeSet::new(),
            feed_data: 0,
            chance: getrandom::u64().unwrap_or(0x5eed),
        };
        for (id, path) in [(1, "Shared"), (2, "Finance")] {
            let key = world.guid();
            world.folders.insert(id, Folder { id, key, path: path.into(), parent: None });
        }
        for fault in given {
            if let Err(why) = world.faults.add(&fault) {
                tracing::warn!(why = %why.message, "a fault of the sandbox is left out");
            }
        }
        if world.options.seed {
            for (name, unique, retries) in [("Invoices", true, 3), ("Payments", true, 1), ("Invoices-Review", true, 0), ("Open", false, 0)]
            {
                let id = world.id();
                let key = world.guid();
                let queue = Queue {
                    id,
                    key,
                    name: name.into(),
                    description: String::new(),
                    max_retries: retries,
                    auto_retry: retries > 0,
                    retry_abandoned: false,
                    unique,
                    created: now,
                    folders: vec![2],
                };
                world.queues.insert(id, queue);
            }
            let release = world.add_release("InvoiceProcessing", 2, now);
            debug_assert!(release.is_ok(), "the seed is within every limit");
        }
        world
    }

    /// The next id of anything.
    pub(in crate::sandbox) fn id(&mut self) -> i64 {
        self.next_id += 1;
        self.next_id
    }

    /// The next EventId: a decimal number in a string.
    pub(in crate::sandbox) fn event_id(&mut self) -> String {
        self.next_event += 1;
        self.next_event.to_string()
    }

    /// A number without a pattern (splitmix64): for GUIDs and chances, never for secrets.
    pub(in crate::sandbox) fn random(&mut self) -> u64 {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.chance;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// True with this probability.
    pub(in crate::sandbox) fn happens(&mut self, probability: f64) -> bool {
        probability > 0.0 && ((self.random() >> 11) as f64 / (1_u64 << 53) as f64) < probability
    }

    /// A new GUID.
    pub(in crate::sandbox) fn guid(&mut self) -> Arc<str> {
        let (a, b) = (self.random(), self.random());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            a >> 32,
            (a >> 16) & 0xffff,
            a & 0xfff,
            0x8000 | (b >> 48 & 0x3fff),
            b & 0xffff_ffff_ffff
        )
        .into()
    }

    /// The folder that a request names in its headers, in the order in which Orchestrator looks at them.
    pub(in crate::sandbox) fn folder_of(&self, call: &Call) -> Result<i64, Refusal> {
        let encoded = call.header("x-uipath-folderpath-encoded").map(decode_path);
        let found = if let Some(id) = call.header("x-uipath-organizationunitid") {
            id.trim().parse().ok().filter(|id| self.folders.contains_key(id))
        } else if let Some(key) = call.header("x-uipath-folderkey") {
            self.folders.values().find(|f| f.key.eq_ignore_ascii_case(key.trim())).map(|f| f.id)
        } else if let Some(path) = encoded {
            path.and_then(|path| self.folder_by_path(&path))
        } else if let Some(path) = call.header("x-uipath-folderpath") {
            self.folder_by_path(path)
        } else {
            return Err(Refusal::new(400, 1101, "RequiredOrganizationUnit", "An organization unit is required for this action."));
        };
        found.ok_or_else(|| {
            Refusal::new(400, 1100, "InvalidOrganizationUnit", "Folder does not exist or the user does not have access to the folder.")
        })
    }

    /// A folder by its fully qualified name.
    pub(in crate::sandbox) fn folder_by_path(&self, path: &str) -> Option<i64> {
        let path = path.trim().trim_matches('/');
        self.folders.values().find(|f| f.path.eq_ignore_ascii_case(path)).map(|f| f.id)
    }

    /// The folder at `path`, made with those above it where missing.
    pub(in crate::sandbox) fn ensure_folder(&mut self, path: &str) -> Result<i64, Refusal> {
        let path = path.trim().trim_matches('/');
        if let Some(id) = self.folder_by_path(path) {
            return Ok(id);
        }
        if path.is_empty() || self.folders.len() >= FOLDERS_MAX {
            return Err(Refusal::invalid(format!("A folder needs a name, and there are at most {FOLDERS_MAX} folders.")));
        }
        let parent = match path.rsplit_once('/') {
            Some((above, _)) => Some(self.ensure_folder(above)?),
            None => None,
        };
        let (id, key) = (self.id(), self.guid());
        self.folders.insert(id, Folder { id, key, path: path.into(), parent });
        Ok(id)
    }

    /// A queue by name, as seen from a folder.
    pub(in crate::sandbox) fn queue_in(&self, folder: i64, name: &str) -> Result<i64, Refusal> {
        self.queues
            .values()
            .find(|q| q.folders.contains(&folder) && q.name.eq_ignore_ascii_case(name))
            .map(|q| q.id)
            .ok_or_else(|| Refusal::missing(format!("{name} does not exist.")))
    }

    /// Makes a queue from `body` (`QueueDefinitionDto`), visible in `folders`.
    pub(in crate::sandbox) fn add_queue(&mut self, body: &Value, folders: Vec<i64>, now: Timestamp) -> Result<i64, Refusal> {
        let name = body.get("Name").and_then(Value::as_str).unwrap_or_default().trim().to_owned();
        if name.is_empty() || name.chars().count() > QUEUE_NAME_MAX {
            return Err(Refusal::argument("ParameterInvalid", format!("Name is required and has at most {QUEUE_NAME_MAX} characters.")));
        }
        if folders.iter().any(|folder| self.queue_in(*folder, &name).is_ok()) {
            return Err(Refusal::conflict(1001, "NameAlreadyUsed", format!("The name {name} is already used.")));
        }
        if self.queues.len() >= QUEUES_MAX {
            return Err(Refusal::invalid(format!("There are at most {QUEUES_MAX} queues.")));
        }
        let flag = |name: &str| body.get(name).and_then(Value::as_bool).unwrap_or(false);
        let (id, key) = (self.id(), self.guid());
        let queue = Queue {
            id,
            key,
            name: name.into(),
            description: body.get("Description").and_then(Value::as_str).unwrap_or_default().to_owned(),
            max_retries: body.get("MaxNumberOfRetries").and_then(Value::as_i64).unwrap_or(0).clamp(0, 50),
            auto_retry: flag("AcceptAutomaticallyRetry"),
            retry_abandoned: flag("RetryAbandonedItems"),
            unique: flag("EnforceUniqueReference"),
            created: now,
            folders,
        };
        self.queues.insert(id, queue);
        Ok(id)
    }

    /// Makes a process.
    pub(in crate::sandbox) fn add_release(&mut self, name: &str, folder: i64, now: Timestamp) -> Result<i64, Refusal> {
        if name.is_empty() || self.releases.values().any(|r| r.folder == folder && &*r.name == name) {
            return Err(Refusal::conflict(1001, "NameAlreadyUsed", format!("The name {name} is empty or already used.")));
        }
        if self.releases.len() >= RELEASES_MAX {
            return Err(Refusal::invalid(format!("There are at most {RELEASES_MAX} processes.")));
        }
        let (id, key) = (self.id(), self.guid());
        self.releases.insert(id, Release { id, key, name: name.into(), folder, created: now });
        Ok(id)
    }

    /// What `/sandbox/feed` asks for.
    pub(in crate::sandbox) fn change_feed(&mut self, body: &Value) -> usize {
        if let Some(keep) = body.get("keep").and_then(Value::as_u64) {
            while self.feed.len() as u64 > keep {
                self.feed.pop_front();
            }
        }
        if body.get("restart").and_then(Value::as_bool) == Some(true) {
            self.feed.clear();
            self.feed_shift = self.next_id;
        }
        let data = body.get("data").and_then(Value::as_u64).and_then(|data| usize::try_from(data).ok());
        self.feed_data = data.map_or(self.feed_data, |data| data.min(CONTENT_MAX));
        self.hide_next = body.get("hide").and_then(Value::as_u64).unwrap_or(self.hide_next);
        if body.get("show").and_then(Value::as_bool) == Some(true) {
            self.hidden.clear();
        }
        self.feed.len()
    }

    /// Removes a queue with its items.
    pub(in crate::sandbox) fn remove_queue(&mut self, id: i64) -> Result<(), Refusal> {
        self.queues.remove(&id).ok_or_else(|| Refusal::missing(format!("Queue {id} does not exist.")))?;
        self.items.retain(|_, item| item.queue != id);
        self.waiting.remove(&id);
        self.references.retain(|(queue, _), _| *queue != id);
        Ok(())
    }

    /// Puts an item where it belongs: the table and the indexes.
    pub(in crate::sandbox) fn insert_item(&mut self, item: Item) {
        if let Some(reference) = &item.reference {
            self.references.entry((item.queue, reference.to_lowercase())).or_default().push(item.id);
        }
        if item.status == Status::New {
            self.waiting.entry(item.queue).or_default().insert((item.priority, item.id));
        }
        self.items.insert(item.id, item);
    }

    /// Removes an item and what points to it, but for its rows in the feed. False when there is none.
    pub(in crate::sandbox) fn take_away(&mut self, id: i64) -> bool {
        let Some(item) = self.items.remove(&id) else { return false };
        if let Some(waiting) = self.waiting.get_mut(&item.queue) {
            waiting.remove(&(item.priority, item.id));
        }
        let key = item.reference.as_ref().map(|reference| (item.queue, reference.to_lowercase()));
        if let Some(same) = key.and_then(|key| self.references.get_mut(&key)) {
            same.retain(|id| *id != item.id);
        }
        true
    }

    /// Undoes the adding of items that nobody has seen yet.
    pub(in crate::sandbox) fn take_back(&mut self, ids: &[i64]) {
        for id in ids {
            self.take_away(*id);
        }
        self.feed.retain(|row| !ids.contains(&row.item));
    }

    /// Ids of the items with a reference in a queue, oldest first.
    pub(in crate::sandbox) fn with_reference(&self, queue: i64, reference: &str) -> &[i64] {
        self.references.get(&(queue, reference.to_lowercase())).map_or(&[], Vec::as_slice)
    }

    /// New items of a queue, first those that start first.
    pub(in crate::sandbox) fn waiting_in(&self, queue: i64) -> impl Iterator<Item = &Item> {
        self.waiting.get(&queue).into_iter().flatten().filter_map(|(_, id)| self.items.get(id))
    }

    /// Changes an item and writes the change into the feed. `None` when there is no such item.
    pub(in crate::sandbox) fn change_item(
        &mut self,
        id: i64,
        now: Timestamp,
        action: Action,
        change: impl FnOnce(&mut Item),
    ) -> Option<Item> {
        let item = self.items.get_mut(&id)?;
        let place = (item.priority, item.id);
        change(item);
        item.version += 1;
        let item = item.clone();
        let waiting = self.waiting.entry(item.queue).or_default();
        waiting.remove(&place);
        if item.status == Status::New {
            waiting.insert((item.priority, item.id));
        }
        self.note(&item, action, now);
        Some(item)
    }

    /// Writes an item's state into the feed.
    pub(in crate::sandbox) fn note(&mut self, item: &Item, action: Action, now: Timestamp) {
        let id = self.id() - self.feed_shift;
        if self.hide_next > 0 {
            self.hide_next -= 1;
            self.hidden.insert(id);
        }
        if self.feed.len() >= FEED_MAX {
            self.feed.pop_front();
        }
        self.feed.push_back(FeedRow { id, item: item.id, queue: item.queue, time: now, action, status: item.status, review: item.review });
    }
}

/// A folder's path out of its encoded header: base64 of UTF-16LE.
fn decode_path(text: &str) -> Option<String> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(text.trim()).ok()?;
    let units: Vec<u16> = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
    (bytes.len() % 2 == 0).then(|| String::from_utf16(&units).ok()).flatten()
}
