//! `tripline replay`: events through the rules once more.

use std::path::Path;

use serde_json::{Value, json};

use super::args::AdminArgs;
use super::client::{Client, meant};
use super::output::{GOOD, Out, Stop, WARN, clean, complain, count, paint};
use super::settle::{check_rate, pages};
use super::when::{When, parse_when, span};
use super::{NO, YES};
use crate::clock::Clock;
use crate::event::EventId;

/// Events that one request names.
const EVENTS_AT_ONCE: usize = 500;

/// `tripline replay`.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("which").required(true).multiple(true)))]
pub(super) struct ReplayArgs {
    /// Ids of events
    #[arg(value_name = "EVENT", group = "which", conflicts_with_all = ["since", "until", "event_type", "source", "key"])]
    ids: Vec<EventId>,
    /// Received at or after: a moment, a date, or how long ago (`2h`)
    #[arg(long, value_name = "WHEN", value_parser = parse_when, group = "which")]
    since: Option<When>,
    /// Received before
    #[arg(long, value_name = "WHEN", value_parser = parse_when, group = "which")]
    until: Option<When>,
    /// Event type: `queueItem.transactionFailed` or `queueItem.*`
    #[arg(long = "type", value_name = "TYPE", group = "which")]
    event_type: Option<String>,
    /// Source that brought the event
    #[arg(long, group = "which")]
    source: Option<String>,
    /// Part of the event's key or subject
    #[arg(long, group = "which")]
    key: Option<String>,
    /// Only this rule
    #[arg(long, group = "which")]
    rule: Option<String>,
    /// Only where the newest run of the rule is in this state: `dead`, `discarded`, …
    #[arg(long, group = "which")]
    state: Option<String>,
    /// Only count what would run
    #[arg(long)]
    dry_run: bool,
    /// Not more runs at a time: `10/s`, `100/min`
    #[arg(long, value_parser = check_rate)]
    rate: Option<String>,
    /// Also rules whose run succeeded: what they made is made again
    #[arg(long, requires = "reason")]
    force: bool,
    /// Why; kept with the runs
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    admin: AdminArgs,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// What all pages came to.
#[derive(Default)]
struct Sum {
    events: u64,
    planned: u64,
    succeeded: u64,
    under_way: u64,
    missing: Vec<Value>,
    until: Value,
}

pub(super) fn run(config: Option<&Path>, args: &ReplayArgs, out: &mut Out) -> Result<u8, Stop> {
    let now = Clock::system().now();
    let (since, until) = span(args.since, args.until, now)?;
    let client = Client::new(&meant(config, &args.admin)?)?;
    let mut sum = Sum::default();
    let chunks: Vec<&[EventId]> = if args.ids.is_empty() { vec![&[]] } else { args.ids.chunks(EVENTS_AT_ONCE).collect() };
    for ids in chunks {
        let body = json!({
            "events": ids, "since": since, "until": until,
            "type": args.event_type, "source": args.source, "key": args.key, "rule": args.rule, "state": args.state,
            "dry_run": args.dry_run, "rate": args.rate, "force": args.force, "reason": args.reason,
            "from": Some(&sum.until).filter(|until| !until.is_null()),
        });
        pages(&client, "/api/v1/replay", body, "events", |page| {
            let count = |value: Option<&Value>| value.and_then(Value::as_u64).unwrap_or_default();
            let skipped = |field: &str| count(page.get("skipped").and_then(|skipped| skipped.get(field)));
            sum.events += count(page.get("events"));
            sum.planned += count(page.get("planned"));
            sum.succeeded += skipped("succeeded");
            sum.under_way += skipped("under_way");
            sum.missing.extend(page.get("missing").and_then(Value::as_array).into_iter().flatten().cloned());
            sum.until = page.get("until").cloned().unwrap_or_default();
            Ok(sum.events)
        })?;
    }
    tell(args, &sum, out)
}

fn tell(args: &ReplayArgs, sum: &Sum, out: &mut Out) -> Result<u8, Stop> {
    for id in sum.missing.iter().filter_map(Value::as_str) {
        complain(&format!("there is no event `{}` in the journal", clean(id)));
    }
    if args.json {
        out.json(&json!({
            "events": sum.events, "planned": sum.planned, "dry_run": args.dry_run, "missing": sum.missing, "until": sum.until,
            "skipped": {"succeeded": sum.succeeded, "under_way": sum.under_way},
        }))?;
    } else {
        let does = if args.dry_run { "would run" } else { "run" };
        let until = sum.until.as_str().map(|at| format!(", the last one at {at}")).unwrap_or_default();
        let left_out = match (sum.succeeded, sum.under_way) {
            (0, 0) => String::new(),
            (done, open) => format!("; left out: {done} that succeeded (`--force --reason` takes them), {open} not over yet"),
        };
        let (events, rules) = (count(sum.events as usize, "event"), count(sum.planned as usize, "rule"));
        let does = if args.dry_run || sum.planned != 1 { does } else { "runs" };
        match (sum.planned, sum.events, sum.succeeded + sum.under_way) {
            (0, 0, _) => out.line(&format!("{}: there is no event to replay", paint(WARN, "nothing")))?,
            (0, _, 0) => out.line(&format!("{}: no rule that is meant meets the {events}", paint(WARN, "nothing")))?,
            (0, ..) => out.line(&format!("{}: {events}, no rule {does} again{left_out}", paint(WARN, "nothing")))?,
            _ => out.line(&format!("{}: {events}, {rules} {does} again{until}{left_out}", paint(GOOD, "ok")))?,
        }
    }
    Ok(if sum.planned == 0 || !sum.missing.is_empty() { NO } else { YES })
}
