//! Log lines: text on a terminal, JSON otherwise, to standard error, through a bounded queue that drops rather than waits.

use std::io::IsTerminal;

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

use crate::config::{Log, LogFormat};

/// Lines that may wait for standard error; further ones are dropped.
const LINES_WAITING_MAX: usize = 4_096;

/// Keeps the writing thread alive; dropping it writes what is waiting.
pub(super) struct Logging {
    _guard: WorkerGuard,
    level: Level,
}

/// Changes the level while running.
#[derive(Clone)]
pub(super) struct Level {
    handle: reload::Handle<EnvFilter, Registry>,
    verbosity: i8,
}

impl Logging {
    pub(super) fn level(&self) -> Level {
        self.level.clone()
    }
}

impl Level {
    /// Puts the level of a reloaded configuration in force.
    pub(super) fn set(&self, log: &Log) {
        if let Err(error) = self.handle.reload(filter(&log.level, self.verbosity)) {
            tracing::warn!(%error, "the log level stays as it was");
        }
    }
}

/// Starts logging for the process. A second start in one process keeps the first.
pub(super) fn start(log: &Log, verbosity: i8) -> Logging {
    let (writer, guard) = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(LINES_WAITING_MAX).finish(std::io::stderr());
    let (filter, handle) = reload::Layer::new(filter(&log.level, verbosity));
    let terminal = std::io::stderr().is_terminal();
    let json = match log.format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !terminal,
    };
    let registry = tracing_subscriber::registry().with(filter);
    let started = if json {
        let layer = fmt::layer().json().flatten_event(true).with_current_span(false).with_span_list(false).with_writer(writer);
        registry.with(layer).try_init()
    } else {
        let ansi = terminal && anstyle_query();
        registry.with(fmt::layer().with_ansi(ansi).with_target(false).with_writer(writer)).try_init()
    };
    // Only a test that starts two daemons in one process gets here twice.
    if let Err(error) = started {
        tracing::debug!(%error, "logging runs already");
    }
    Logging { _guard: guard, level: Level { handle, verbosity } }
}

fn anstyle_query() -> bool {
    !matches!(anstream::AutoStream::choice(&std::io::stderr()), anstream::ColorChoice::Never)
}

fn filter(level: &str, verbosity: i8) -> EnvFilter {
    let raised = match (verbosity, level) {
        (1, "info") => "debug",
        (2.., _) => "trace",
        (1, _) => "debug",
        (-1, "info") => "warn",
        (..=-1, _) => "error",
        (_, level) => level,
    };
    // Libraries speak up only when something is wrong, unless asked by name.
    let directives =
        if raised.contains('=') || raised.contains(',') { raised.to_owned() } else { format!("warn,tripline={raised},sled=error") };
    EnvFilter::try_new(&directives).unwrap_or_else(|_| EnvFilter::new("warn,tripline=info,sled=error"))
}
