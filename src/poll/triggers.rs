//! Polling triggers of connectors.
//!
//! A pass asks the trigger's operation for rows, page by page, and keeps the events they tell together with how far it came: a
//! crash repeats at most, and what is repeated folds. A row that does not say what it has to stops its source: nothing is
//! passed over.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::{Poll, pause};
use crate::calls::{Asked, Bounds, Calls, Ended};
use crate::clock::{Clock, chance};
use crate::config::TriggerSource;
use crate::connectors::{Access, Caller, Connector, RowCursor, Trigger, TriggerKind, changes};
use crate::event::{Change, Verified, Via};
use crate::expr::At;
use crate::http::client::ATTEMPT_TIMEOUT;
use crate::journal::{AppendError, Delivery, Kept, Space};
use crate::metric::POLL_REQUESTS;
use crate::runs::{Class, Failure, Who};
use crate::time::Timestamp;

/// The most rows of one pass.
pub const ROWS_MAX: usize = 20_000;

/// What is read in one pass.
const BOUNDS: Bounds = Bounds { rows: ROWS_MAX, bytes: 64 << 20 };

/// Rows whose events are kept in one group.
const ROWS_AT_ONCE: usize = 500;

/// A source that listens to a connector's trigger by polling, ready to be read.
#[derive(Clone, Debug)]
pub struct Triggered {
    /// As configured.
    pub config: TriggerSource,
    /// The connector.
    pub connector: Arc<Connector>,
    /// Its trigger.
    pub trigger: Trigger,
    /// The values that the connector is used with.
    pub access: Arc<Access>,
    /// What sends.
    pub calls: Calls,
}

/// What a pass gave.
#[derive(Debug, Default)]
pub(super) struct TriggerPass {
    /// Rows that were read.
    rows: usize,
    /// Events that were new.
    pub(super) brought: u64,
    /// Events that were there already.
    pub(super) confirmed: u64,
}

/// Reads one source, pass by pass.
pub(super) async fn read_on(poll: &Poll, source: &Triggered) {
    let mut failures = 0_u32;
    loop {
        #[cfg(test)]
        crate::panics::on_purpose::here(&source.config.name);
        let result = Box::pin(pass(poll, source)).await;
        let failure = match &result {
            Ok(_) => None,
            Err(Stopped::Service(failure)) => Some(failure.clone()),
            // It says so itself, loudly; the next pass shows whether it goes on.
            Err(Stopped::Journal(false)) => None,
            Err(Stopped::Journal(true)) => return,
        };
        failures = if failure.is_some() { failures.saturating_add(1) } else { 0 };
        let pass = result.unwrap_or_default();
        poll.statuses.trigger_passed(source, &pass, failure.as_ref(), poll.clock.now());
        let retry_after = failure.and_then(|failure| failure.retry_after);
        let new = usize::try_from(pass.brought).unwrap_or(usize::MAX);
        tokio::time::sleep(pause(source.config.every, new, failures, retry_after, chance())).await;
    }
}

/// Why a pass ended early.
enum Stopped {
    /// The service, or what it answered.
    Service(Failure),
    /// The journal: true when it has ended for good.
    Journal(bool),
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Self::Service(failure)
    }
}

fn wrong(message: String) -> Failure {
    Failure { class: Class::Refused, status: None, message, retry_after: None }
}

