//! The configuration: text to checked values, with every fault collected.
//!
//! Three stages: as written (YAML nodes), checked ([`Config`]), resolved ([`Secrets`]: values read from the
//! environment, files and credentials when the daemon starts). Reads no clock and opens no socket.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use serde_json::Value;

use crate::event::SourceName;
use crate::fault::{Faults, Place};
use crate::rules::{FolderRef, Known};
use crate::secret::Secret;
use crate::signature::NamedSecret;
use crate::time::Rate;

/// A checked configuration. It can be made only by [`load`].
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it came from.
    pub file: PathBuf,
    /// Webhook ingress.
    pub listen: SocketAddr,
    /// API, metrics, health.
    pub admin: AdminAddress,
    /// Bearer token of the admin API.
    pub admin_token: Option<SecretRef>,
    /// How Orchestrator reaches us.
    pub public_url: Option<String>,
    /// Where `journal/` and `checkpoints/` are.
    pub state: PathBuf,
    /// Rule folders and files, absolute.
    pub rules: Vec<PathBuf>,
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
    /// Sources by name.
    pub sources: BTreeMap<SourceName, WebhookSource>,
}

/// Where the admin listener is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddress {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
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
    /// Hosts that are allowed by name.
    pub allow_hosts: Vec<String>,
    /// A proxy for everything.
    pub proxy: Option<String>,
    /// A PEM file of further roots.
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

/// Where a secret comes from; read by [`SecretRef::resolve`], never kept in clear text here unless it was written so.
#[derive(Clone, Debug)]
pub struct SecretRef {
    /// The kind and name.
    pub from: SecretFrom,
    /// Where it is written.
    pub place: Place,
}

/// The places a secret may come from.
#[derive(Clone, Debug)]
pub enum SecretFrom {
    /// An environment variable.
    Env(String),
    /// A file, absolute; one newline at its end is trimmed.
    File(PathBuf),
    /// A systemd credential: a file in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
    /// Written in the file itself.
    Plain(Secret),
}

/// One orchestrator.
#[derive(Clone, Debug)]
pub struct OrchestratorConfig {
    /// Its name here.
    pub name: Arc<str>,
    /// Base URL without a slash at the end.
    pub url: String,
    /// Which product it is: decides URL shapes, headers, token URLs.
    pub edition: Edition,
    /// Sent as `X-UIPATH-TenantName` where the edition needs it.
    pub tenant: Option<String>,
    /// How to authenticate.
    pub auth: AuthConfig,
    /// Default folder.
    pub folder: Option<FolderRef>,
    /// Our share of list requests [poll].
    pub list_rate: Option<Rate>,
}

impl OrchestratorConfig {
    /// The URL that stands for the tenant in keys: lower-case scheme and host, no default port, no slash at the end.
    #[must_use]
    pub fn canonical_url(&self) -> Arc<str> {
        todo!()
    }
}

/// Which product an orchestrator is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edition {
    /// Automation Cloud.
    Cloud,
    /// Automation Suite.
    Suite,
    /// Standalone.
    Standalone,
}

/// How to authenticate to an orchestrator.
#[derive(Clone, Debug)]
pub enum AuthConfig {
    /// OAuth 2 client credentials of an external application.
    ClientCredentials {
        /// App id.
        client_id: String,
        /// App secret.
        client_secret: SecretRef,
        /// Application scopes, separated by spaces.
        scope: String,
        /// In place of the edition's own.
        token_url: Option<String>,
    },
    /// A personal access token.
    Token(SecretRef),
    /// A user key (refresh token) of the older cloud.
    UserKey {
        /// Client id.
        client_id: String,
        /// The user key.
        refresh_token: SecretRef,
        /// In place of `https://account.uipath.com/oauth/token`.
        token_url: Option<String>,
    },
    /// Name and password (`api/Account/Authenticate`).
    Password {
        /// User name or e-mail.
        username: String,
        /// Password.
        password: SecretRef,
    },
}

/// A webhook source.
#[derive(Clone, Debug)]
pub struct WebhookSource {
    /// Its name.
    pub name: SourceName,
    /// The orchestrator whose events these are.
    pub orchestrator: Option<Arc<str>>,
    /// The ingress path.
    pub path: String,
    /// Any may verify.
    pub secrets: Vec<SecretRef>,
    /// Peers that may deliver; everybody when empty.
    pub allow_from: Vec<IpNet>,
    /// How many `X-Forwarded-For` hops are ours.
    pub trusted_proxies: u8,
    /// No signature is asked for.
    pub insecure_unsigned: bool,
}

/// What the configuration reads besides its text: the environment and files. Tests give their own.
pub trait World {
    /// An environment variable.
    fn var(&self, name: &str) -> Option<String>;
    /// A file's bytes.
    ///
    /// # Errors
    /// As the operating system says.
    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>>;
    /// The permission bits of a file, where the system has them.
    fn mode(&self, path: &Path) -> Option<u32>;
}

/// The real environment and file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealWorld;

/// Reads and checks a configuration file. With any error there is no configuration.
/// `TRIPLINE_LISTEN`, `TRIPLINE_ADMIN`, `TRIPLINE_STATE` and `TRIPLINE_LOG` of `world` override.
pub fn load(file: &Path, world: &dyn World) -> (Option<Config>, Faults) {
    let _ = (file, world);
    todo!()
}

impl Config {
    /// What rules may refer to.
    #[must_use]
    pub fn known(&self) -> Known {
        todo!()
    }

    /// Reads every secret. `run` treats the faults as errors, `check` as warnings. Short, plain and world-readable
    /// secrets are warnings in both.
    pub fn resolve(&self, world: &dyn World) -> (Secrets, Faults) {
        let _ = world;
        todo!()
    }

    /// The rule files, sorted by path, with their texts. Folders are read for `*.yaml` and `*.yml`, not deeper.
    pub fn rule_files(&self, world: &dyn World) -> (Vec<Arc<crate::fault::SourceText>>, Faults) {
        let _ = world;
        todo!()
    }
}

/// Secret values, read once.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    /// Of each webhook source, in the order written.
    pub sources: BTreeMap<SourceName, Vec<NamedSecret>>,
    /// Of each orchestrator: client secret, token, user key or password.
    pub orchestrators: BTreeMap<Arc<str>, Secret>,
    /// Of the admin API.
    pub admin_token: Option<Secret>,
}
