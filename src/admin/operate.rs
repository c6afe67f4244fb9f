//! Pauses, breakers and replay: what people ask of the work as a whole.

use std::pin::Pin;
use std::sync::Arc;

use axum::extract::{Path, State};
use bytes::Bytes;
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::people::{body, moment, rate, reason};
use super::routes::{Answer, COME_AGAIN, answer};
use super::{Api, query};
use crate::event::EventId;
use crate::http::server::Problem;
use crate::journal::EventQuery;
use crate::runs::{ReplayAsked, RunState};
use crate::time::Timestamp;

/// Events that one request may name.
const EVENTS_MAX: usize = 1_000;

/// What the daemon does about pauses and replays.
pub trait Operate: Send + Sync + 'static {
    /// Pauses; answers the pause as JSON.
    fn pause(&self, asked: PauseAsked) -> Operated<'_>;
    /// Ends a pause.
    fn resume(&self, asked: PauseAsked) -> Operated<'_>;
    /// All pauses in force, as JSON.
    fn pauses(&self) -> Vec<Value>;
    /// Breakers that are not closed, as JSON.
    fn breakers(&self) -> Vec<Value>;
    /// Begins, shows or stops the backfill of a source.
    fn backfill(&self, source: String, asked: BackfillAsked) -> Operated<'_>;
    /// Replays one page of events.
    fn replay(&self, page: ReplayPage) -> Operated<'_>;
}

/// The future of an answer, boxed so that [`Operate`] can be a trait object.
pub type Operated<'a> = Pin<Box<dyn Future<Output = Result<Value, Refused>> + Send + 'a>>;

/// Why it was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is no such rule or target.
    Unknown(String),
    /// It cannot be done as asked.
    Bad(String),
    /// Not now: no space, or the service is stopping.
    Later(String),
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Unknown(detail) => Self::new(StatusCode::NOT_FOUND, detail),
            Refused::Bad(detail) => Self::new(StatusCode::BAD_REQUEST, detail),
            Refused::Later(detail) => Self::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(COME_AGAIN),
        }
    }
}

/// What is to be paused or resumed: `name` alone is looked for among rules and targets.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PauseAsked {
    /// A rule, a target, or `all`.
    pub name: Option<String>,
    /// A rule.
    pub rule: Option<String>,
    /// A target: an orchestrator's name or a host.
    pub target: Option<String>,
    /// Why.
    pub reason: Option<String>,
}

/// What is asked of a source's past.
#[derive(Clone, Debug)]
pub enum BackfillAsked {
    /// To be brought.
    Begin {
        /// From then on.
        since: Timestamp,
        /// Up to then.
        until: Timestamp,
        /// Rules see the events.
        run_rules: bool,
        /// Only counted.
        dry_run: bool,
    },
    /// How it stands.
    Show,
    /// No further.
    Stop,
}

/// The body of a backfill.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct BackfillBody {
    since: Option<String>,
    until: Option<String>,
    run_rules: bool,
    dry_run: bool,
}

/// A replay, checked as far as that needs no rules.
#[derive(Clone, Debug)]
pub struct ReplayPage {
    /// What is to be replayed.
    pub asked: ReplayAsked,
    /// Which events, and where the page before ended.
    pub query: EventQuery,
    /// Runs per second.
    pub rate: Option<f64>,
    /// When the first turn is.
    pub from: Option<Timestamp>,
}

/// The body of a replay.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ReplayBody {
    events: Vec<EventId>,
    since: Option<String>,
    until: Option<String>,
    #[serde(rename = "type")]
    event_type: Option<String>,
    source: Option<String>,
    key: Option<String>,
    rule: Option<String>,
    state: Option<String>,
    dry_run: bool,
    rate: Option<String>,
    force: bool,
    reason: Option<String>,
    cursor: Option<EventId>,
    from: Option<Timestamp>,
}

