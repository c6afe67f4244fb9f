//! A reload: everything is read and checked whole, then swapped at once; with any fault the old stays.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::{Mutex, watch};

use crate::admin::futures_reload::Reload as ReloadFuture;
use crate::admin::{Control, Operate, Standing};
use crate::clock::Clock;
use crate::config::{Config, Limits, RealWorld};
use crate::daemon::assemble::{Assembled, assemble, errors_on_lines};
use crate::daemon::descriptors;
use crate::daemon::generations::RuleBook;
use crate::daemon::logging::Level;
use crate::daemon::operate::Operator;
use crate::daemon::watch::Marks;
use crate::daemon::{supervisor, telemetry};
use crate::dispatch::Targets;
use crate::fault::{Fault, Faults};
use crate::intake::Routes;
use crate::journal::{AppendError, Journal};
use crate::metric;
use crate::poll::{Sources, Statuses};
use crate::register::{Hook, Shown};
use crate::rules::RulesInForce;
use crate::secret::Secret;
use crate::time::Timestamp;

/// How often it is looked whether there is space again for the rules.
const SPACE_AGAIN: Duration = Duration::from_secs(1);

/// Everything that a reload swaps, and what it must not change.
pub(super) struct Reloader {
    pub file: PathBuf,
    /// One reload at a time; holds what runs now.
    pub running: Mutex<Running>,
    pub routes: Arc<Routes>,
    pub targets: Arc<ArcSwap<Targets>>,
    pub polls: watch::Sender<Arc<Sources>>,
    pub hooks: watch::Sender<Arc<Vec<Arc<Hook>>>>,
    pub rules: Arc<ArcSwap<RulesInForce>>,
    pub book: Arc<RuleBook>,
    pub journal: Journal,
    pub limits: watch::Sender<Limits>,
    /// How the rule files looked when they were last read.
    pub read: std::sync::Mutex<Marks>,
    /// When the last reload was refused, and why.
    pub refused: std::sync::Mutex<Option<(Timestamp, Arc<Faults>)>>,
    pub level: Level,
}

/// What runs now and stays.
pub(super) struct Running {
    pub config: Config,
    pub admin_token: Option<Secret>,
}

impl Reloader {
    /// Reads everything anew.
    ///
    /// # Errors
    /// All faults; nothing was changed.
    pub(super) async fn reload(&self) -> Result<u64, Faults> {
        let mut running = self.running.lock().await;
        supervisor::reloading();
        let result = self.try_reload(&mut running).await;
        let refused = result.as_ref().err().map(|faults| (Clock::system().now(), Arc::new(faults.clone())));
        metrics::gauge!(metric::RELOAD_REFUSED).set(if refused.is_some() { 1.0 } else { 0.0 });
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = refused;
        match &result {
            Ok(generation) => {
                tracing::info!(generation, "reloaded");
                supervisor::ready(&format!("rule generation {generation}"));
            }
            Err(faults) => {
                tracing::error!(
                    faults = faults.len(),
                    "reload refused, the old configuration and rules stay in force:\n{}",
                    errors_on_lines(faults)
                );
                supervisor::ready("the last reload was refused; see the log");
            }
        }
        result
    }

