//! One task for each webhook source: whether it still sees, and whether it stands in Orchestrator as it should.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::WatchStream;
use tokio_util::sync::CancellationToken;

use super::Ours;
use super::shown::{Shown, Standing};
use crate::clock::Clock;
use crate::event::{Change, Key, SourceName, Verified, Via};
use crate::hooks::{Eye, Sight, Sighted, Turn, is_needed, is_sent};
use crate::journal::{AppendError, Delivery, Journal, Kept, Space};
use crate::metric::{WEBHOOK_BLIND, WEBHOOK_MISSED};
use crate::panics;
use crate::rules::index::TypePattern;
use crate::time::Timestamp;

/// Between two looks at what was sighted.
const TICK: Duration = Duration::from_secs(1);
/// Between two looks at Orchestrator while all is well.
const LOOK_EVERY: Duration = Duration::from_secs(600);
/// The same while the webhook is blind, with a ping each time.
const LOOK_BLIND: Duration = Duration::from_secs(60);
/// After a failure, at first; each further one doubles it up to [`LOOK_EVERY`].
const LOOK_AGAIN: Duration = Duration::from_secs(15);

/// A webhook source of an orchestrator.
#[derive(Clone, Debug)]
pub struct Hook {
    /// Its name.
    pub source: SourceName,
    /// Its orchestrator's name.
    pub orchestrator: Arc<str>,
    /// How it can be looked for in Orchestrator; `None` without a `public_url`.
    pub ours: Option<Ours>,
    /// Whether it is to be kept registered.
    pub register: bool,
    /// Which types it asks for, in lower case; `None` is every type.
    pub types: Option<Vec<TypePattern>>,
    /// What intake and polling tell of it.
    pub eye: Arc<Eye>,
}

/// What keeping webhooks works with.
#[derive(Clone, Debug)]
pub struct Register {
    /// Where events go, and what is known of each webhook.
    pub journal: Journal,
    /// The webhooks; a reload changes them.
    pub hooks: watch::Receiver<Arc<Vec<Arc<Hook>>>>,
    /// The time.
    pub clock: Clock,
    /// What is shown of them.
    pub shown: Shown,
}

/// Watches over all webhooks until `stop`.
pub async fn run(register: Register, stop: CancellationToken) {
    let started = register.clock.now();
    let mut sets = WatchStream::new(register.hooks.clone());
    let mut tasks = JoinSet::new();
    let mut before: Arc<Vec<Arc<Hook>>> = Arc::default();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(hooks) = sets.next() => {
                // A change in the middle of its way is made once more, which changes nothing.
                tasks.shutdown().await;
                for hook in hooks.iter() {
                    if let Some(old) = before.iter().find(|old| old.source == hook.source && !Arc::ptr_eq(&old.eye, &hook.eye)) {
                        hook.eye.adopt(&old.eye);
                    }
                    let (register, hook) = (register.clone(), Arc::clone(hook));
                    let told = |hook: &Hook| {
                        let pause = panics::PAUSE.as_secs();
                        tracing::error!(source = &*hook.source, "watching over the webhook panicked; it is begun again in {pause} s");
                    };
                    tasks.spawn(async move { panics::again(|| follow(&register, &hook, started), || told(&hook)).await });
                }
                register.shown.keep_only(&hooks);
                before = hooks;
            }
        }
    }
    tasks.shutdown().await;
}

/// Watches over one.
async fn follow(register: &Register, hook: &Hook, started: Timestamp) {
    let mut keeper = Keeper::open(register, hook, started);
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        #[cfg(test)]
        panics::on_purpose::here(&hook.source);
        match keeper.look_at_sighted().await {
            Ok(()) => {}
            Err(AppendError::Full(why)) => tracing::warn!(%why, "cannot keep what is known of a webhook; trying again"),
            Err(AppendError::Ended(_)) => return,
        }
        keeper.tend().await;
        register.shown.set(hook, keeper.standing());
    }
}

struct Keeper<'r> {
    register: &'r Register,
    hook: &'r Hook,
    started: Timestamp,
    sight: Sight,
    /// What could not be kept yet.
    unkept: bool,
    /// An event that could not be kept yet.
    owed: Option<Delivery>,
    look_at: Timestamp,
    failures: u32,
    standing: Standing,
}

