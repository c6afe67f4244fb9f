//! The checked values of everything that is neither an orchestrator nor a source.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use serde_json::Value;

use super::connectors::ConnectorFiles;
use super::orchestrators::OrchestratorConfig;
use super::polls::PollSource;
use super::sources::WebhookSource;
use super::triggers::TriggerSource;
use crate::connectors::Connectors;
use crate::event::SourceName;
use crate::rules::{Known, KnownSource, Watch};
use crate::secret::SecretRef;

/// A checked configuration. It is made by [`super::load`].
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it came from, absolute.
    pub file: PathBuf,
    /// Webhook ingress.
    pub listen: SocketAddr,
    /// API, metrics, health.
    pub admin: AdminAddress,
    /// Bearer token of the admin API.
    pub admin_token: Option<SecretRef>,
    /// How Orchestrator reaches the ingress, without a slash at its end.
    pub public_url: Option<String>,
    /// Where `journal/` and `checkpoints/` are, absolute.
    pub state: PathBuf,
    /// Rule folders and files, absolute.
    pub rules: Vec<PathBuf>,
    /// Where connectors are, and what is set of them.
    pub connectors: ConnectorFiles,
    /// What the journal keeps.
    pub retention: Retention,
    /// Limits of the ingress.
    pub limits: Limits,
    /// How long the daemon waits for attempts in flight when it stops.
    pub shutdown_grace: Duration,
    /// Outbound HTTP.
    pub egress: Egress,
    /// Logging.
    pub log: Log,
    /// `${vars.…}` in rules; an object.
    pub vars: Value,
    /// Orchestrators by name.
    pub orchestrators: BTreeMap<Arc<str>, OrchestratorConfig>,
    /// Webhook sources by name.
    pub sources: BTreeMap<SourceName, WebhookSource>,
    /// Polled sources by name.
    pub polls: BTreeMap<SourceName, PollSource>,
    /// Watched sources by name.
    pub watches: BTreeMap<SourceName, Arc<Watch>>,
    /// Sources that poll triggers of connectors, by name.
    pub triggers: BTreeMap<SourceName, TriggerSource>,
}

impl Config {
    /// What rules may refer to.
    #[must_use]
    pub fn known(&self) -> Known {
        Known {
            orchestrators: self.orchestrators.keys().cloned().collect(),
            sources: self
                .sources
                .values()
                .map(|source| KnownSource {
                    name: Arc::clone(&source.name),
                    unsigned: source.insecure_unsigned,
                    reconciles: None,
                    orchestrator: source.orchestrator.clone(),
                })
                .chain(self.polls.values().map(|source| KnownSource {
                    name: Arc::clone(&source.name),
                    unsigned: false,
                    reconciles: source.reconciles.clone(),
                    orchestrator: Some(Arc::clone(&source.orchestrator)),
                }))
                .chain(self.watches.values().map(|source| KnownSource {
                    name: Arc::clone(&source.name),
                    unsigned: false,
                    reconciles: None,
                    orchestrator: source.orchestrator.clone(),
                }))
                .chain(self.triggers.values().map(|source| KnownSource {
                    name: Arc::clone(&source.name),
                    unsigned: false,
                    reconciles: None,
                    orchestrator: None,
                }))
                .collect(),
            vars: self.vars.clone(),
            connectors: Connectors::default(),
            ingress: Some(self.listen).filter(|address| address.port() != 0),
        }
    }
}

/// Where the admin listener is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddress {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}

impl fmt::Display for AdminAddress {
    /// As it is written in the file: `127.0.0.1:8081`, `unix:/run/tripline/admin.sock`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// How long the journal keeps what (documentation: `retention`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Segments whose newest record is older than this are dropped.
    pub age: Duration,
    /// Bytes: beyond this the oldest segments are dropped, whatever their age. What is still needed does not count.
    pub size: u64,
    /// Dead and ambiguous runs are kept this long after their last fact, with their events.
    pub dead: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        const DAY: u64 = 24 * 3600;
        Self { age: Duration::from_secs(30 * DAY), size: 10 << 30, dead: Duration::from_secs(90 * DAY) }
    }
}

/// Limits of the ingress (documentation: `limits`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest body in bytes.
    pub body: u64,
    /// Bytes of bodies in memory at once.
    pub in_flight: u64,
    /// Connections at once.
    pub connections: usize,
    /// For the head of a request.
    pub header_timeout: Duration,
    /// For the whole body.
    pub body_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 32 << 20,
            in_flight: 64 << 20,
            connections: 10_000,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
        }
    }
}

/// Outbound HTTP (documentation: `egress`).
#[derive(Clone, Debug, Default)]
pub struct Egress {
    /// Networks that hosts not written out may resolve to.
    pub allow_nets: Vec<IpNet>,
    /// Hosts that are allowed by name, in lower case.
    pub allow_hosts: Vec<String>,
    /// A proxy for everything.
    pub proxy: Option<String>,
    /// A PEM file of further roots, absolute.
    pub ca: Option<PathBuf>,
}

/// Logging.
#[derive(Clone, Debug)]
pub struct Log {
    /// auto, text or json.
    pub format: LogFormat,
    /// A tracing filter: `info`, `debug`, `tripline=debug,info`.
    pub level: String,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// Text.
    Text,
    /// One JSON object per line.
    Json,
}