    /// How the rule files looked when they were last read, in force or refused.
    pub(super) fn marks(&self) -> Marks {
        self.read.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where the rules in force are.
    pub(super) async fn rule_paths(&self) -> Vec<PathBuf> {
        self.running.lock().await.config.watched()
    }

    async fn try_reload(&self, running: &mut Running) -> Result<u64, Faults> {
        let (file, rules) = (self.file.clone(), running.config.watched());
        // Compiling ten thousand rules takes a moment: off the threads that answer deliveries.
        // Looked at before they are read: a change in between is then one more change.
        let (marks, assembled) = tokio::task::spawn_blocking(move || (Marks::of(&rules), assemble(&file, &RealWorld)))
            .await
            .map_err(|e| one(Fault::general("internal", format!("the reload ended early: {e}"))))?;
        *self.read.lock().unwrap_or_else(PoisonError::into_inner) = marks;
        let assembled = assembled?;
        let fixed = assembled.needs_restart(&running.config, running.admin_token.as_ref().map(Secret::expose));
        if !fixed.is_empty() {
            return Err(fixed);
        }
        for warning in &assembled.warnings {
            tracing::warn!(code = warning.code, "{}", warning.one_line());
        }
        let generation = put_in_force(&assembled, &self.journal, &self.book, &self.rules)
            .await
            .map_err(|e| one(Fault::general("journal", e.to_string()).help("try again when the journal can write")))?;
        self.routes.store(Arc::new(assembled.routes));
        let (mut targets, mut polls) = (assembled.targets, assembled.polls);
        // Tokens and budgets outlive the reload.
        if let (Some(calls), Some(http)) = (&self.targets.load().calls, &targets.http) {
            let calls = calls.with_client(http.clone());
            polls = polls.with_calls(&calls);
            targets.calls = Some(calls);
            targets.share_tokens();
        }
        self.targets.store(Arc::new(targets));
        self.polls.send_replace(Arc::new(polls));
        self.hooks.send_replace(assembled.hooks);
        let connections = descriptors::prepare(assembled.config.limits.connections).unwrap_or(assembled.config.limits.connections);
        self.limits.send_replace(Limits { connections, ..assembled.config.limits.clone() });
        self.level.set(&assembled.config.log);
        if running.config.watched() != assembled.config.watched() {
            *self.read.lock().unwrap_or_else(PoisonError::into_inner) = Marks::of(&assembled.config.watched());
        }
        self.journal.retain(assembled.config.retention);
        running.config = assembled.config;
        Ok(generation)
    }
}

/// Keeps the rule texts, then lets the router see the set: a run never names a generation that is not on disk.
async fn put_in_force(
    assembled: &Assembled,
    journal: &Journal,
    book: &RuleBook,
    rules: &ArcSwap<RulesInForce>,
) -> Result<u64, AppendError> {
    let generation = journal.rules_loaded(assembled.texts.clone()).await?;
    book.put(generation, Arc::clone(&assembled.rules), Arc::new(assembled.texts.known.vars.clone()));
    rules.store(Arc::new(RulesInForce { set: Arc::clone(&assembled.rules), generation }));
    metrics::gauge!(metric::RULES_GENERATION).set(generation as f64);
    telemetry::begin(assembled);
    Ok(generation)
}

/// The same at the start; where the rules changed and there is no space to write that down, it waits for some.
pub(super) async fn put_in_force_with_space(
    assembled: &Assembled,
    journal: &Journal,
    book: &RuleBook,
    rules: &ArcSwap<RulesInForce>,
) -> Result<u64, AppendError> {
    loop {
        match put_in_force(assembled, journal, book, rules).await {
            Err(AppendError::Full(why)) => {
                tracing::error!(%why, "the rules changed, and there is no space to write that down; waiting for it");
            }
            put => return put,
        }
        tokio::time::sleep(SPACE_AGAIN).await;
    }
}

fn one(fault: Fault) -> Faults {
    let mut faults = Faults::new();
    faults.push(fault);
    faults
}

/// What the admin listener asks of the daemon: it serves before the journal is open, the reloader comes later.
pub(super) struct LateControl {
    recorder: PrometheusHandle,
    sources: Statuses,
    webhooks: Shown,
    reloader: OnceLock<Arc<Reloader>>,
    operator: OnceLock<Arc<Operator>>,
}

impl LateControl {
    pub(super) fn new(recorder: PrometheusHandle, sources: Statuses, webhooks: Shown) -> Self {
        Self { recorder, sources, webhooks, reloader: OnceLock::new(), operator: OnceLock::new() }
    }

    /// From now on reloads, pauses and replays are possible. The first ones set stay.
    pub(super) fn set(&self, reloader: Arc<Reloader>, operator: Operator) {
        self.reloader.get_or_init(|| reloader);
        self.operator.get_or_init(|| Arc::new(operator));
    }
}

impl Control for LateControl {
    fn reload(&self) -> ReloadFuture<'_> {
        Box::pin(async {
            match self.reloader.get() {
                Some(reloader) => reloader.reload().await,
                None => {
                    Err(one(Fault::general("recovering", "the journal is still being opened").help("try again when /readyz answers 200")))
                }
            }
        })
    }

    fn metrics(&self) -> String {
        telemetry::render(&self.recorder)
    }

    fn standing(&self) -> Option<Standing> {
        let reloader = self.reloader.get()?;
        let in_force = reloader.rules.load_full();
        let refused = reloader.refused.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Some(Standing { rules: Arc::clone(&in_force.set), generation: in_force.generation, refused })
    }

    fn operate(&self) -> Option<Arc<dyn Operate>> {
        self.operator.get().map(|operator| Arc::clone(operator) as Arc<dyn Operate>)
    }

    fn sources(&self) -> serde_json::Value {
        let mut list = self.sources.to_json();
        if let Some(items) = list["items"].as_array_mut() {
            items.extend(self.webhooks.rows());
        }
        list
    }
}