impl<'r> Keeper<'r> {
    fn open(register: &'r Register, hook: &'r Hook, started: Timestamp) -> Self {
        let kept = register.journal.kept(Space::Ledger, &key(hook)).unwrap_or_else(|error| {
            tracing::error!(%error, source = &*hook.source, "cannot read what is kept of a webhook");
            None
        });
        let sight: Sight = kept.and_then(|value| serde_json::from_slice(&value).ok()).unwrap_or_default();
        hook.eye.set_blind(sight.blind.is_some());
        metrics::gauge!(WEBHOOK_BLIND, "source" => hook.source.to_string()).set(f64::from(u8::from(sight.blind.is_some())));
        metrics::counter!(WEBHOOK_MISSED, "source" => hook.source.to_string()).increment(0);
        let look_at = register.clock.now();
        Self { register, hook, started, sight, unkept: false, owed: None, look_at, failures: 0, standing: Standing::default() }
    }

    /// What is shown of it.
    fn standing(&self) -> Standing {
        Standing { missed: self.sight.missed, blind: self.sight.blind.clone(), ..self.standing.clone() }
    }

    /// Judges what polling saw first and whose time is up, and what came since.
    async fn look_at_sighted(&mut self) -> Result<(), AppendError> {
        let now = self.register.clock.now();
        self.pay().await?;
        for sighted in self.hook.eye.due(now) {
            let turn = self.judge(sighted, now);
            self.turned(turn, now).await?;
        }
        let came =
            |(name, since): (&str, Timestamp)| self.hook.eye.delivered.last(name).filter(|last| *last > since).map(|_| name.to_owned());
        let seen = self.sight.awaited().find_map(came);
        if let Some(name) = seen {
            let turn = self.sight.delivered(&name);
            self.turned(turn, now).await?;
        }
        if self.unkept {
            self.register.journal.keep(vec![self.kept()]).await?;
            self.unkept = false;
        }
        Ok(())
    }

    fn judge(&mut self, sighted: Sighted, now: Timestamp) -> Turn {
        let event = match self.register.journal.event(sighted.event) {
            Ok(Some(event)) => event,
            Ok(None) => return Turn::None,
            Err(error) => {
                tracing::warn!(%error, event = %sighted.event, "cannot read an event that polling brought");
                return Turn::None;
            }
        };
        let name = event.event_type();
        let asked = self.hook.types.as_ref().is_none_or(|types| is_needed(name, types));
        // What happened while nobody listened here says nothing of how the webhook is now.
        let before_us = event.change.time.is_none_or(|time| time < self.started);
        if !is_sent(name, event.data()) || !asked || before_us {
            return Turn::None;
        }
        let of_webhook = |copy: &&crate::event::FoldedFrom| copy.via == Via::Webhook && copy.source == self.hook.source;
        if event.folded.from.iter().any(|copy| of_webhook(&copy)) {
            return self.sight.delivered(name);
        }
        metrics::counter!(WEBHOOK_MISSED, "source" => self.hook.source.to_string()).increment(1);
        self.unkept = true;
        let alive = self.hook.eye.delivered.last(name).is_some_and(|last| last >= sighted.at);
        self.sight.missed(name, alive, now)
    }

    /// Tells others of a turn: in the log, as a metric, as an event that is kept together with what is known.
    async fn turned(&mut self, turn: Turn, now: Timestamp) -> Result<(), AppendError> {
        let source = &*self.hook.source;
        let (event_type, data) = match turn {
            Turn::None => return Ok(()),
            Turn::Blinded => {
                let types = self.sight.blind.as_ref().map(|blind| blind.types.clone()).unwrap_or_default();
                tracing::warn!(source, ?types, "the webhook is blind: changes come by polling only");
                ("tripline.webhook.blind", json!({"source": source, "since": now, "types": types, "missed": self.sight.missed}))
            }
            Turn::Healed(since) => {
                tracing::info!(source, %since, "the webhook sees again");
                ("tripline.webhook.healed", json!({"source": source, "since": since, "until": now, "missed": self.sight.missed}))
            }
        };
        let blind = self.sight.blind.is_some();
        self.hook.eye.set_blind(blind);
        metrics::gauge!(WEBHOOK_BLIND, "source" => source.to_owned()).set(f64::from(u8::from(blind)));
        if blind {
            // At once: it may have been switched off.
            self.look_at = now;
        }
        self.unkept = true;
        // One that is still owed says what is no longer so.
        self.owed = Some(self.delivery(event_type, data, now));
        self.pay().await
    }