/// Reads everything that is new, and keeps it.
async fn pass(poll: &Poll, source: &Triggered) -> Result<TriggerPass, Stopped> {
    let key = cursor_key(&source.config);
    let kept = poll.journal.kept(Space::Cursor, &key).map_err(|error| {
        tracing::error!(%error, source = &*source.config.name, "cannot read what is kept of a source");
        Stopped::Journal(false)
    })?;
    let mut cursor = match kept {
        None => RowCursor::default(),
        // To begin anew would pass over what came since.
        Some(value) => serde_json::from_slice::<Value>(&value)
            .ok()
            .and_then(|value| RowCursor::from_json(&value))
            .ok_or_else(|| wrong("what is kept of how far the source is cannot be read".to_owned()))?,
    };
    let since = cursor.since();
    cursor.begin(source.config.look_back, poll.clock.now());
    let mask = |why: String| wrong(source.access.mask(&why));
    let now = poll.clock.now();
    let rows = read(source, &cursor, &poll.clock).await?;
    let rows = source.connector.read_rows(&source.trigger, rows, source.access.config(), now).map_err(mask)?;
    let mut pass = TriggerPass { rows: rows.len(), ..TriggerPass::default() };
    // An empty first pass is kept too: what comes later is new.
    let chunks: Vec<_> = if rows.is_empty() { vec![&rows[..]] } else { rows.chunks(ROWS_AT_ONCE).collect() };
    let last = chunks.len().saturating_sub(1);
    let mut open = cursor.is_unfinished();
    for (index, chunk) in chunks.into_iter().enumerate() {
        let before = cursor.clone();
        let changes = changes(&source.config.name, chunk, &since, &mut cursor, source.config.look_back, now).map_err(mask)?;
        if index == last {
            cursor.finish();
        }
        let ends = open && index == last;
        if changes.is_empty() && cursor.says_as(&before) && !ends {
            continue;
        }
        open = index < last;
        let kept = Kept { space: Space::Cursor, key: key.clone(), value: Some(Bytes::from(cursor.to_json().to_string())) };
        let done = if changes.is_empty() {
            poll.journal.keep(vec![kept]).await
        } else {
            poll.journal.accept_keeping(delivery(source, changes, now), vec![kept]).await.map(|accepted| {
                pass.brought += accepted.events.len() as u64;
                pass.confirmed += accepted.folded as u64;
            })
        };
        done.map_err(|error| Stopped::Journal(matches!(error, AppendError::Ended(_))))?;
    }
    tracing::debug!(source = &*source.config.name, rows = pass.rows, brought = pass.brought, "a trigger was read");
    Ok(pass)
}

/// The name under which a source's cursor is kept: another trigger is begun anew.
fn cursor_key(source: &TriggerSource) -> String {
    format!("{}/trigger:{}.{}", source.name, source.of.connector, source.of.trigger)
}

fn delivery(source: &Triggered, changes: Vec<Change>, now: Timestamp) -> Delivery {
    Delivery {
        source: Arc::clone(&source.config.name),
        via: Via::Poll,
        orchestrator: None,
        verified: Verified::Yes,
        received: now,
        body: Bytes::new(),
        delivery_id: None,
        changes,
    }
}

/// All rows that the operation lists, page by page.
async fn read(source: &Triggered, cursor: &RowCursor, clock: &Clock) -> Result<Vec<Value>, Failure> {
    let (connector, access) = (&source.connector, &source.access);
    let TriggerKind::Poll { operation, .. } = &source.trigger.kind else {
        return Err(wrong(format!("trigger `{}` is not polled", source.trigger.name)));
    };
    let mask = |why: String| wrong(access.mask(&why));
    let operation = connector.operations.get(operation).ok_or_else(|| wrong(format!("there is no operation `{operation}`")))?;
    let now = clock.now();
    let with = connector.trigger_input(&source.trigger, cursor, access.config(), now).map_err(mask)?;
    let input = operation.input(&with, access.config(), &At::root("with")).map_err(|fault| mask(fault.to_string()))?;
    let caller = Caller { run: String::new(), rule: source.config.name.to_string(), idempotency_key: None, now };
    let request = connector.request(operation, &input, access.config(), &caller).map_err(|fault| mask(fault.to_string()))?;
    let timeout = operation.timeout.unwrap_or(ATTEMPT_TIMEOUT);
    let asked = Asked { connector, operation, access, input: &input, timeout, who: Who::Polling };
    let count = || {
        let (source, endpoint) = (source.config.name.to_string(), operation.name.to_string());
        metrics::counter!(POLL_REQUESTS, "source" => source, "endpoint" => endpoint).increment(1);
    };
    let mut rows = Vec::new();
    let mut add = |value: Value| match value {
        Value::Array(items) => {
            rows.extend(items);
            Ok(())
        }
        Value::Null => Ok(()),
        _ => Err(wrong(format!("operation `{}` does not give a list of rows, which a trigger needs", operation.name))),
    };
    match source.calls.walk(asked, request.clone(), BOUNDS) {
        None => {
            count();
            add(source.calls.carry_out(&asked, &request).await.result?)?;
        }
        Some(mut walk) => {
            while let Some(outcome) = walk.next().await {
                count();
                add(outcome.result?)?;
            }
            // Rows come in any order: what is behind the last page may be older than what is here.
            if !matches!(walk.ended(), None | Some(Ended::Last)) {
                let what = "there are more rows than `paginate.max` allows or one pass takes";
                let help = "raise it, or narrow the operation down by `cursor` in `with`";
                return Err(wrong(format!("operation `{}`: {what}: {help}", operation.name)));
            }
        }
    }
    if rows.len() > ROWS_MAX {
        return Err(wrong(format!("operation `{}` gave more than {ROWS_MAX} rows: narrow it down by `cursor` in `with`", operation.name)));
    }
    Ok(rows)
}
