//! `tripline connector call`: one request of a connector, shown as it goes and as it comes back.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::shown::{self, Shown};
use super::used::used;
use super::{save, with};
use crate::calls::{Asked, Bound, Calls, Ended, OF_A_FILE, Outcome};
use crate::cli::output::{BAD, DIM, GOOD, Out, Stop, clean, count, paint, say};
use crate::cli::{NO, UNKNOWN, YES, client};
use crate::clock::{Clock, chance};
use crate::connectors::{Access, CallRequest, Caller, Connector, Operation};
use crate::expr::At;
use crate::retry::RetryPolicy;
use crate::runs::{Class, Failure, Who, wait};

/// How often a page is asked for again before a walk gives up.
const TRIES_MAX: u32 = 5;

/// The longest wait for a service that wants to be left alone.
const PATIENCE: Duration = Duration::from_secs(120);

/// Arguments.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct CallArgs {
    /// The connector; `orchestrator` is always there
    connector: String,
    /// Its operation
    operation: String,
    /// One field of the input; JSON where the field is no text
    #[arg(long, value_name = "FIELD=VALUE", action = clap::ArgAction::Append)]
    with: Vec<String>,
    /// The input as one JSON object; `-` reads stdin
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Read this connector file in place of those of the configuration
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Show the request; nothing is sent and no secret is read
    #[arg(long, conflicts_with_all = ["save_test", "all"])]
    dry_run: bool,
    /// Append call and answer to the connector's file as a test with this name, secrets masked
    #[arg(long, value_name = "NAME", conflicts_with = "all")]
    save_test: Option<String>,
    /// Read all pages
    #[arg(long, requires = "out")]
    all: bool,
    /// Where rows go, one JSON value a line; `-` for stdout
    #[arg(long, value_name = "FILE", requires = "all")]
    out: Option<PathBuf>,
    /// Overwrite `--out`
    #[arg(long, requires = "out")]
    force: bool,
    /// The longest a request may take
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_time)]
    timeout: Duration,
    /// One JSON object: {"request", "response", "output", "error"}
    #[arg(long)]
    json: bool,
}

fn parse_time(text: &str) -> Result<Duration, String> {
    let time = crate::time::parse_duration(text).map_err(|error| error.to_string())?;
    if time.is_zero() || time > Duration::from_secs(3600) { Err("expected a time from 1ms to 1h".to_owned()) } else { Ok(time) }
}

pub(in crate::cli) fn run(config: Option<&Path>, args: &CallArgs, out: &mut Out) -> Result<u8, Stop> {
    let used = used(config, args.file.as_deref(), &args.connector)?;
    let connector = Arc::clone(&used.connector);
    let operation = operation(&connector, &args.operation)?;
    let access = if args.dry_run { used.without_secrets() } else { used.access()? };
    let said = with::input(operation, &args.with, args.input.as_deref())?;
    let (input, request) = rendered(&connector, operation, &access, &said)?;
    if args.dry_run {
        return dry(&connector, &access, &request, args.json, out);
    }
    let runtime = client::runtime()?;
    let calls = used.calls()?;
    let asked = Asked {
        connector: &connector,
        operation,
        access: &access,
        input: &input,
        timeout: operation.timeout.unwrap_or(args.timeout),
        who: Who::Action,
    };
    if let (true, Some(target)) = (args.all, &args.out) {
        return runtime.block_on(all(&calls, asked, request, target, args, out));
    }
    let begun = Instant::now();
    let outcome = runtime.block_on(calls.carry_out(&asked, &request));
    let shown = Shown { connector: &connector, access: &access, request: &request, outcome: &outcome, took: begun.elapsed() };
    if args.json {
        out.json(&shown.to_json())?;
    } else {
        shown.print(out)?;
    }
    if let Some(name) = &args.save_test {
        let Some(response) = &outcome.response else {
            return Err(Stop::With { code: code(&outcome), message: "no answer: no test is saved".into() });
        };
        let file = save::append(&used, operation, name, &said, response)?;
        say(&format!("{}: test {} in {}", paint(GOOD, "saved"), clean(name), file.display()));
    } else if operation.paginate.is_some() && outcome.result.is_ok() && !args.json {
        say(&paint(DIM, "one page; --all --out FILE reads them all"));
    }
    Ok(code(&outcome))
}

/// The operation, or the one that was most likely meant.
fn operation<'c>(connector: &'c Connector, name: &str) -> Result<&'c Operation, Stop> {
    connector.operations.get(name).map(|operation| &**operation).ok_or_else(|| {
        let names = || connector.operations.keys().map(|name| &**name);
        let near = crate::fault::nearest(name, names()).map(|near| format!("; did you mean `{near}`?"));
        let near = near.unwrap_or_else(|| format!("; it has {}", names().take(20).collect::<Vec<_>>().join(", ")));
        Stop::no(format!("connector `{}` has no operation `{}`{near}", connector.name, clean(name)))
    })
}

/// The checked input, and the request that is made of it.
fn rendered(
    connector: &Connector,
    operation: &Operation,
    access: &Access,
    said: &Map<String, Value>,
) -> Result<(Value, CallRequest), Stop> {
    let no = |fault: crate::expr::ExpressionFault| Stop::no(access.mask(&fault.to_string()));
    let input = operation.input(said, access.config(), &At::root("with")).map_err(no)?;
    let caller = Caller {
        run: "call".to_owned(),
        rule: "call".to_owned(),
        idempotency_key: Some(format!("call-{:016x}", (chance() * u64::MAX as f64) as u64)),
        now: Clock::system().now(),
    };
    let request = connector.request(operation, &input, access.config(), &caller).map_err(no)?;
    Ok((input, request))
}