    /// Keeps the event that is owed together with what is known.
    async fn pay(&mut self) -> Result<(), AppendError> {
        if let Some(delivery) = self.owed.clone() {
            self.register.journal.accept_keeping(delivery, vec![self.kept()]).await?;
            (self.owed, self.unkept) = (None, false);
        }
        Ok(())
    }

    fn kept(&self) -> Kept {
        Kept { space: Space::Ledger, key: key(self.hook), value: Some(Bytes::from(json!(self.sight).to_string())) }
    }

    fn delivery(&self, event_type: &str, data: Value, now: Timestamp) -> Delivery {
        let source = &self.hook.source;
        let change = Change {
            time: Some(now),
            subject: Some(Arc::from(format!("sources/{source}"))),
            data: Arc::new(data),
            ..Change::told(Key::exact(format!("source:{source}|webhook|{event_type}|{}", now.as_millis())), event_type)
        };
        Delivery {
            source: Arc::clone(source),
            via: Via::Internal,
            orchestrator: Some(Arc::clone(&self.hook.orchestrator)),
            verified: Verified::Yes,
            received: now,
            body: Bytes::new(),
            delivery_id: None,
            changes: vec![change],
        }
    }

    /// Looks at Orchestrator when it is time to: registers, enables, pings.
    async fn tend(&mut self) {
        let now = self.register.clock.now();
        let blind = self.sight.blind.is_some();
        let Some(ours) = self.hook.ours.as_ref().filter(|_| (self.hook.register || blind) && now >= self.look_at) else { return };
        match self.look(ours, blind).await {
            Ok(()) => {
                self.failures = 0;
                self.standing.failure = None;
                self.look_at = now.plus(if blind { LOOK_BLIND } else { LOOK_EVERY });
            }
            Err(failure) => {
                if self.standing.failure.as_ref() != Some(&failure.message) {
                    tracing::warn!(
                        source = &*self.hook.source,
                        why = failure.message,
                        "the webhook cannot be looked after in Orchestrator; trying again"
                    );
                }
                let wait = LOOK_AGAIN.saturating_mul(1 << self.failures.min(6)).min(LOOK_EVERY);
                self.failures = self.failures.saturating_add(1);
                self.look_at = now.plus(wait.max(failure.retry_after.unwrap_or_default()));
                self.standing.failure = Some(failure.message);
            }
        }
    }

    async fn look(&mut self, ours: &Ours, blind: bool) -> Result<(), crate::runs::Failure> {
        let look = ours.look().await?;
        let source = &*self.hook.source;
        self.standing.looked = Some(self.register.clock.now());
        self.standing.id = look.planned.found.as_ref().map(|found| found.id);
        self.standing.enabled = look.planned.found.as_ref().map(|found| found.enabled);
        self.standing.differences = look.planned.differences.iter().map(|difference| difference.what).collect();
        if !look.planned.differences.is_empty() && self.hook.register {
            let why = self.standing.differences.join(", ");
            let id = ours.put(&look.planned).await.result?;
            tracing::info!(source, id, url = ours.url, why, "the webhook was registered or changed in Orchestrator");
            self.standing.id = Some(id);
            self.standing.enabled = Some(true);
            self.standing.differences.clear();
            self.standing.changed = Some(self.register.clock.now());
            // Orchestrator pings it by itself then.
            return Ok(());
        }
        if let Some(id) = self.standing.id.filter(|_| blind) {
            ours.orchestrator.ping_webhook(id, super::REQUEST_TIMEOUT).await.result?;
            tracing::info!(source, id, "Orchestrator was asked to ping the blind webhook");
            self.standing.pinged = Some(self.register.clock.now());
        }
        Ok(())
    }
}

/// Its name among what is kept; no folder of a polled source is called so, since names of sources are unique.
fn key(hook: &Hook) -> String {
    format!("{}/sight", hook.source)
}
