//! Tripline: an event daemon for UiPath Orchestrator.
//!
//! Events come in, are kept, are matched, and are acted upon; the modules are those words. A module uses only
//! floors below its own (`tests/architecture.rs` keeps it so; `ARCHITECTURE.md` tells the story):
//!
//! ```text
//! 11  cli                                           people
//! 10  daemon · sandbox                              life and death of tasks; the simulated Orchestrator
//!  9  intake · poll · register · router · watch · dispatch · admin   edges; they never use each other
//!  8  orchestrator · calls                          API client; requests of connectors
//!  7  journal · http · clock · panics               log + checkpoints; hyper and reqwest plumbing; the time; what outlives a panic
//!  6  config                                        text -> checked values, with every fault collected
//!  5  runs · hooks                                  a run's life; what webhooks should be: as values
//!  4  rules                                         which rules an event meets, what their steps ask for
//!  3  connectors                                    what a service offers, what is sent to it, what its answers mean
//!  2  signature · normalize · retry · embedded      whether a body is genuine, which changes it tells; words of files
//!  1  expr · yaml                                   CEL and YAML behind our own small faces
//!  0  event · time · fault · headers · secret · metric · printable   words
//! ```

pub mod event;
pub mod fault;
pub mod headers;
pub mod metric;
pub mod printable;
pub mod secret;
pub mod time;

pub mod expr;
pub mod yaml;

pub mod embedded;
pub mod normalize;
pub mod retry;
pub mod signature;

pub mod connectors;

pub mod rules;

pub mod hooks;
pub mod runs;

pub mod config;

pub mod clock;
pub mod http;
pub mod journal;
pub mod panics;

pub mod calls;
pub mod orchestrator;

pub mod admin;
pub mod dispatch;
pub mod intake;
pub mod poll;
pub mod register;
pub mod router;
pub mod watch;

pub mod daemon;
pub mod sandbox;

pub mod cli;
