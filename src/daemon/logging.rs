//! Log lines: text on a terminal, JSON otherwise, to standard error, through a bounded queue that drops rather than waits.
//! What strangers wrote (paths, names, answers) can neither end a line nor act on a terminal.

use std::fmt;
use std::io::{self, IsTerminal, Write};

use tracing::field::Field;
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::config::{Log, LogFormat};
use crate::printable::{printable, printable_json, printable_lines};

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
    let (writer, guard) = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(LINES_WAITING_MAX).finish(io::stderr());
    let (filter, handle) = reload::Layer::new(filter(&log.level, verbosity));
    let terminal = io::stderr().is_terminal();
    let json = match log.format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !terminal,
    };
    let registry = tracing_subscriber::registry().with(filter);
    let started = if json {
        let layer = tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .with_writer(HarmlessJson(writer));
        registry.with(layer).try_init()
    } else {
        let ansi = terminal && anstyle_query();
        let layer = tracing_subscriber::fmt::layer().with_ansi(ansi).with_target(false).with_writer(writer);
        registry.with(layer.fmt_fields(debug_fn(field).delimited(" "))).try_init()
    };
    // Only a test that starts two daemons in one process gets here twice.
    if let Err(error) = started {
        tracing::debug!(%error, "logging runs already");
    }
    Logging { _guard: guard, level: Level { handle, verbosity } }
}

/// One field of a line of text; the message stands without its name and may have further lines.
fn field(line: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    let text = format!("{value:?}");
    match field.name() {
        "message" => line.write_str(&printable_lines(&text)),
        name => write!(line, "{}={}", name.trim_start_matches("r#"), printable(&text)),
    }
}

/// Escapes what JSON leaves as it is and terminals act upon. A line comes in one write.
#[derive(Clone)]
struct HarmlessJson(NonBlocking);

impl MakeWriter<'_> for HarmlessJson {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Write for HarmlessJson {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.write_all(printable_json(&String::from_utf8_lossy(line)).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn anstyle_query() -> bool {
    !matches!(anstream::AutoStream::choice(&io::stderr()), anstream::ColorChoice::Never)
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

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Keeps what is written.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("whole").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const NASTY: &str = "a\r\n1970-01-01T00:00:00Z  INFO forged \u{1b}[2J\u{9b}31m\u{202e}";

    #[test]
    fn nothing_in_a_line_of_text_ends_it_or_acts_on_a_terminal() {
        let kept = Kept::default();
        let made = kept.clone();
        let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || made.clone());
        let subscriber = tracing_subscriber::registry().with(layer.fmt_fields(debug_fn(field).delimited(" ")));
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(shown = %NASTY, text = NASTY, debug = ?Some(NASTY), r#type = "t", "refused: {NASTY}");
        });
        let text = String::from_utf8(kept.0.lock().expect("whole").clone()).expect("text");
        let lines: Vec<_> = text.split('\n').collect();
        assert_eq!((lines.len(), lines[2]), (3, ""), "one further line of the message: {text:?}");
        assert!(lines[0].contains(" WARN ") && lines[0].ends_with("refused: a\\r"), "{text:?}");
        assert!(lines[1].starts_with("    1970") && lines[1].contains(" type=\"t\""), "{text:?}");
        assert!(!text.replace('\n', "").contains(|c: char| c.is_control() || c == '\u{202e}'), "{text:?}");
    }

    #[test]
    fn nothing_in_a_line_of_json_ends_it_or_acts_on_a_terminal() {
        let kept = Kept::default();
        {
            let (writer, _guard) = NonBlockingBuilder::default().finish(kept.clone());
            let layer = tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(HarmlessJson(writer));
            tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
                tracing::warn!(shown = %NASTY, "refused: {NASTY}");
            });
        }
        let text = String::from_utf8(kept.0.lock().expect("whole").clone()).expect("text");
        let line = text.strip_suffix('\n').expect("a line");
        assert!(!line.contains(|c: char| c.is_control() || c == '\u{202e}'), "{line:?}");
        let value: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(value["shown"], NASTY);
    }
}
