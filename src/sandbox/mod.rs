//! A simulated Orchestrator for development and tests, over HTTP. It shares no decision with what it tests: it signs,
//! filters, retries and folds nothing with the code of `signature`, `normalize`, `runs` or the client.
//!
//! # What it serves
//! The documented shapes under `/odata/…` and `/{org}/{tenant}/orchestrator_/odata/…`: Folders, QueueDefinitions, QueueItems,
//! QueueItemEvents, Queues (AddQueueItem, BulkAddQueueItems, StartTransaction, SetTransactionResult), Releases, Jobs,
//! Webhooks; tokens under `/identity_/connect/token`, `/identity/connect/token`, `/{org}/identity_/connect/token`,
//! `/oauth/token` and `/api/Account/Authenticate`. Any non-empty client, user key or password gets a token (unless
//! [`Options::client`] names the one); what begins with `pat`, `sandbox-pat` or `rt_` is taken for a personal access token. Everything is in memory, within the limits of `limits`, and gone at the end.
//!
//! At first there are the folders `Shared` (1) and `Finance` (2), in Finance the queues `Invoices` and `Invoices-Review`
//! (unique references, three automatic retries and none), `Payments`, `Open` (references not unique) and the process
//! `InvoiceProcessing`.
//!
//! # What it is asked through `/sandbox`
//! | request | does |
//! |---|---|
//! | `GET /sandbox/state` | counts, webhooks with their breakers, how many requests to limited lists came in the busiest minute |
//! | `GET, DELETE /sandbox/requests` | requests so far: method, path, query, status, fault; `?path=…&method=…` picks |
//! | `GET /sandbox/deliveries` | webhook deliveries: event id, type, status or why not, the answer; `?type=…` |
//! | `POST /sandbox/folders` `{path}` | a folder and those above it |
//! | `POST /sandbox/queues` `{name, folders, unique, retries, retry_abandoned}` | a queue, its folders as needed |
//! | `POST /sandbox/releases` `{name, folder}` | a process |
//! | `POST /sandbox/jobs/{id}` `{state, info, output}` | moves a job on, with its event |
//! | `POST /sandbox/items/{id}/abandon` | what a day In Progress does |
//! | `POST /sandbox/items/{id}/purge` | removes it without a trace but for its rows in the change feed, as retention does |
//! | `POST /sandbox/fill` `{queue, folder, count, done}` | so many new items at once, without webhook events; with `done` each is taken and ends well |
//! | `POST /sandbox/take` `{queue, folder, count}` | robots take so many items at once, without webhook events |
//! | `POST /sandbox/queues/{id}` `{name, folders}` | renames a queue, shares it to these folders; `DELETE` removes it with its items |
//! | `POST /sandbox/feed` `{keep, restart, hide, show, data}` | the change feed: keeps only the newest rows; fills `Data` of every row with so many characters; gives Ids from the beginning, as after a restored database; hides the next rows, as if they were committed late; shows them |
//! | `POST /sandbox/events` | any body as a webhook event; EventId, Timestamp and TenantId are added where missing |
//! | `POST /sandbox/breakers/close` | closes the breakers of all webhooks |
//! | `ANY /sandbox/sink/{name}` | an HTTP endpoint that keeps what it gets; 200 unless a fault says otherwise |
//! | `GET, DELETE /sandbox/sinks/{name}` | what it got |
//! | `GET, POST, DELETE /sandbox/faults` | faults, see below |
//!
//! # Versions
//! [`Options::api_version`] up to 11 (2020.10) has no UniqueKey, no keys of jobs, no operations and no `LastModificationTime`, gives pages
//! of items up to 1000 rows and refuses to order by DeferDate. [`Options::feed`] and [`Options::counters`] take away what not every
//! Orchestrator has; [`Options::list_rate`] is the limit of Automation Cloud.
//!
//! # Faults
//! `{"kind": …, "match": {"path": …, "method": …}, "times": n, "after": n, …}`: the request's path must contain `path`; the first
//! `after` matches pass, the next `times` (default 1; 0 for ever) meet the fault. Kinds:
//!
//! | kind | does | options |
//! |---|---|---|
//! | `429`, `500`, `502`, `503`, `504`, any status from 400 | answers so, does nothing | `retry_after` (number or text), `body`, `code` |
//! | `statuses` | answers one after the other, sink included; 2xx are carried out | `statuses`: [503, 503, 200] |
//! | `reset` / `reset_after_commit` | closes the connection with a reset, before / after doing it | |
//! | `timeout` / `timeout_after_commit` | silence, before / after doing it, then a reset | `millis` (120000) |
//! | `slow` | does it and answers late | `millis` (5000) |
//! | `truncated` | does it, cuts the answer in the middle | |
//! | `html` | 200 with a sign-in page, does nothing | |
//! | `empty` | 200 with `{}`, does nothing | |
//! | `redirect` | 307 elsewhere, does nothing | `location` |
//! | `expired_tokens` | every token so far is void from now on | |
//! | `page_drift` | pages after the first begin `shift` rows early (late when negative) | `shift` (1) |
//! | `shuffled` | does it, the rows of the list come in reverse and one of them twice | |
//! | `webhook_loss` | a delivery is lost on the way and its breaker stays closed | `type`, `rate` |
//! | `webhook_duplicates` | a delivery comes again, same EventId | `type`, `copies` (1) |
//! | `webhook_reorder` | so many deliveries are held and come in reverse | `window` (5) |
//! | `webhook_delay` | a delivery comes late | `type`, `millis` (1000) |
//! | `webhook_bad_signature` | a delivery is signed with another secret | `type` |
//! | `webhook_bad_timestamp` | Timestamp is 0001-01-01 | `type` |

