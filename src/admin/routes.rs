//! The routes: each reads its parameters, asks the journal or the daemon, and answers.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hyper::header::CONTENT_TYPE;
use hyper::{HeaderMap, StatusCode, Uri};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Api, health, operate, people, query, stream};
use crate::event::EventId;
use crate::fault::Fault;
use crate::http::server::Problem;
use crate::journal::{AppendError, Page};
use crate::rules::Rule;

pub(super) type Answer = Result<Response, Problem>;

/// Seconds after which what was refused for now may be tried again.
pub(super) const COME_AGAIN: u32 = 5;

/// All routes.
pub(super) fn router(api: Arc<Api>) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/api/v1/events", get(events))
        .route("/api/v1/events/stream", get(follow))
        .route("/api/v1/events/{id}", get(event))
        .route("/api/v1/events/{id}/explain", get(explain))
        .route("/api/v1/runs", get(runs))
        .route("/api/v1/runs/{id}", get(run))
        .route("/api/v1/runs/retry", post(people::retry_many))
        .route("/api/v1/runs/{id}/retry", post(people::retry))
        .route("/api/v1/runs/{id}/accept", post(people::accept))
        .route("/api/v1/runs/{id}/discard", post(people::discard))
        .route("/api/v1/replay", post(operate::replay))
        .route("/api/v1/pause", post(operate::pause))
        .route("/api/v1/resume", post(operate::resume))
        .route("/api/v1/pauses", get(operate::pauses))
        .route("/api/v1/breakers", get(operate::breakers))
        .route("/api/v1/sources", get(sources))
        .route(
            "/api/v1/sources/{source}/backfill",
            get(operate::show_backfill).post(operate::begin_backfill).delete(operate::stop_backfill),
        )
        .route("/api/v1/reload", post(reload))
        .route("/api/v1/rules", get(rules))
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "there is nothing at this path"))
        .method_not_allowed_fallback(async || Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this method is not served at this path"))
        .with_state(api)
}

async fn livez() -> Response {
    answer(StatusCode::OK, &json!({"live": true}))
}

async fn readyz(State(api): State<Arc<Api>>) -> Response {
    let journal = api.admin.journal.borrow().clone().map(|journal| journal.health().borrow().clone());
    let refused = api.admin.control.standing().and_then(|standing| standing.refused).map(|(at, _)| at);
    let (status, reasons) = health::readiness(journal.as_ref(), *api.admin.ready.borrow(), refused);
    answer(status, &reasons)
}

async fn metrics(State(api): State<Arc<Api>>) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], api.admin.control.metrics()).into_response()
}

async fn sources(State(api): State<Arc<Api>>) -> Response {
    answer(StatusCode::OK, &api.admin.control.sources())
}

async fn events(State(api): State<Arc<Api>>, uri: Uri) -> Answer {
    let query = query::events(&uri, api.admin.clock.now())?;
    let reads = api.reads()?;
    let page = reads.read(move |journal| {
        let routings = journal.routings()?;
        Ok(listed(journal.event_texts(&query, |event| routings.to_json(event).to_string())?))
    });
    Ok(text(StatusCode::OK, page.await?))
}

async fn event(State(api): State<Arc<Api>>, Path(id): Path<String>, uri: Uri) -> Answer {
    let id = query::event_id(&id)?;
    if query::explained(&uri)? {
        return explanation(&api, id).await;
    }
    let reads = api.reads()?;
    let event = reads.read(move |journal| {
        let Some(event) = journal.event(id)? else { return Ok(None) };
        Ok(Some(journal.routings()?.to_json(&event).to_string()))
    });
    found(event.await?)
}

async fn explain(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Answer {
    explanation(&api, query::event_id(&id)?).await
}

/// An event with each rule of the generation that it was routed under: whether it ran, or the first condition that failed.
async fn explanation(api: &Api, id: EventId) -> Answer {
    let reads = api.reads()?;
    let explained = reads.read(move |journal| {
        let Some(event) = journal.event(id)? else { return Ok(None) };
        Ok(Some(journal.routing(id)?.explain(&event).to_string()))
    });
    found(explained.await?)
}

async fn runs(State(api): State<Arc<Api>>, uri: Uri) -> Answer {
    let query = query::runs(&uri, api.admin.clock.now())?;
    let reads = api.reads()?;
    let page = reads.read(move |journal| Ok(listed(journal.run_texts(&query, |run| run.to_json().to_string())?)));
    Ok(text(StatusCode::OK, page.await?))
}

/// A page of items that are JSON already. As one value it would be in memory several times as large.
fn listed(page: Page<String, impl Serialize>) -> String {
    let mut text = String::with_capacity(page.items.iter().map(|item| item.len() + 1).sum::<usize>() + 64);
    text.push_str("{\"items\":[");
    for (at, item) in page.items.into_iter().enumerate() {
        text.push_str(if at > 0 { "," } else { "" });
        text.push_str(&item);
    }
    text.push_str("],\"next\":");
    text.push_str(&json!(page.next).to_string());
    text.push('}');
    text
}

async fn run(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Answer {
    let id = query::run_id(&id)?;
    let run = api.reads()?.place().await?.run(id).await?;
    found(run.map(|run| run.to_json().to_string()))
}

async fn follow(State(api): State<Arc<Api>>, headers: HeaderMap, uri: Uri) -> Answer {
    stream::follow(&api, &headers, &uri)
}

/// The rules in force, and why newer ones are not.
async fn rules(State(api): State<Arc<Api>>) -> Answer {
    let Some(standing) = api.admin.control.standing() else {
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the store is still being opened").retry_after(1));
    };
    let refused = standing.refused.map(|(at, faults)| json!({"at": at, "faults": faults.iter().map(fault).collect::<Vec<_>>()}));
    let one = |rule: &Arc<Rule>| json!({"rule": rule.name, "description": rule.description, "mode": rule.mode, "place": rule.place});
    let items: Vec<_> = standing.rules.rules().iter().map(one).collect();
    Ok(answer(StatusCode::OK, &json!({"generation": standing.generation, "refused": refused, "items": items, "next": null})))
}

async fn reload(State(api): State<Arc<Api>>) -> Answer {
    match api.admin.control.reload().await {
        Ok(generation) => Ok(answer(StatusCode::OK, &json!({"generation": generation}))),
        Err(faults) => {
            let list: Vec<_> = faults.iter().map(fault).collect();
            Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "nothing was changed: the files have faults")
                .with("faults", Value::Array(list)))
        }
    }
}

fn fault(fault: &Fault) -> Value {
    let place = fault.place.as_ref();
    json!({
        "severity": fault.severity,
        "code": fault.code,
        "file": place.map(|p| p.source.path.display().to_string()),
        "line": place.map(|p| p.line).filter(|line| *line > 0),
        "column": place.map(|p| p.column).filter(|column| *column > 0),
        "message": fault.message,
        "help": fault.help,
    })
}

pub(super) fn not_kept(error: AppendError) -> Problem {
    tracing::warn!(%error, "a request of the admin API could not be kept");
    let detail = match error {
        AppendError::Full(_) => "the store has no space",
        AppendError::Ended(_) => "the service is stopping",
    };
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(COME_AGAIN)
}

pub(super) fn found(json: Option<String>) -> Answer {
    match json {
        Some(json) => Ok(text(StatusCode::OK, json)),
        None => Err(Problem::new(StatusCode::NOT_FOUND, "there is nothing with this id; it may have been removed by retention")),
    }
}

pub(super) fn answer(status: StatusCode, json: &Value) -> Response {
    text(status, json.to_string())
}

pub(super) fn text(status: StatusCode, json: String) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], json).into_response()
}
