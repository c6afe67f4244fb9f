//! `tripline runs list` and `show`: what rules did.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::YES;
use super::args::{AdminArgs, Filters, GroupBy};
use super::events::to_millis;
use super::listing::{self, Query};
use super::output::{BAD, Cell, DIM, GOOD, Out, STRONG, Stop, WARN, clean, cut, paint, say};
use super::store::{gone, open};
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
    let mut query = Query::of(filters)?;
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

/// Runs with one cause, told apart by its fingerprint.
struct Group {
    count: usize,
    cause: String,
    rule: String,
    newest: String,
    message: String,
}

fn by_cause(runs: &[Value], as_json: bool, out: &mut Out) -> Result<u8, Stop> {
    let mut groups: BTreeMap<&str, Group> = BTreeMap::new();
    for run in runs {
        let (code, message) = cause(run).unwrap_or(("none", ""));
        let newest = || Group { count: 0, cause: code.to_owned(), rule: String::new(), newest: String::new(), message: String::new() };
        let group = groups.entry(text(run, "fingerprint")).or_insert_with(newest);
        group.count += 1;
        text(run, "rule").clone_into(&mut group.rule);
        text(run, "id").clone_into(&mut group.newest);
        message.clone_into(&mut group.message);
    }
    let mut groups: Vec<(&str, Group)> = groups.into_iter().collect();
    groups.sort_by_key(|(_, group)| std::cmp::Reverse(group.count));
    if as_json {
        for (fingerprint, group) in &groups {
            let Group { count, cause, rule, newest, message } = group;
            let print = Some(fingerprint).filter(|print| **print != "-");
            out.json(&json!({
                "fingerprint": print, "cause": cause, "count": count, "rule": rule, "newest": newest, "message": message,
            }))?;
        }
        return Ok(YES);
    }
    if groups.is_empty() {
        say("no runs");
        return Ok(YES);
    }
    let rows: Vec<Vec<Cell>> = groups
        .iter()
        .map(|(fingerprint, group)| {
            vec![
                Cell::styled(fingerprint, STRONG),
                Cell::plain(group.count.to_string()),
                Cell::plain(&group.cause),
                Cell::plain(&group.rule),
                Cell::plain(&group.newest),
                Cell::plain(&group.message),
            ]
        })
        .collect();
    out.table(&["FINGERPRINT", "RUNS", "CAUSE", "RULE", "NEWEST", "ITS MESSAGE"], &rows)?;
    Ok(YES)
}

pub(super) fn show(config: Option<&Path>, admin: &AdminArgs, id: &str, as_json: bool, out: &mut Out) -> Result<u8, Stop> {
    let id: RunId = id.parse().map_err(Stop::no)?;
    let store = open(config, admin, out)?;
    let run = store.run(&id.to_string())?.ok_or_else(|| gone("run", id, id.event))?;
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
        if let Some(print) = run.get("fingerprint").and_then(Value::as_str) {
            out.line(&format!("  {:<8} {}", "like", clean(print)))?;
        }
    }
    show_steps(&run, out)?;
    if let Some(ending) = run.get("on_give_up") {
        let state = text(ending, "state");
        out.line(&format!("  on_give_up {}", paint(style(state), state)))?;
        show_steps(ending, out)?;
    }
    for note in run.get("notes").and_then(Value::as_array).into_iter().flatten() {
        let reason = note.get("reason").and_then(Value::as_str).map(|reason| format!(": {reason}")).unwrap_or_default();
        out.line(&clean(&format!("  note     {}  {} by a person{reason}", to_millis(text(note, "at")), text(note, "what"))))?;
    }
    for request in run.get("would").and_then(Value::as_array).into_iter().flatten() {
        out.line(&format!("  would    {}", cut(&clean(&request.to_string()), VALUE_SHOWN_MAX)))?;
    }
    Ok(YES)
}

fn show_steps(of: &Value, out: &mut Out) -> Result<(), Stop> {
    of.get("steps").and_then(Value::as_array).into_iter().flatten().try_for_each(|step| show_step(step, out))
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
        let side = attempt.get("side").and_then(Value::as_str).map(|side| format!("({side}) ")).unwrap_or_default();
        let line =
            format!("    try {number}  {}  {status}  {}  {side}{error}", to_millis(text(attempt, "started")), text(attempt, "request"));
        out.line(clean(&line).trim_end())?;
        if let Some(recorded) = attempt.get("recorded") {
            show_message("sent", recorded.get("request"), out)?;
            show_message("got", recorded.get("response"), out)?;
        }
    }
    Ok(())
}

/// Headers and body of a message that was recorded.
fn show_message(what: &str, message: Option<&Value>, out: &mut Out) -> Result<(), Stop> {
    let Some(message) = message.filter(|message| message.is_object()) else { return Ok(()) };
    for header in message.get("headers").and_then(Value::as_array).into_iter().flatten() {
        let part = |index: usize| header.get(index).and_then(Value::as_str).unwrap_or_default();
        out.line(&clean(&format!("      {what:<4} {}: {}", part(0), part(1))))?;
    }
    if let Some(body) = message.get("body").and_then(Value::as_str) {
        out.line(&format!("      {what:<4} {}", cut(&clean(body), VALUE_SHOWN_MAX)))?;
    }
    Ok(())
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