fn operate(api: &Api) -> Result<Arc<dyn Operate>, Problem> {
    api.admin
        .control
        .operate()
        .ok_or_else(|| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the store is still being opened").retry_after(1))
}

/// One of `name`, `rule` and `target`.
fn one_of(asked: &PauseAsked) -> Result<(), Problem> {
    let given = [&asked.name, &asked.rule, &asked.target].into_iter().flatten().filter(|text| !text.trim().is_empty()).count();
    if given == 1 {
        Ok(())
    } else {
        Err(Problem::new(StatusCode::BAD_REQUEST, "the body: expected one of `name` (or `all`), `rule`, `target`"))
    }
}

pub(super) async fn pause(State(api): State<Arc<Api>>, bytes: Bytes) -> Answer {
    let mut asked: PauseAsked = body(&bytes)?;
    one_of(&asked)?;
    asked.reason = reason(asked.reason);
    let done = operate(&api)?.pause(asked).await?;
    Ok(answer(StatusCode::OK, &done))
}

pub(super) async fn resume(State(api): State<Arc<Api>>, bytes: Bytes) -> Answer {
    let asked: PauseAsked = body(&bytes)?;
    one_of(&asked)?;
    let done = operate(&api)?.resume(asked).await?;
    Ok(answer(StatusCode::OK, &done))
}

pub(super) async fn pauses(State(api): State<Arc<Api>>) -> Answer {
    Ok(answer(StatusCode::OK, &json!({"items": operate(&api)?.pauses(), "next": null})))
}

pub(super) async fn breakers(State(api): State<Arc<Api>>) -> Answer {
    Ok(answer(StatusCode::OK, &json!({"items": operate(&api)?.breakers(), "next": null})))
}

pub(super) async fn begin_backfill(State(api): State<Arc<Api>>, Path(source): Path<String>, bytes: Bytes) -> Answer {
    let asked: BackfillBody = body(&bytes)?;
    let now = api.admin.clock.now();
    let bad = |detail: &'static str| Problem::new(StatusCode::BAD_REQUEST, detail);
    let since = moment("since", asked.since.as_deref(), now)?.ok_or_else(|| bad("from when on? Give `since`"))?;
    let until = moment("until", asked.until.as_deref(), now)?.unwrap_or(now).min(now);
    if since >= until {
        return Err(bad("`since` is not before `until`"));
    }
    let begin = BackfillAsked::Begin { since, until, run_rules: asked.run_rules, dry_run: asked.dry_run };
    Ok(answer(StatusCode::ACCEPTED, &operate(&api)?.backfill(source, begin).await?))
}

pub(super) async fn show_backfill(State(api): State<Arc<Api>>, Path(source): Path<String>) -> Answer {
    Ok(answer(StatusCode::OK, &operate(&api)?.backfill(source, BackfillAsked::Show).await?))
}

pub(super) async fn stop_backfill(State(api): State<Arc<Api>>, Path(source): Path<String>) -> Answer {
    Ok(answer(StatusCode::OK, &operate(&api)?.backfill(source, BackfillAsked::Stop).await?))
}

pub(super) async fn replay(State(api): State<Arc<Api>>, bytes: Bytes) -> Answer {
    let asked = checked(body(&bytes)?, api.admin.clock.now())?;
    let done = operate(&api)?.replay(asked).await?;
    Ok(answer(StatusCode::OK, &done))
}

fn checked(asked: ReplayBody, now: Timestamp) -> Result<ReplayPage, Problem> {
    let bad = |detail: &'static str| Problem::new(StatusCode::BAD_REQUEST, detail);
    let of_query = [&asked.since, &asked.until, &asked.event_type, &asked.source, &asked.key];
    let selects = of_query.into_iter().any(Option::is_some);
    if asked.events.is_empty() && !selects && asked.rule.is_none() && asked.state.is_none() {
        return Err(bad("which events? Give `events`, or one of `since`, `until`, `type`, `source`, `key`, `rule`, `state`"));
    }
    if !asked.events.is_empty() && selects {
        return Err(bad("`events` names them; `since`, `until`, `type`, `source` and `key` have no meaning beside it"));
    }
    if asked.events.len() > EVENTS_MAX {
        return Err(bad("`events` names more than 1,000; send several requests"));
    }
    let why = reason(asked.reason);
    if asked.force && why.is_none() {
        return Err(bad("`force` does again what succeeded: give a `reason`"));
    }
    let state = |text: &str| {
        RunState::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| bad("`state`: expected a run's state, such as `dead`"))
    };
    Ok(ReplayPage {
        query: EventQuery {
            since: moment("since", asked.since.as_deref(), now)?,
            until: moment("until", asked.until.as_deref(), now)?,
            event_type: asked.event_type.as_deref().map(query::event_type),
            source: asked.source,
            key: asked.key,
            limit: 0,
            before: asked.cursor,
        },
        asked: ReplayAsked {
            events: asked.events,
            rule: asked.rule,
            state: asked.state.as_deref().map(state).transpose()?,
            force: asked.force,
            reason: why,
            dry_run: asked.dry_run,
        },
        rate: rate(asked.rate.as_deref())?,
        from: asked.from.map(|from| from.max(now)),
    })
}
