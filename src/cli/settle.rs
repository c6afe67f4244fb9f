//! `tripline runs retry`, `accept` and `discard`: what people decide about runs. The daemon carries it out.

use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};

use super::args::AdminArgs;
use super::client::{Asked, Client, meant};
use super::output::{GOOD, Out, Stop, clean, complain, count, paint};
use super::when::{When, parse_when, span};
use super::{NO, YES};
use crate::clock::Clock;
use crate::event::{RunId, read_json};
use crate::time::Rate;

/// `tripline runs retry`.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("which").required(true).multiple(true)))]
pub(super) struct RetryArgs {
    /// Ids of runs
    #[arg(value_name = "RUN", group = "which", conflicts_with_all = ["cause", "since", "until", "rule", "state"])]
    ids: Vec<String>,
    /// Runs with this cause: its word (`refused`) or its fingerprint, as `runs list --by cause` shows them
    #[arg(long, group = "which")]
    cause: Option<String>,
    /// Planned at or after: a moment, a date, or how long ago (`2h`)
    #[arg(long, value_name = "WHEN", value_parser = parse_when, group = "which")]
    since: Option<When>,
    /// Planned before
    #[arg(long, value_name = "WHEN", value_parser = parse_when, group = "which")]
    until: Option<When>,
    /// Of this rule
    #[arg(long, group = "which")]
    rule: Option<String>,
    /// `dead` or `ambiguous` [default: dead]
    #[arg(long, group = "which", value_parser = ["dead", "ambiguous"])]
    state: Option<String>,
    /// Only count them
    #[arg(long, conflicts_with = "ids")]
    dry_run: bool,
    /// Not more of them at a time: `10/s`, `100/min`
    #[arg(long, conflicts_with = "ids", value_parser = check_rate)]
    rate: Option<String>,
    /// Also those that died three times and more
    #[arg(long, conflicts_with = "ids")]
    force: bool,
    #[command(flatten)]
    admin: AdminArgs,
    /// One JSON object per line
    #[arg(long)]
    json: bool,
}

/// `tripline runs accept`.
#[derive(Debug, clap::Args)]
pub(super) struct AcceptArgs {
    /// Ids of runs
    #[arg(required = true, value_name = "RUN")]
    ids: Vec<String>,
    /// The step's value for later steps, as JSON: `{"Id": 7}`
    #[arg(long, value_name = "JSON", value_parser = parse_json)]
    value: Option<Value>,
    /// Why; kept with the run
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    admin: AdminArgs,
    /// One JSON object per line
    #[arg(long)]
    json: bool,
}

/// `tripline runs discard`.
#[derive(Debug, clap::Args)]
pub(super) struct DiscardArgs {
    /// Ids of runs
    #[arg(required = true, value_name = "RUN")]
    ids: Vec<String>,
    /// Why; kept with the run
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    admin: AdminArgs,
    /// One JSON object per line
    #[arg(long)]
    json: bool,
}

/// A rate is the daemon's to read; here it is only looked at, so that a slip is told at once.
pub(super) fn check_rate(text: &str) -> Result<String, String> {
    Rate::parse(text).map(|_| text.to_owned())
}

fn parse_json(text: &str) -> Result<Value, String> {
    read_json(text.as_bytes()).map_err(|error| format!("no JSON: {error}"))
}

pub(super) fn retry(config: Option<&Path>, args: &RetryArgs, out: &mut Out) -> Result<u8, Stop> {
    if args.ids.is_empty() {
        return retry_many(config, args, out);
    }
    let each = Each { verb: "retry", body: json!({}), done: "is tried again" };
    each.of(config, &args.admin, &args.ids, args.json, out)
}

pub(super) fn accept(config: Option<&Path>, args: &AcceptArgs, out: &mut Out) -> Result<u8, Stop> {
    let mut body = with_reason(args.reason.as_deref());
    if let Some(value) = &args.value {
        body.insert("value".to_owned(), value.clone());
    }
    let each = Each { verb: "accept", body: Value::Object(body), done: "goes on; its step counts as done" };
    each.of(config, &args.admin, &args.ids, args.json, out)
}

pub(super) fn discard(config: Option<&Path>, args: &DiscardArgs, out: &mut Out) -> Result<u8, Stop> {
    let each = Each { verb: "discard", body: Value::Object(with_reason(args.reason.as_deref())), done: "is put aside" };
    each.of(config, &args.admin, &args.ids, args.json, out)
}

fn with_reason(reason: Option<&str>) -> Map<String, Value> {
    reason.map(|reason| ("reason".to_owned(), json!(reason))).into_iter().collect()
}

/// One request for each of some runs.
struct Each {
    verb: &'static str,
    body: Value,
    done: &'static str,
}

