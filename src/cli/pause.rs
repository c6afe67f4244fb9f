//! `tripline pause` and `resume`: a rule, a target or everything is held back and goes on.

use std::path::Path;

use serde_json::{Value, json};

use super::args::AdminArgs;
use super::client::{Asked, Client, meant};
use super::output::{Cell, DIM, GOOD, Out, STRONG, Stop, clean, paint, say};
use super::settle::nobody;
use super::{NO, YES};

/// `tripline pause`.
#[derive(Debug, clap::Args)]
pub(super) struct PauseArgs {
    /// A rule, a target (an orchestrator's name, or a host), or `all`
    #[arg(value_name = "TARGET|RULE|all", conflicts_with_all = ["rule", "target"])]
    name: Option<String>,
    /// This rule
    #[arg(long, conflicts_with = "target")]
    rule: Option<String>,
    /// This target
    #[arg(long)]
    target: Option<String>,
    /// Why; shown with the runs that wait
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    admin: AdminArgs,
    /// One JSON object per line
    #[arg(long)]
    json: bool,
}

/// `tripline resume`.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("which").required(true)))]
pub(super) struct ResumeArgs {
    /// A rule, a target, or `all`
    #[arg(value_name = "TARGET|RULE|all", group = "which")]
    name: Option<String>,
    /// This rule
    #[arg(long, group = "which")]
    rule: Option<String>,
    /// This target
    #[arg(long, group = "which")]
    target: Option<String>,
    #[command(flatten)]
    admin: AdminArgs,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn pause(config: Option<&Path>, args: &PauseArgs, out: &mut Out) -> Result<u8, Stop> {
    let client = Client::new(&meant(config, &args.admin)?)?;
    if args.name.is_none() && args.rule.is_none() && args.target.is_none() {
        return list(&client, args.json, out);
    }
    let body = json!({"name": args.name, "rule": args.rule, "target": args.target, "reason": args.reason});
    change(&client, "/api/v1/pause", &body, args.json, out, |answer| {
        let kind = text(answer, "kind");
        let what = if kind == "all" { "everything".to_owned() } else { format!("{kind} {}", text(answer, "name")) };
        if answer["changed"] == true {
            format!("{what} is paused")
        } else {
            format!("{what} was paused already, since {}", text(answer, "since"))
        }
    })
}

pub(super) fn resume(config: Option<&Path>, args: &ResumeArgs, out: &mut Out) -> Result<u8, Stop> {
    let client = Client::new(&meant(config, &args.admin)?)?;
    let body = json!({"name": args.name, "rule": args.rule, "target": args.target});
    change(&client, "/api/v1/resume", &body, args.json, out, |answer| format!("{} goes on", text(answer, "name")))
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or("-")
}

fn change(
    client: &Client,
    path: &str,
    body: &Value,
    as_json: bool,
    out: &mut Out,
    said: impl FnOnce(&Value) -> String,
) -> Result<u8, Stop> {
    match client.post(path, body)? {
        Asked::Nobody(message) => Err(Stop::unknown(nobody(&message))),
        Asked::Answer { status, body } if status < 300 => {
            let answer: Value = serde_json::from_str(&body).unwrap_or_default();
            if as_json {
                out.json(&answer)?;
            } else if out.verbosity() >= 0 {
                out.line(&format!("{}: {}", paint(GOOD, "ok"), clean(&said(&answer))))?;
            }
            Ok(YES)
        }
        Asked::Answer { status: 404, body } => {
            let problem: Value = serde_json::from_str(&body).unwrap_or_default();
            Err(Stop::With { code: NO, message: clean(text(&problem, "detail")) })
        }
        Asked::Answer { status, body } => Err(client.refusal(status, &body)),
    }
}

fn list(client: &Client, as_json: bool, out: &mut Out) -> Result<u8, Stop> {
    let answer = client.json("/api/v1/pauses", &[])?.unwrap_or_default();
    let items = answer.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
    if as_json {
        items.iter().try_for_each(|item| out.json(item))?;
        return Ok(YES);
    }
    if items.is_empty() {
        say("nothing is paused");
        return Ok(YES);
    }
    let rows: Vec<Vec<Cell>> = items
        .iter()
        .map(|item| {
            vec![
                Cell::plain(text(item, "kind")),
                Cell::styled(text(item, "name"), STRONG),
                Cell::styled(text(item, "since"), DIM),
                Cell::plain(item.get("reason").and_then(Value::as_str).unwrap_or_default()),
            ]
        })
        .collect();
    out.table(&["KIND", "NAME", "SINCE", "REASON"], &rows)?;
    Ok(YES)
}
