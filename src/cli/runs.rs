//! `tripline runs`: what rules did, and trying again what is dead.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::args::{AdminArgs, Filters, GroupBy};
use super::client::{Asked, Client, meant};
use super::events::to_millis;
use super::listing::{self, Query};
use super::output::{BAD, Cell, DIM, GOOD, Out, STRONG, Stop, WARN, clean, complain, cut, paint, say};
use super::store::open;
use super::{NO, YES};
use crate::event::RunId;

/// How much of a step's value is shown to people, in characters; `--json` has all of it.
const VALUE_SHOWN_MAX: usize = 300;

pub(super) fn list(
    config: Option<&Path>,
    admin: &AdminArgs,
    filters: &Filters,
    by: Option<GroupBy>,
    as_json: bool,
    out: &mut Out,
) -> Result<u8, Stop> {
    let store = open(config, admin, out)?;
    let mut query = Query::of(filters);
    if by.is_some() {
        // A count of the newest fifty would be no count.
        query.limit = usize::MAX;
    }
    let runs = listing::runs(&*store, &query)?;
    if by == Some(GroupBy::Cause) {
        return by_cause(&runs, as_json, out);
    }
    if as_json {
        for run in &runs {
            out.json(run)?;
        }
        return Ok(YES);
    }
    if runs.is_empty() {
        say("no runs");
        return Ok(YES);
    }
    let rows: Vec<Vec<Cell>> = runs
        .iter()
        .map(|run| {
            let state = text(run, "state");
            vec![
                Cell::plain(text(run, "id")),
                Cell::styled(to_millis(text(run, "created")), DIM),
                Cell::styled(state, style(state)),
                Cell::plain(run.get("attempts").map_or_else(|| "-".to_owned(), Value::to_string)),
                Cell::plain(text(run, "rule")),
                Cell::plain(cause(run).map(|(code, message)| format!("{code}: {message}")).unwrap_or_default()),
            ]
        })
        .collect();
    out.table(&["ID", "CREATED", "STATE", "TRIES", "RULE", "CAUSE"], &rows)?;
    Ok(YES)
}

/// Runs with one cause.
#[derive(Default)]
struct Group {
    count: usize,
    rules: Vec<String>,
    newest: String,
    message: String,
}

fn by_cause(runs: &[Value], as_json: bool, out: &mut Out) -> Result<u8, Stop> {
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    for run in runs {
        let (code, message) = cause(run).unwrap_or(("none", ""));
        let group = groups.entry(code.to_owned()).or_default();
        group.count += 1;
        let rule = text(run, "rule");
        if !group.rules.iter().any(|known| known == rule) {
            group.rules.push(rule.to_owned());
        }
        text(run, "id").clone_into(&mut group.newest);
        message.clone_into(&mut group.message);
    }
    let mut groups: Vec<(String, Group)> = groups.into_iter().collect();
    groups.sort_by_key(|(_, group)| std::cmp::Reverse(group.count));
    if as_json {
        for (cause, group) in &groups {
            let Group { count, rules, newest, message } = group;
            out.json(&json!({ "cause": cause, "count": count, "rules": rules, "newest": newest, "message": message }))?;
        }
        return Ok(YES);
    }
    if groups.is_empty() {
        say("no runs");
        return Ok(YES);
    }
    let rows: Vec<Vec<Cell>> = groups
        .iter()
        .map(|(cause, group)| {
            vec![
                Cell::styled(cause, STRONG),
                Cell::plain(group.count.to_string()),
                Cell::plain(group.rules.join(", ")),
                Cell::plain(&group.newest),
                Cell::plain(&group.message),
            ]
        })
        .collect();
    out.table(&["CAUSE", "RUNS", "RULES", "NEWEST", "ITS MESSAGE"], &rows)?;
    Ok(YES)
}

pub(super) fn show(config: Option<&Path>, admin: &AdminArgs, id: &str, as_json: bool, out: &mut Out) -> Result<u8, Stop> {
    let id: RunId = id.parse().map_err(Stop::unknown)?;
    let store = open(config, admin, out)?;
    let run = store.run(&id.to_string())?.ok_or_else(|| Stop::no(format!("there is no run `{id}` in the journal")))?;
    if as_json {
        out.json(&run)?;
        return Ok(YES);
    }
    let state = text(&run, "state");
    out.line(&format!("{} {}", paint(STRONG, text(&run, "id")), paint(style(state), state)))?;
    for (label, field) in [("rule", "rule"), ("event", "event"), ("created", "created"), ("updated", "updated"), ("next", "next_at")] {
        if let Some(value) = run.get(field).and_then(Value::as_str) {
            out.line(&format!("  {:<8} {}", label, clean(value)))?;
        }
    }
    if let Some((code, message)) = cause(&run) {
        out.line(&format!("  {:<8} {}: {}", "cause", paint(WARN, &clean(code)), clean(message)))?;
    }
    for step in run.get("steps").and_then(Value::as_array).into_iter().flatten() {
        show_step(step, out)?;
    }
    for request in run.get("would").and_then(Value::as_array).into_iter().flatten() {
        out.line(&format!("  would    {}", cut(&clean(&request.to_string()), VALUE_SHOWN_MAX)))?;
    }
    Ok(YES)
}

