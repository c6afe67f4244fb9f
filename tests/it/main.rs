//! The real binary over loopback, and the store through crashes. One binary for all of it, so that it links once.

#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout, missing_docs)]

mod support;

/// Items and jobs that are awaited.
mod awaits;
/// Past changes.
mod backfill;
/// Changed rules over the past.
mod backtest;
/// The command line.
mod cli;
/// The system's clock is set.
mod clock;
/// Connectors and the step `call`.
mod connectors;
/// Requests of connectors, one by one.
mod connectors_call;
/// Connectors made of OpenAPI descriptions.
mod connectors_import;
/// The connectors that come with it.
mod connectors_ready;
/// kill -9 under load.
mod crash;
/// The story that new users see.
mod demo;
/// The units and the image.
mod deploy;
/// The examples of the documentation.
mod docs;
/// Modes, dedupe, expires, explanations of stored events.
mod engine;
/// Example rules and what they promise.
mod examples;
/// Every family of events, signed.
mod families;
/// What targets and the machine do to runs.
mod faults;
/// Slow peers, overload, guesses.
mod floods;
/// Random lives of items.
mod histories;
/// The rule language and its tools.
mod language;
/// Start, reload, stop, two at once.
mod life;
/// What is looked for in Orchestrator before the start.
mod online;
/// What people do to runs: try again, accept, put aside, pause, replay.
mod ops;
/// Polling.
mod poll;
/// Power cuts.
mod power;
/// Rule files that change.
mod reload;
mod retention;
/// Big folders and long holes.
mod scale;
/// The JSON Schemas for editors.
mod schema;
/// Secrets, strangers' texts, files, pages in a browser.
mod security;
/// Other services' deliveries.
mod services;
/// A long life.
mod soak;
/// What people do with the state folder, and damage to the journal.
mod state;
/// The states of runs.
mod states;
mod steps;
/// The state folder in bad hands.
mod store;
/// Targets that hang, throttle or are gone.
mod targets;
/// Triggers of connectors as sources.
mod triggers;
/// What did not happen.
mod watch;
/// Webhooks registered by API.
mod webhooks;
