//! `tripline backfill`: past changes of a source. The daemon reads them; this command asks for it and watches.

use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::args::AdminArgs;
use super::client::{Asked, Client, meant};
use super::output::{GOOD, Out, Stop, clean, paint, say};
use super::when::{When, parse_when, span};
use super::{NO, YES};
use crate::clock::Clock;
use crate::event::is_plain_name;

/// How often the daemon is asked how far it is.
const LOOK: Duration = Duration::from_millis(300);

/// The steps of the progress bar.
const STEPS: u64 = 1000;

/// `tripline backfill`.
#[derive(Debug, clap::Args)]
pub(super) struct BackfillArgs {
    /// The polled source
    #[arg(value_name = "SOURCE")]
    source: String,
    /// Changes from then on: a moment, a date, or how long ago (`2d`)
    #[arg(long, value_name = "WHEN", value_parser = parse_when, required_unless_present_any = ["stop", "watch"])]
    since: Option<When>,
    /// Up to then [default: now]
    #[arg(long, value_name = "WHEN", value_parser = parse_when)]
    until: Option<When>,
    /// Only count the events; none is kept
    #[arg(long)]
    dry_run: bool,
    /// Let rules see the events; without it they are kept, marked late, and no rule runs
    #[arg(long)]
    run_rules: bool,
    /// Watch the one that is under way
    #[arg(long, conflicts_with_all = ["since", "until", "dry_run", "run_rules", "stop"])]
    watch: bool,
    /// Stop the one that is under way
    #[arg(long, conflicts_with_all = ["since", "until", "dry_run", "run_rules"])]
    stop: bool,
    #[command(flatten)]
    admin: AdminArgs,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: Option<&Path>, args: &BackfillArgs, out: &mut Out) -> Result<u8, Stop> {
    if !is_plain_name(&args.source) {
        return Err(Stop::no(format!("`{}` is no name of a source", clean(&args.source))));
    }
    let now = Clock::system().now();
    let client = Client::new(&meant(config, &args.admin)?)?;
    let path = format!("/api/v1/sources/{}/backfill", args.source);
    let first = if args.stop {
        client.ask(reqwest::Method::DELETE, &path, &[])?
    } else if args.watch {
        client.ask(reqwest::Method::GET, &path, &[])?
    } else {
        let (since, until) = span(args.since, args.until, now)?;
        let body = json!({
            "since": since, "until": until,
            "dry_run": args.dry_run, "run_rules": args.run_rules,
        });
        client.post(&path, &body)?
    };
    let mut standing = read(&client, first)?;
    let bar = ProgressBar::new(STEPS);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {percent}% {msg} ({elapsed})") {
        bar.set_style(style);
    }
    let mut told = String::new();
    while standing["state"] == "running" {
        bar.set_position((standing["share"].as_f64().unwrap_or(0.0) * STEPS as f64) as u64);
        bar.set_message(format!("{} events", standing["found"]));
        if let Some(failure) = standing["failure"].as_str().filter(|failure| *failure != told) {
            told = failure.to_owned();
            bar.suspend(|| say(&format!("the daemon tries again: {}", clean(failure))));
        }
        // A timer is made where its runtime is.
        client.runtime().block_on(async { tokio::time::sleep(LOOK).await });
        standing = read(&client, client.ask(reqwest::Method::GET, &path, &[])?)?;
    }
    bar.finish_and_clear();
    if args.json {
        out.json(&standing)?;
    } else {
        let count = |name: &str| standing[name].as_u64().unwrap_or_default();
        let what = if standing["dry_run"] == true {
            format!("{} events; nothing was kept", count("found"))
        } else {
            let rules = if standing["run_rules"] == true { "rules see them" } else { "marked late, no rule ran" };
            format!("{} events, {} of them new ({rules}), {} known", count("found"), count("brought"), count("confirmed"))
        };
        let state = standing["state"].as_str().unwrap_or_default();
        out.line(&format!("{}: {what}", paint(GOOD, &clean(state))))?;
    }
    Ok(if standing["state"] == "done" || args.stop { YES } else { NO })
}

fn read(client: &Client, asked: Asked) -> Result<Value, Stop> {
    match asked {
        Asked::Nobody(message) => Err(Stop::unknown(message)),
        Asked::Answer { status, body } if status < 300 => {
            serde_json::from_str(&body).map_err(|error| Stop::unknown(format!("{} answered no JSON ({error})", client.shown())))
        }
        Asked::Answer { status: 400 | 404, body } => {
            let problem: Value = serde_json::from_str(&body).unwrap_or_default();
            Err(Stop::no(clean(problem["detail"].as_str().unwrap_or("it is refused"))))
        }
        Asked::Answer { status, body } => Err(client.refusal(status, &body)),
    }
}
