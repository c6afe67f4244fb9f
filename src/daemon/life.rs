//! One life: bind, open, run, stop.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

use crate::admin::{self, Admin};
use crate::clock::Clock;
use crate::config::World;
use crate::daemon::End;
use crate::daemon::assemble::Assembled;
use crate::daemon::generations::RuleBook;
use crate::daemon::logging::Level;
use crate::daemon::operate::Operator;
use crate::daemon::reload::{LateControl, Reloader, Running, put_in_force_with_space};
use crate::daemon::signals::{Asked, Signals};
use crate::daemon::sockets::{self, Sockets};
use crate::daemon::state_file::DaemonFile;
use crate::daemon::tasks::{Task, Tasks};
use crate::daemon::watch::Marks;
use crate::daemon::{supervisor, telemetry};
use crate::dispatch::{self, Board, Dispatch};
use crate::intake::{self, Intake};
use crate::journal::{Health, Journal, OpenReport, Options};
use crate::poll::{self, Backfills, Poll, Statuses};
use crate::register::{self, Register};
use crate::router;
use crate::rules::RulesInForce;
use crate::watch::Watching;

/// How long open deliveries may go on once draining began.
const INGRESS_DRAIN: Duration = Duration::from_secs(10);
/// How long deliveries, and then attempts, may go on once the journal failed: what comes of them cannot be kept any more, and the
/// process that follows should be there soon.
const FAILED_DRAIN: Duration = Duration::from_secs(1);
/// How long a journal that failed may take to say so.
const SAYS_WHY: Duration = Duration::from_millis(200);
/// How long the admin listener may take to finish what it answers.
const ADMIN_DRAIN: Duration = Duration::from_secs(2);
/// Bytes of one journal segment.
pub const SEGMENT_BYTES: u64 = 64 << 20;

/// Who stops when, in this order.
struct Stop {
    /// First: no new promises.
    ingress: CancellationToken,
    /// Then: no new work.
    router: CancellationToken,
    /// Then what is in flight, within the grace period.
    dispatch: CancellationToken,
    /// Last, so that stopping can be watched.
    admin: CancellationToken,
}