impl Each {
    fn of(&self, config: Option<&Path>, admin: &AdminArgs, ids: &[String], as_json: bool, out: &mut Out) -> Result<u8, Stop> {
        let ids: Vec<RunId> = ids.iter().map(|id| id.parse()).collect::<Result<_, String>>().map_err(Stop::no)?;
        let client = Client::new(&meant(config, admin)?)?;
        let mut worst = YES;
        for id in ids {
            match client.post(&format!("/api/v1/runs/{id}/{}", self.verb), &self.body)? {
                Asked::Nobody(message) => return Err(Stop::unknown(nobody(&message))),
                Asked::Answer { status, body } if status < 300 => {
                    if as_json {
                        out.json(&serde_json::from_str(&body).unwrap_or_else(|_| json!({ "id": id.to_string() })))?;
                    } else if out.verbosity() >= 0 {
                        out.line(&format!("{}: {id} {}", paint(GOOD, "ok"), self.done))?;
                    }
                }
                Asked::Answer { status: status @ (404 | 409), body } => {
                    let detail = if status == 404 { "there is no such run".to_owned() } else { detail(&body) };
                    complain(&format!("{id}: {detail}"));
                    worst = NO;
                }
                Asked::Answer { status, body } => return Err(client.refusal(status, &body)),
            }
        }
        Ok(worst)
    }
}

/// What to say when no daemon answers a request that only a daemon can carry out.
pub(super) fn nobody(message: &str) -> String {
    format!("{message} (only the daemon changes what runs do)")
}

fn detail(body: &str) -> String {
    let problem: Value = serde_json::from_str(body).unwrap_or_default();
    clean(problem.get("detail").or_else(|| problem.get("title")).and_then(Value::as_str).unwrap_or_default())
}

fn retry_many(config: Option<&Path>, args: &RetryArgs, out: &mut Out) -> Result<u8, Stop> {
    let now = Clock::system().now();
    let (since, until) = span(args.since, args.until, now)?;
    let body = json!({
        "cause": args.cause, "since": since, "until": until,
        "rule": args.rule, "state": args.state, "rate": args.rate, "dry_run": args.dry_run, "force": args.force,
    });
    let client = Client::new(&meant(config, &args.admin)?)?;
    let (mut matched, mut retried, mut poison) = (0, 0, 0);
    let mut last = Value::Null;
    pages(&client, "/api/v1/runs/retry", body, "runs", |page| {
        let count = |field: &str| page.get(field).and_then(Value::as_u64).unwrap_or_default();
        matched += count("matched");
        retried += count("retried");
        poison += count("poison");
        for left in page.get("left_out").and_then(Value::as_array).into_iter().flatten() {
            if args.json {
                out.json(&json!({ "left_out": left }))?;
            } else {
                let text = |field: &str| left.get(field).and_then(Value::as_str).unwrap_or_default();
                let deaths = left.get("deaths").and_then(Value::as_u64).unwrap_or_default();
                complain(&format!("{} is left out: it died {deaths} times ({}); `--force` takes it too", text("id"), text("message")));
            }
        }
        last = page.get("until").cloned().unwrap_or_default();
        Ok(matched)
    })?;
    if args.json {
        out.json(&json!({ "matched": matched, "retried": retried, "poison": poison, "dry_run": args.dry_run, "until": last }))?;
    } else if args.dry_run {
        out.line(&format!("{} would be tried again{}", count(matched as usize, "run"), poison_note(poison, args.force)))?;
    } else {
        let until = last.as_str().map(|at| format!(", the last one at {at}")).unwrap_or_default();
        out.line(&format!("{}: {retried} of {matched} runs are tried again{until}", paint(GOOD, "ok")))?;
    }
    Ok(if matched == 0 { NO } else { YES })
}

fn poison_note(poison: u64, force: bool) -> String {
    if poison > 0 && !force { format!(", {poison} of them only with `--force`: they died again and again") } else { String::new() }
}

/// Posts `body` again and again with the cursor of the answer before, until there is none. `page` says how far it is.
pub(super) fn pages(
    client: &Client,
    path: &str,
    mut body: Value,
    what: &str,
    mut page: impl FnMut(&Value) -> Result<u64, Stop>,
) -> Result<(), Stop> {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {pos} {msg} ({elapsed})") {
        bar.set_style(style);
    }
    bar.set_message(what.to_owned());
    loop {
        let answer: Value = match client.post(path, &body)? {
            Asked::Nobody(message) => return Err(Stop::unknown(nobody(&message))),
            Asked::Answer { status, body } if status < 300 => {
                serde_json::from_str(&body).map_err(|error| Stop::unknown(format!("{} answered no JSON ({error})", client.shown())))?
            }
            Asked::Answer { status: 404 | 409, body } => return Err(Stop::no(detail(&body))),
            Asked::Answer { status, body } => return Err(client.refusal(status, &body)),
        };
        bar.set_position(page(&answer)?);
        let next = answer.get("next").cloned().unwrap_or_default();
        // A cursor that stays where it is would be asked for ever.
        if next.is_null() || Some(&next) == body.get("cursor") {
            bar.finish_and_clear();
            return Ok(());
        }
        if let Some(fields) = body.as_object_mut() {
            fields.insert("cursor".to_owned(), next);
            if let Some(until) = answer.get("until").filter(|until| !until.is_null()) {
                fields.insert("from".to_owned(), until.clone());
            }
        }
    }
}
