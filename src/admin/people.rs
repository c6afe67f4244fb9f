//! What people do to runs: try again, count as done, put aside; one by one, or many by what they have in common.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use bytes::Bytes;
use hyper::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::reads::Reading;
use super::routes::{Answer, answer, found, not_kept};
use super::{Api, query};
use crate::event::RunId;
use crate::http::server::Problem;
use crate::journal::{Journal, RunQuery};
use crate::metric;
use crate::runs::{Fact, Pace, REASON_MAX, Run, RunState, Selection, Verdict};
use crate::time::{Rate, Timestamp, parse_duration};

/// Runs that one request tries again; `next` of the answer leads to further ones.
pub(super) const RETRIED_MAX: usize = 1_000;
/// Runs that one request looks at.
const LOOKED_AT_MAX: usize = 20_000;
/// Runs that are read at once.
const PAGE: usize = 500;
/// Runs that an answer names as poison.
const NAMED_MAX: usize = 100;
/// The longest value of an accepted step, in bytes of JSON.
const VALUE_MAX: usize = 16 << 10;

/// The JSON body of a request; an empty one says nothing.
pub(super) fn body<T: DeserializeOwned + Default>(bytes: &Bytes) -> Result<T, Problem> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(T::default());
    }
    serde_json::from_slice(bytes).map_err(|error| Problem::new(StatusCode::BAD_REQUEST, format!("the body: {error}")))
}

/// A moment in a body: a time, a date, or how long ago.
pub(super) fn moment(name: &str, text: Option<&str>, now: Timestamp) -> Result<Option<Timestamp>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let found = Timestamp::parse_lenient(text).or_else(|| parse_duration(text).ok().map(|ago| now.minus(ago)));
    found.map(Some).ok_or_else(|| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            format!("`{name}`: expected a time such as 2026-01-31T12:00:00Z, or how long ago: 90s, 2h, 3d"),
        )
    })
}

/// A rate in a body, per second.
pub(super) fn rate(text: Option<&str>) -> Result<Option<f64>, Problem> {
    text.map(|text| Rate::parse(text).map(Rate::per_second))
        .transpose()
        .map_err(|why| Problem::new(StatusCode::BAD_REQUEST, format!("`rate`: {why}")))
}

/// A reason, cut to what is kept.
pub(super) fn reason(text: Option<String>) -> Option<String> {
    text.map(|text| text.trim().chars().take(REASON_MAX).collect::<String>()).filter(|text| !text.is_empty())
}

/// `reason`, and for an accepted step its `value`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Words {
    reason: Option<String>,
    value: Option<Value>,
}

fn refused(run: &Run, why: &str) -> Problem {
    let state = run.state.as_str();
    Problem::new(StatusCode::CONFLICT, format!("the run is `{state}`; {why}")).with("state", state.into())
}

/// Records what a person decided, and answers the run as it is then.
async fn decide(reading: &Reading, run: &Run, fact: Fact, what: &str) -> Answer {
    let id = run.id();
    reading.journal.record(id, vec![fact]).await.map_err(not_kept)?;
    tracing::info!(run = %id, rule = %run.planned.rule, was = run.state.as_str(), "a person {what} a run");
    let after = reading.run(id).await?;
    found(after.map(|run| run.to_json().to_string()))
}

/// A dead or ambiguous run is tried again; in every other state that would be a second run of the same steps, or nothing.
pub(super) async fn retry(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Answer {
    let (id, reading) = (query::run_id(&id)?, api.reads()?.place().await?);
    let Some(run) = reading.run(id).await? else { return found(None) };
    if !run.is_left_to_people() {
        return Err(refused(&run, "only dead runs and ambiguous ones can be tried again"));
    }
    let fact = Fact::Retried { at: api.admin.clock.now(), due: None };
    decide(&reading, &run, fact, "retried").await
}

/// The unfinished step counts as done.
pub(super) async fn accept(State(api): State<Arc<Api>>, Path(id): Path<String>, bytes: Bytes) -> Answer {
    let words: Words = body(&bytes)?;
    let value = words.value.unwrap_or(Value::Null);
    if value.to_string().len() > VALUE_MAX {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "`value` is longer than 16 KiB"));
    }
    let (id, reading) = (query::run_id(&id)?, api.reads()?.place().await?);
    let Some(run) = reading.run(id).await? else { return found(None) };
    if !run.may_be_accepted() {
        return Err(refused(&run, "only the unfinished step of a dead or ambiguous run can be counted as done"));
    }
    let fact = Fact::Accepted { value, reason: reason(words.reason), at: api.admin.clock.now() };
    decide(&reading, &run, fact, "accepted").await
}