/// Lives until a signal or a failure.
pub(super) async fn live(
    assembled: Assembled,
    connections: usize,
    recorder: PrometheusHandle,
    level: Level,
    world: &(dyn World + Send + Sync),
) -> Result<(), End> {
    let clock = Clock::system();
    let started = clock.now();
    let mut signals = Signals::listen().map_err(|e| End::Failed(format!("signals cannot be received: {e}")))?;
    let Sockets { ingress, ingress_address, admin: admin_listener, admin_address, admin_file: _admin_file } =
        sockets::bind(&assembled.config, world).map_err(End::Unusable)?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), listen = %ingress_address, admin = %admin_address, state = %assembled.config.state.display(), "bound");

    let stop = Stop {
        ingress: CancellationToken::new(),
        router: CancellationToken::new(),
        dispatch: CancellationToken::new(),
        admin: CancellationToken::new(),
    };
    let mut tasks = Tasks::default();

    // The ingress takes deliveries from here on and holds them until the journal is there.
    let (journal_open, journal_seen) = watch::channel::<Option<Journal>>(None);
    let (rules_ready, rules_seen) = watch::channel(false);
    let routes = Arc::new(ArcSwap::from_pointee(assembled.routes.clone()));
    let mut limits = assembled.config.limits.clone();
    limits.connections = connections;
    let (limits_in_force, limits) = watch::channel(limits);
    let rules = Arc::new(ArcSwap::from_pointee(RulesInForce { set: Arc::clone(&assembled.rules), generation: 0 }));
    let intake =
        Intake { routes: Arc::clone(&routes), limits, journal: journal_seen.clone(), rules: Arc::clone(&rules), clock: clock.clone() };
    let token = stop.ingress.clone();
    tasks.spawn_endless(Task::Ingress, intake::run(intake, ingress, token));

    let statuses = Statuses::default();
    let webhooks = register::Shown::default();
    let control = Arc::new(LateControl::new(recorder.clone(), statuses.clone(), webhooks.clone()));
    let admin = Admin {
        journal: journal_seen,
        control: Arc::clone(&control) as Arc<dyn admin::Control>,
        address: admin_address.clone(),
        token: assembled.secrets.admin_token.clone(),
        ready: rules_seen,
        clock: clock.clone(),
    };
    let token = stop.admin.clone();
    tasks.spawn_endless(Task::Admin, admin::run(admin, admin_listener, token));

    // Written once bound, so that a recovery can be watched, where there is space; but not over the file of another that runs.
    let daemon_file = DaemonFile::of(ingress_address, &admin_address, started);
    if !DaemonFile::of_another_that_runs(&assembled.config.state) {
        drop(daemon_file.write(&assembled.config.state));
    }
    let (journal, report) = match open(&assembled, &clock, &mut signals).await {
        Ok(opened) => opened,
        Err(end) => {
            daemon_file.remove(&assembled.config.state);
            return end;
        }
    };
    daemon_file.write(&assembled.config.state).map_err(End::Unusable)?;
    if let Some(newest) = report.newest.filter(|newest| *newest > clock.now()) {
        clock.not_before(newest);
        tracing::warn!(%newest, now = %clock.now(), "the newest event is from the future: the system's clock was set back since");
    }
    journal.retain(assembled.config.retention);

    let book = Arc::new(RuleBook::new(journal.clone()));
    let put = tokio::select! {
        put = put_in_force_with_space(&assembled, &journal, &book, &rules) => Some(put),
        _ = signals.end() => None,
    };
    let Some(put) = put else {
        journal.close();
        daemon_file.remove(&assembled.config.state);
        return Ok(());
    };
    let generation = put.map_err(|e| End::Failed(e.to_string()))?;
    let grace = assembled.config.shutdown_grace;
    let state = assembled.config.state.clone();
    let rule_count = assembled.rules.rules().len();
    if let Some(calls) = &assembled.targets.calls {
        calls.keep_in(journal.clone());
    }
    let targets = Arc::new(ArcSwap::from_pointee(assembled.targets));
    let (polls, polls_in_force) = watch::channel(Arc::new(assembled.polls));
    let (hooks, hooks_in_force) = watch::channel(assembled.hooks);
    let marks = Marks::of(&assembled.config.watched());
    let reloader = Arc::new(Reloader {
        file: assembled.config.file.clone(),
        running: Mutex::new(Running { config: assembled.config, admin_token: assembled.secrets.admin_token }),
        routes,
        targets: Arc::clone(&targets),
        polls,
        hooks,
        rules: Arc::clone(&rules),
        book: Arc::clone(&book),
        journal: journal.clone(),
        limits: limits_in_force,
        read: std::sync::Mutex::new(marks),
        refused: std::sync::Mutex::default(),
        level,
    });
    let board = Board::open(journal.clone(), clock.clone()).map_err(|e| End::Unusable(format!("the journal cannot be read: {e}")))?;
    let backfills = Backfills::new(journal.clone());
    let operator = Operator {
        journal: journal.clone(),
        board: Arc::clone(&board),
        rules: Arc::clone(&rules),
        targets: Arc::clone(&targets),
        clock: clock.clone(),
        polls: polls_in_force.clone(),
        backfills: backfills.clone(),
    };
    control.set(Arc::clone(&reloader), operator);

    spawn_work(&mut tasks, &stop, &journal, &clock, rules, book, targets, board, grace, recorder);
    let poll = Poll { journal: journal.clone(), sources: polls_in_force, clock: clock.clone(), statuses, backfills };
    let token = stop.router.clone();
    tasks.spawn_endless(Task::Poll, poll::run(poll, token));
    let register = Register { journal: journal.clone(), hooks: hooks_in_force, clock: clock.clone(), shown: webhooks };
    let token = stop.router.clone();
    tasks.spawn_endless(Task::Register, register::run(register, token));
    let watching = Watching { journal: journal.clone(), rules: reloader.rules.clone(), clock: clock.clone() };
    let token = stop.router.clone();
    tasks.spawn_endless(Task::Watch, crate::watch::run(watching, token));
    let (watched, token) = (Arc::clone(&reloader), stop.router.clone());
    tasks.spawn_endless(Task::Files, crate::daemon::watch::watch(watched, token));
    journal_open.send_replace(Some(journal.clone()));
    rules_ready.send_replace(true);
    supervisor::ready(&format!("listening on {ingress_address}, rules: {rule_count}"));
    tracing::info!(
        listen = %ingress_address, rules = rule_count, generation, events = report.events, open_runs = report.open_runs,
        replayed = report.replayed, cut_bytes = report.cut, damaged = report.damage.len(), rebuilt = report.rebuilt.as_deref().unwrap_or("no"),
        ready_ms = clock.now().since(started).as_millis() as u64, "ready"
    );

    let result = run_until_end(&mut tasks, &mut signals, &journal, &reloader).await;
    supervisor::stopping();
    let failed = matches!(*journal.health().borrow(), Health::Failed(_));
    let (deliveries, work) =
        if failed { (FAILED_DRAIN, FAILED_DRAIN) } else { (INGRESS_DRAIN + Duration::from_secs(1), grace + Duration::from_secs(2)) };
    drain(&mut tasks, &mut signals, &stop, deliveries, work).await;
    let closing = journal.clone();
    if tokio::task::spawn_blocking(move || closing.close()).await.is_err() {
        tracing::error!("the journal did not close well; it will be checked at the next start");
    }
    daemon_file.remove(&state);
    if result.is_ok() {
        tracing::info!("stopped");
    }
    result
}