fn dry(connector: &Connector, access: &Access, request: &CallRequest, json: bool, out: &mut Out) -> Result<u8, Stop> {
    if json {
        out.json(&json!({"request": shown::request_json(connector, access, request)}))?;
    } else {
        shown::print_request(connector, access, request, out)?;
    }
    Ok(YES)
}

/// All pages into a file.
async fn all(calls: &Calls, asked: Asked<'_>, request: CallRequest, target: &Path, args: &CallArgs, out: &mut Out) -> Result<u8, Stop> {
    let name = Arc::clone(&asked.operation.name);
    let Some(mut walk) = calls.walk(asked, request, OF_A_FILE) else {
        return Err(Stop::no(format!("operation `{name}` has no pages: call it without `--all`")));
    };
    let mut rows = Rows::open(target, args.force)?;
    let bar = bar();
    let (mut pages, mut tries) = (0_usize, 0);
    while let Some(outcome) = walk.next().await {
        match &outcome.result {
            Ok(Value::Array(page)) => {
                rows.write(page, out)?;
                (pages, tries) = (pages + 1, 0);
                bar.set_message(format!("{}, {}", count(pages, "page"), count(rows.count, "row")));
                bar.tick();
            }
            Ok(_) => {}
            Err(failure) if tries < TRIES_MAX && again(failure) && walk.again() => {
                tries += 1;
                let pause = wait(&RetryPolicy::default(), tries, failure.retry_after, chance());
                if pause > PATIENCE {
                    bar.finish_and_clear();
                    return Err(failed(&outcome, failure, pages, rows.count));
                }
                bar.set_message(format!("{}, {}; waits {}s", count(pages, "page"), count(rows.count, "row"), pause.as_secs()));
                tokio::time::sleep(pause).await;
            }
            Err(failure) => {
                bar.finish_and_clear();
                rows.flush(out)?;
                return Err(failed(&outcome, failure, pages, rows.count));
            }
        }
    }
    bar.finish_and_clear();
    rows.flush(out)?;
    let more = match walk.ended() {
        Some(Ended::Pages(max)) => format!("; there may be more: `paginate.max` allows {}", count(max as usize, "page")),
        Some(Ended::Bounds(Bound::Rows(_) | Bound::Bytes(_))) => "; there is more than one file is to hold".to_owned(),
        Some(Ended::Last) | None => String::new(),
    };
    let place = if target == Path::new("-") { String::new() } else { format!(" into {}", target.display()) };
    if args.json && target != Path::new("-") {
        out.json(&json!({"pages": pages, "rows": rows.count, "file": target.display().to_string(), "complete": more.is_empty()}))?;
    } else {
        say(&format!("{}: {} of {}{place}{more}", paint(GOOD, "written"), count(rows.count, "row"), count(pages, "page")));
    }
    Ok(YES)
}

/// Whether asking again may help.
fn again(failure: &Failure) -> bool {
    matches!(failure.class, Class::Connect | Class::Unknown | Class::Throttled | Class::Server | Class::Invalid | Class::Conflict)
}

fn failed(outcome: &Outcome, failure: &Failure, pages: usize, rows: usize) -> Stop {
    let message = format!("{}: {failure} (after {}, {})", outcome.trace.request, count(pages, "page"), count(rows, "row"));
    Stop::With { code: code(outcome), message: clean(&message) }
}

/// 0 with a value, 1 where the service or the file says no, 2 where nothing is known.
fn code(outcome: &Outcome) -> u8 {
    match (&outcome.result, &outcome.response) {
        (Ok(_), _) => YES,
        (Err(_), Some(_)) => NO,
        (Err(failure), None) => match failure.class {
            Class::Auth | Class::Configuration | Class::Refused | Class::Conflict => NO,
            _ => UNKNOWN,
        },
    }
}

fn bar() -> ProgressBar {
    // Hidden by itself where stderr is no terminal.
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
        bar.set_style(style);
    }
    bar
}

/// Rows, one JSON value a line.
struct Rows {
    file: Option<std::io::BufWriter<std::fs::File>>,
    path: PathBuf,
    count: usize,
}

impl Rows {
    fn open(path: &Path, force: bool) -> Result<Self, Stop> {
        let own = path.to_owned();
        if path == Path::new("-") {
            return Ok(Self { file: None, path: own, count: 0 });
        }
        let mut options = std::fs::OpenOptions::new();
        let options = if force { options.write(true).create(true).truncate(true) } else { options.write(true).create_new(true) };
        match options.open(path) {
            Ok(file) => Ok(Self { file: Some(std::io::BufWriter::new(file)), path: own, count: 0 }),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(Stop::no(format!("`{}` exists and is not overwritten; `--force` replaces it", path.display())))
            }
            Err(error) => Err(Stop::unknown(format!("cannot write `{}`: {error}", path.display()))),
        }
    }

    fn write(&mut self, rows: &[Value], out: &mut Out) -> Result<(), Stop> {
        let path = self.path.display();
        for row in rows {
            match &mut self.file {
                Some(file) => writeln!(file, "{row}").map_err(|error| Stop::unknown(format!("cannot write `{path}`: {error}")))?,
                None => out.json(row)?,
            }
        }
        self.count += rows.len();
        Ok(())
    }

    fn flush(&mut self, out: &mut Out) -> Result<(), Stop> {
        match &mut self.file {
            Some(file) => file.flush().map_err(|error| Stop::unknown(format!("cannot write `{}`: {error}", self.path.display()))),
            None => out.flush(),
        }
    }
}

/// How an outcome is told in colours.
pub(super) fn mark(outcome: &Outcome) -> anstyle::Style {
    if outcome.result.is_ok() { GOOD } else { BAD }
}