mod auth;
mod call;
mod control;
mod delivery;
mod dto;
mod events;
mod faults;
mod items;
mod jobs;
mod limits;
mod lists;
mod model;
mod odata;
mod records;
mod routes;
mod server;
mod throttle;
mod transactions;
mod webhooks;
mod world;

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::clock::Clock;
use crate::time::Rate;

pub use server::run;

/// How a sandbox behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long a webhook's breaker stays open after a failed delivery; one hour at Orchestrator.
    pub breaker: Duration,
    /// How long a delivery may take; 60 s at Orchestrator.
    pub delivery_timeout: Duration,
    /// The time.
    pub clock: Clock,
    /// Deliveries on their way at once; 10 at Orchestrator.
    pub workers: usize,
    /// What `api-supported-versions` says.
    pub api_version: String,
    /// How long a token is valid.
    pub token_lifetime: Duration,
    /// The only client id and secret that get a token; without it any do.
    pub client: Option<(String, String)>,
    /// Whether a token's scopes decide what it may call.
    pub enforce_scopes: bool,
    /// The share of deliveries that are lost on the way, 0 to 1.
    pub webhook_loss: f64,
    /// The `TenantId` in events.
    pub tenant_id: i64,
    /// The first id that is given; without it one that rises with the clock, so that a sandbox started anew repeats none.
    pub first_id: Option<i64>,
    /// Faults from the start, in the form of `POST /sandbox/faults`.
    pub faults: Vec<serde_json::Value>,
    /// Whether there is anything at the start beside the two folders.
    pub seed: bool,
    /// Whether there is a change feed (`QueueItemEvents`).
    pub feed: bool,
    /// Whether there are counters of queues (`RetrieveQueuesProcessingStatus`).
    pub counters: bool,
    /// How many requests to the lists of items and jobs are answered; 100 a minute at Automation Cloud, no limit elsewhere.
    pub list_rate: Option<Rate>,
}

/// Whether `fault` is one, in the form of `POST /sandbox/faults`.
///
/// # Errors
/// What is wrong with it.
pub fn check_fault(fault: &serde_json::Value) -> Result<(), String> {
    faults::Faults::default().add(fault).map(|_| ()).map_err(|refusal| refusal.message)
}

impl Default for Options {
    /// Orchestrator's own figures.
    fn default() -> Self {
        Self {
            breaker: Duration::from_secs(3600),
            delivery_timeout: Duration::from_secs(60),
            clock: Clock::system(),
            workers: 10,
            api_version: "20.0".to_owned(),
            token_lifetime: Duration::from_secs(3600),
            client: None,
            enforce_scopes: false,
            webhook_loss: 0.0,
            tenant_id: 1,
            first_id: None,
            faults: Vec::new(),
            seed: true,
            feed: true,
            counters: true,
            list_rate: None,
        }
    }
}