#[expect(clippy::too_many_arguments, reason = "the one place where all parts meet")]
fn spawn_work(
    tasks: &mut Tasks,
    stop: &Stop,
    journal: &Journal,
    clock: &Clock,
    rules: Arc<ArcSwap<RulesInForce>>,
    book: Arc<RuleBook>,
    targets: Arc<ArcSwap<dispatch::Targets>>,
    board: Arc<Board>,
    grace: Duration,
    recorder: PrometheusHandle,
) {
    let (journal_, clock_, token) = (journal.clone(), clock.clone(), stop.router.clone());
    tasks.spawn(Task::Router, router::run(journal_, rules, clock_, token));
    let work = Dispatch { journal: journal.clone(), generations: book, targets, board, clock: clock.clone(), grace };
    let token = stop.dispatch.clone();
    tasks.spawn(Task::Dispatch, dispatch::run(work, token));
    let (journal_, clock_, token) = (journal.clone(), clock.clone(), stop.admin.clone());
    tasks.spawn_endless(Task::Telemetry, telemetry::refresh(journal_, recorder, clock_, token));
    let (journal_, token) = (journal.clone(), stop.admin.clone());
    tasks.spawn_endless(Task::Watchdog, supervisor::watchdog(journal_, token));
}

/// Opens the journal on a thread of its own; a signal meanwhile ends the process (nothing was promised yet).
async fn open(assembled: &Assembled, clock: &Clock, signals: &mut Signals) -> Result<(Journal, OpenReport), Result<(), End>> {
    let opened = CancellationToken::new();
    let (dir, options) =
        (assembled.config.state.clone(), Options { segment_bytes: SEGMENT_BYTES, clock: clock.clone(), boot_id: boot_id() });
    let mut work = tokio::task::spawn_blocking(move || Journal::open(&dir, options));
    let result = {
        let recovering = supervisor::recovering(opened.clone());
        tokio::pin!(recovering);
        tokio::select! {
            result = &mut work => result,
            () = &mut recovering => return Err(Err(End::Failed("recovery ended without a journal".to_owned()))),
            name = signals.end() => {
                tracing::info!(signal = name, "stopped while the journal was being opened");
                return Err(Ok(()));
            }
        }
    };
    opened.cancel();
    match result {
        Ok(Ok(journal)) => Ok(journal),
        Ok(Err(error)) => Err(Err(End::Unusable(error.to_string()))),
        Err(error) => Err(Err(End::Failed(format!("opening the journal ended early: {error}")))),
    }
}

/// Runs until a signal ends it well, or a task or the journal ends it badly.
async fn run_until_end(tasks: &mut Tasks, signals: &mut Signals, journal: &Journal, reloader: &Arc<Reloader>) -> Result<(), End> {
    let mut health = journal.health();
    loop {
        tokio::select! {
            asked = signals.next() => match asked {
                Asked::End(name) => {
                    tracing::info!(signal = name, "draining");
                    return Ok(());
                }
                // The faults are in the log; whoever wants them in hand asks by API.
                Asked::Reload => drop(reloader.reload().await),
            },
            why = failure(&mut health) => {
                tracing::error!(%why, "the journal cannot be trusted any more; ending");
                return Err(End::Failed(format!("the journal failed: {why}")));
            }
            Some(what) = tasks.ended() => {
                tracing::error!("{what}");
                // Who is refused by a journal that fails may end before it has said why.
                let failed = tokio::time::timeout(SAYS_WHY, failure(&mut health)).await;
                return Err(End::Failed(failed.map_or(what, |why| format!("the journal failed: {why}"))));
            }
        }
    }
}

/// Why the journal failed, once it did.
async fn failure(health: &mut watch::Receiver<Health>) -> String {
    match health.wait_for(|health| matches!(health, Health::Failed(_))).await.as_deref() {
        Ok(Health::Failed(why)) => why.clone(),
        _ => "its writer is gone".to_owned(),
    }
}

/// Stops everything in order, waiting so long for open deliveries and for work. A second signal cuts the waiting short; what was promised is on disk either way.
async fn drain(tasks: &mut Tasks, signals: &mut Signals, stop: &Stop, deliveries: Duration, work: Duration) {
    let orderly = async {
        stop.ingress.cancel();
        tasks.wait_for(&[Task::Ingress], deliveries).await;
        stop.router.cancel();
        stop.dispatch.cancel();
        tasks.wait_for(&[Task::Poll, Task::Register, Task::Watch, Task::Router, Task::Dispatch, Task::Files], work).await;
        stop.admin.cancel();
        tasks.wait_for(&[Task::Admin, Task::Telemetry, Task::Watchdog], ADMIN_DRAIN).await;
    };
    tokio::select! {
        () = orderly => {}
        name = signals.end() => tracing::warn!(signal = name, "a second signal: attempts in flight are cut, they resume at the next start"),
    }
    tasks.shutdown().await;
}

/// This boot of the machine; where it cannot be read every start counts as a new one.
#[must_use]
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map_or_else(
        |error| {
            tracing::debug!(%error, "no boot id: after a kill the checkpoints are rebuilt");
            format!("unknown-{:016x}", getrandom::u64().unwrap_or_default())
        },
        |id| id.trim().to_owned(),
    )
}