/// The run is put aside.
pub(super) async fn discard(State(api): State<Arc<Api>>, Path(id): Path<String>, bytes: Bytes) -> Answer {
    let words: Words = body(&bytes)?;
    if words.value.is_some() {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "the body: `value` means nothing here; expected `reason`"));
    }
    let (id, reading) = (query::run_id(&id)?, api.reads()?.place().await?);
    let Some(run) = reading.run(id).await? else { return found(None) };
    if !run.may_be_discarded() {
        let why = if run.state.is_settled() { "it is over" } else { "it is at work: pause its rule or wait a moment" };
        return Err(refused(&run, why));
    }
    let fact = Fact::Discarded { reason: reason(words.reason), blocked: run.state == RunState::Blocked, at: api.admin.clock.now() };
    let answered = decide(&reading, &run, fact, "discarded").await?;
    let rule = run.planned.rule.to_string();
    metrics::counter!(metric::RUNS, "rule" => rule, "state" => RunState::Discarded.as_str()).increment(1);
    Ok(answered)
}

/// Which runs are to be tried again.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Many {
    cause: Option<String>,
    since: Option<String>,
    until: Option<String>,
    rule: Option<String>,
    state: Option<String>,
    rate: Option<String>,
    dry_run: bool,
    force: bool,
    /// Where the page before ended.
    cursor: Option<RunId>,
    /// When the first turn is; the page before says it.
    from: Option<Timestamp>,
}

/// Tries many again: newest first, a page at a time.
pub(super) async fn retry_many(State(api): State<Arc<Api>>, bytes: Bytes) -> Answer {
    let asked: Many = body(&bytes)?;
    let now = api.admin.clock.now();
    let state = match asked.state.as_deref() {
        None => RunState::Dead,
        Some(text) => RunState::ALL.into_iter().find(|state| state.as_str() == text && Selection::takes(*state)).ok_or_else(|| {
            Problem::new(StatusCode::BAD_REQUEST, "`state`: expected `dead` or `ambiguous`: only those can be tried again")
        })?,
    };
    let query = RunQuery {
        since: moment("since", asked.since.as_deref(), now)?,
        until: moment("until", asked.until.as_deref(), now)?,
        state: Some(state),
        rule: asked.rule.clone(),
        event: None,
        limit: PAGE,
        before: asked.cursor,
    };
    let mut pace = Pace::new(rate(asked.rate.as_deref())?, asked.from.map_or(now, |from| from.max(now)));
    let selection = Selection { cause: asked.cause.clone(), force: asked.force };
    let reading = api.reads()?.place().await?;
    let page = reading.read(move |journal| select(journal, query, &selection)).await?;
    let matched = page.meant.len() + page.poison;
    if !asked.dry_run && !page.meant.is_empty() {
        // The oldest of them has its turn first.
        let facts = page.meant.iter().rev().map(|id| {
            let due = pace.turn();
            (*id, vec![Fact::Retried { at: now, due: pace.is_limited().then_some(due) }])
        });
        reading.journal.record_all(facts.collect()).await.map_err(not_kept)?;
        tracing::info!(
            runs = page.meant.len(),
            poison = page.poison,
            cause = asked.cause,
            rule = asked.rule,
            "runs are tried again as asked"
        );
    }
    Ok(many_answer(&page, matched, asked.dry_run, &pace))
}

fn many_answer(page: &Selected, matched: usize, dry_run: bool, pace: &Pace) -> Response {
    let until = (pace.is_limited() && !dry_run).then(|| pace.upcoming());
    answer(
        StatusCode::OK,
        &json!({
            "matched": matched,
            "retried": if dry_run { 0 } else { page.meant.len() },
            "dry_run": dry_run,
            "poison": page.poison,
            "left_out": page.named,
            "next": page.next,
            "until": until,
        }),
    )
}

/// A page of what was selected.
#[derive(Default)]
struct Selected {
    meant: Vec<RunId>,
    poison: usize,
    /// The first of those that died too often.
    named: Vec<Value>,
    next: Option<RunId>,
}

fn select(journal: &Journal, mut query: RunQuery, selection: &Selection) -> std::io::Result<Selected> {
    let mut found = Selected::default();
    let mut looked_at = 0;
    loop {
        query.limit = PAGE.min(RETRIED_MAX - found.meant.len());
        let page = journal.runs(&query)?;
        looked_at += page.items.len();
        for run in page.items.iter().rev() {
            match selection.judge(run) {
                Verdict::Meant => found.meant.push(run.id()),
                Verdict::Poison => {
                    found.poison += 1;
                    if found.named.len() < NAMED_MAX {
                        let message = run.cause.as_ref().map(|cause| &cause.message);
                        found.named.push(json!({"id": run.id(), "rule": run.planned.rule, "deaths": run.deaths, "message": message}));
                    }
                }
                Verdict::Other => {}
            }
        }
        query.before = page.next;
        if page.next.is_none() || found.meant.len() >= RETRIED_MAX || looked_at >= LOOKED_AT_MAX {
            found.next = page.next;
            return Ok(found);
        }
    }
}
