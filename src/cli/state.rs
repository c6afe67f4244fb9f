//! `tripline state`: the state folder in people's hands.

use std::io::{BufRead, BufReader, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use super::output::{BAD, GOOD, Out, Stop, WARN, count, paint, say};
use super::whole_file::WholeFile;
use super::{INTERRUPTED, NO, UNKNOWN, YES, setup};
use crate::clock::Clock;
use crate::daemon::{SEGMENT_BYTES, boot_id};
use crate::journal::{self, Compared, Damage, OpenError, Options};

/// Which folder.
#[derive(Debug, clap::Args)]
pub(super) struct Place {
    /// The state folder [default: `state` of the configuration]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

impl Place {
    fn dir(&self, config: Option<&Path>) -> Result<PathBuf, Stop> {
        self.state.clone().map_or_else(|| Ok(setup::config(config)?.state), Ok)
    }
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum StateCommand {
    /// Verify every record, and the checkpoints against them; changes nothing
    Check {
        #[command(flatten)]
        place: Place,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Make the checkpoints anew from the journal; the daemon must not run
    Rebuild {
        #[command(flatten)]
        place: Place,
        /// Go on without records that are lost: missing segments, or a journal that ends too early
        #[arg(long)]
        accept_loss: bool,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Write everything that is kept as lines of JSON
    Export {
        #[command(flatten)]
        place: Place,
        /// Into this file; must not exist [default: standard output]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Make a state folder from a dump; there must be none yet
    Import {
        #[command(flatten)]
        place: Place,
        /// A dump of `state export`; `-` reads stdin
        file: PathBuf,
    },
}

pub(super) fn run(config: Option<&Path>, command: &StateCommand, out: &mut Out) -> Result<u8, Stop> {
    // As the daemon does: what is kept here is for its owner only, whoever makes the files.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    outlive_long_files().map_err(|error| Stop::unknown(format!("signals cannot be received: {error}")))?;
    match command {
        StateCommand::Check { place, json } => check(&place.dir(config)?, *json, out),
        StateCommand::Rebuild { place, accept_loss, json } => rebuild(&place.dir(config)?, *accept_loss, *json, out),
        StateCommand::Export { place, out: file } => export(&place.dir(config)?, file.as_deref()),
        StateCommand::Import { place, file } => import(&place.dir(config)?, file, out),
    }
}

/// A file that grows beyond RLIMIT_FSIZE is an error of the write and not the end of the process: once somebody listened to the
/// signal, its default action is off for good.
fn outlive_long_files() -> std::io::Result<()> {
    /// SIGXFSZ.
    const TOO_LONG: i32 = 25;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let _entered = runtime.enter();
    drop(signal(SignalKind::from_raw(TOO_LONG))?);
    Ok(())
}

fn options() -> Options {
    Options { segment_bytes: SEGMENT_BYTES, clock: Clock::system(), boot_id: boot_id() }
}

fn refused(error: &OpenError) -> Stop {
    match error {
        OpenError::Damaged(text) => Stop::no(text.clone()),
        error => Stop::With { code: UNKNOWN, message: error.to_string() },
    }
}

/// A bar on a terminal; nothing elsewhere.
fn bar(what: &'static str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} ({eta})") {
        bar.set_style(style);
    }
    bar.set_message(what);
    bar
}

/// Where records were lost, for people.
fn place(loss: &str) -> String {
    let Ok(loss) = serde_json::from_str::<Value>(loss) else { return loss.to_owned() };
    let what =
        if loss["missing"] == true { "at the place of what is missing at".to_owned() } else { format!("{} bytes at", loss["bytes"]) };
    let found = loss["found"].as_str().map(|found| format!(", found {found}")).unwrap_or_default();
    format!("{what} byte {} of segment {}{found}", loss["offset"], loss["segment"])
}

fn shown(damage: &Damage) -> Value {
    json!({
        "file": damage.file.display().to_string(), "offset": damage.offset, "bytes": damage.bytes, "missing": damage.missing,
        "whole": damage.whole, "lost": damage.lost, "aside": damage.aside.as_ref().map(|path| path.display().to_string()),
        "message": damage.to_string(),
    })
}

fn check(dir: &Path, json: bool, out: &mut Out) -> Result<u8, Stop> {
    let bar = bar("reading");
    let checked = journal::check(dir, &boot_id(), &|done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let checked = checked.map_err(|error| refused(&error))?;
    let code = if checked.is_good() { YES } else { NO };
    let (compared, why) = match &checked.checkpoints {
        Compared::Same { rows } => ("same", format!("{rows} rows, the same as in the journal")),
        Compared::Different { rows: 0, which } => ("different", format!("not the same as in the journal: {which}")),
        Compared::Different { rows, which } => ("different", format!("{rows} rows differ from the journal: {which}")),
        Compared::Rebuilt(why) => ("rebuilt", format!("rebuilt at the next start: {why}")),
        Compared::Not(why) => ("not compared", format!("not compared: {why}")),
    };
    if json {
        let losses: Vec<Value> = checked.losses.iter().filter_map(|loss| serde_json::from_str(loss).ok()).collect();
        out.json(&json!({
            "good": checked.is_good(), "segments": checked.segments, "bytes": checked.bytes, "records": checked.records,
            "events": checked.events, "open_runs": checked.open_runs, "torn": checked.torn,
            "damage": checked.damage.iter().map(shown).collect::<Vec<_>>(), "losses": losses,
            "checkpoints": {"compared": compared, "message": why},
        }))?;
        return Ok(code);
    }
    for damage in &checked.damage {
        out.line(&format!("{}: {damage}", paint(BAD, "damaged")))?;
    }
    for loss in &checked.losses {
        out.line(&format!("{}: records were lost before, {}", paint(WARN, "note"), place(loss)))?;
    }
    if checked.torn > 0 {
        let torn = checked.torn;
        out.line(&format!("{}: {torn} bytes at the end were never acknowledged; the next start cuts them", paint(WARN, "note")))?;
    }
    let (segments, events) = (count(checked.segments, "segment"), checked.events);
    out.line(&format!("journal: {segments}, {} bytes, {} records, {events} events", checked.bytes, checked.records))?;
    out.line(&format!("checkpoints: {why}"))?;
    if checked.is_good() {
        out.line(&paint(GOOD, "ok"))?;
    } else {
        let ends = checked.damage.iter().any(|damage| damage.missing);
        let how = if ends {
            "bring the folder back from a backup, or `tripline state rebuild --accept-loss`"
        } else {
            "`tripline state rebuild`; where it refuses, bring the folder back from a backup or add `--accept-loss`"
        };
        out.line(&format!("to go on: {how}"))?;
    }
    Ok(code)
}

fn rebuild(dir: &Path, accept_loss: bool, json: bool, out: &mut Out) -> Result<u8, Stop> {
    let report = journal::rebuild(dir, options(), accept_loss).map_err(|error| refused(&error))?;
    if json {
        out.json(&json!({
            "events": report.events, "open_runs": report.open_runs, "records": report.replayed, "cut": report.cut,
            "damage": report.damage.iter().map(shown).collect::<Vec<_>>(),
        }))?;
        return Ok(YES);
    }
    for damage in &report.damage {
        out.line(&format!("{}: {damage}", paint(WARN, "accepted")))?;
    }
    let (events, records, open) = (report.events, report.replayed, report.open_runs);
    out.line(&format!("{}: rebuilt from {records} records; {events} events, {open} open runs", paint(GOOD, "ok")))?;
    Ok(YES)
}

fn export(dir: &Path, file: Option<&Path>) -> Result<u8, Stop> {
    let bar = bar("writing");
    let cannot_make = |path: &Path, error: std::io::Error| Stop::unknown(format!("cannot make `{}`: {error}", path.display()));
    let mut whole = file.map(|path| WholeFile::create(path).map_err(|error| cannot_make(path, error))).transpose()?;
    let mut stdout = BufWriter::new(std::io::stdout().lock());
    let sink: &mut dyn Write = match &mut whole {
        Some(file) => file,
        None => &mut stdout,
    };
    let exported = journal::export(dir, Clock::system().now(), sink, &|done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    if whole.as_ref().is_some_and(WholeFile::is_stopped) {
        return Err(Stop::With { code: INTERRUPTED, message: "stopped; nothing was written".to_owned() });
    }
    let exported = exported.map_err(|error| match error.kind() {
        std::io::ErrorKind::BrokenPipe => Stop::Closed,
        std::io::ErrorKind::NotFound | std::io::ErrorKind::PermissionDenied => Stop::unknown(error.to_string()),
        _ => Stop::unknown(match file {
            Some(path) => format!("`{}` is not written: {error}", path.display()),
            None => format!("the export is not whole: {error}"),
        }),
    })?;
    if let (Some(whole), Some(path)) = (whole, file) {
        whole.finish().map_err(|error| cannot_make(path, error))?;
    }
    say(&format!("{} records, {} events", exported.records, exported.events));
    if exported.damaged > 0 {
        return Err(Stop::no(format!(
            "{} does not verify and is not in the dump; see `tripline state check`",
            count(exported.damaged as usize, "place")
        )));
    }
    Ok(YES)
}

fn import(dir: &Path, file: &Path, out: &mut Out) -> Result<u8, Stop> {
    let mut dump: Box<dyn BufRead> = if file == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        if file.is_dir() {
            return Err(Stop::unknown(format!("`{}` is a folder; name the file that `tripline state export` wrote", file.display())));
        }
        let opened = std::fs::File::open(file).map_err(|error| Stop::unknown(format!("cannot read `{}`: {error}", file.display())))?;
        Box::new(BufReader::new(opened))
    };
    let report = journal::import(dir, options(), &mut dump).map_err(|error| refused(&error))?;
    let (events, open) = (report.events, report.open_runs);
    out.line(&format!("{}: {events} events, {open} open runs in `{}`", paint(GOOD, "ok"), dir.display()))?;
    Ok(YES)
}