fn show_step(step: &Value, out: &mut Out) -> Result<(), Stop> {
    let state = text(step, "state");
    let twice = step.get("maybe_twice").and_then(Value::as_bool).unwrap_or(false);
    let twice = if twice { " (may be there twice)" } else { "" };
    out.line(&format!(
        "  step {} {} {}{twice}",
        paint(STRONG, &clean(text(step, "id"))),
        clean(text(step, "kind")),
        paint(style(state), state)
    ))?;
    if let Some(value) = step.get("value").filter(|value| !value.is_null()) {
        out.line(&format!("    value  {}", cut(&clean(&brief(value).to_string()), VALUE_SHOWN_MAX)))?;
    }
    for attempt in step.get("attempts").and_then(Value::as_array).into_iter().flatten() {
        let number = attempt.get("number").and_then(Value::as_u64).unwrap_or_default();
        let status = attempt.get("status").and_then(Value::as_u64).map_or_else(|| "-".to_owned(), |status| status.to_string());
        let error = attempt.get("error").and_then(Value::as_str).unwrap_or_default();
        let line = format!("    try {number}  {}  {status}  {}  {error}", to_millis(text(attempt, "started")), text(attempt, "request"));
        out.line(clean(&line).trim_end())?;
    }
    Ok(())
}

pub(super) fn retry(config: Option<&Path>, admin: &AdminArgs, ids: &[String], as_json: bool, out: &mut Out) -> Result<u8, Stop> {
    let ids: Vec<RunId> = ids.iter().map(|id| id.parse()).collect::<Result<_, String>>().map_err(Stop::unknown)?;
    let client = Client::new(&meant(config, admin)?)?;
    let mut worst = YES;
    for id in ids {
        match client.ask(reqwest::Method::POST, &format!("/api/v1/runs/{id}/retry"), &[])? {
            Asked::Nobody(message) => return Err(Stop::unknown(format!("{message} (a run is tried again by the daemon)"))),
            Asked::Answer { status, body } if status < 300 => {
                if as_json {
                    out.json(&serde_json::from_str(&body).unwrap_or_else(|_| json!({ "id": id.to_string() })))?;
                } else if out.verbosity() >= 0 {
                    out.line(&format!("{}: {id} is tried again", paint(GOOD, "ok")))?;
                }
            }
            Asked::Answer { status: status @ (404 | 409), body } => {
                let problem: Value = serde_json::from_str(&body).unwrap_or_default();
                let detail = problem.get("detail").or_else(|| problem.get("title")).and_then(Value::as_str).unwrap_or_default();
                let detail = if status == 404 { "there is no such run" } else { detail };
                complain(&format!("{id}: {}", clean(detail)));
                worst = NO;
            }
            Asked::Answer { status, body } => return Err(client.refusal(status, &body)),
        }
    }
    Ok(worst)
}

/// Of what Orchestrator answers, the fields by which people know an item or job; anything else as it is.
fn brief(value: &Value) -> Value {
    const KNOWN_BY: &[&str] = &["Id", "Key", "Reference", "Status", "State", "duplicate"];
    let Some(fields) = value.as_object().filter(|fields| fields.contains_key("Id")) else { return value.clone() };
    let known = KNOWN_BY.iter().filter_map(|name| Some(((*name).to_owned(), fields.get(*name).filter(|v| !v.is_null())?.clone())));
    Value::Object(known.collect())
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or("-")
}

/// Code and message of why a run stands where it stands.
fn cause(run: &Value) -> Option<(&str, &str)> {
    let code = run.get("cause")?.as_str()?;
    Some((code, run.get("message").and_then(Value::as_str).unwrap_or_default()))
}

fn style(state: &str) -> anstyle::Style {
    match state {
        "succeeded" | "shadowed" | "done" => GOOD,
        "dead" | "failed" => BAD,
        "ambiguous" | "retrying" | "blocked" | "paused" | "unknown" => WARN,
        _ => anstyle::Style::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_have_a_code_and_a_message() {
        let run = json!({"cause": "refused", "message": "POST x: 400"});
        assert_eq!(cause(&run), Some(("refused", "POST x: 400")));
        assert_eq!(cause(&json!({"cause": null, "message": null})), None);
        assert_eq!(cause(&json!({"cause": "gave_up"})), Some(("gave_up", "")));
    }
}
