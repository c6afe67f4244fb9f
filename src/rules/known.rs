//! What the configuration tells rules: the names they may refer to.

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::Value;

use crate::connectors::Connectors;
use crate::event::SourceName;

/// What rules may refer to: comes from the configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    /// Names of orchestrators; the first is the default only when it is the only one.
    pub orchestrators: Vec<Arc<str>>,
    /// The sources.
    pub sources: Vec<KnownSource>,
    /// `vars` of the configuration.
    pub vars: Value,
    /// The connectors.
    pub connectors: Connectors,
    /// Our own ingress, where its port is known: a step that posts there is a loop. Only `check` asks; it is not kept
    /// with a generation.
    pub ingress: Option<SocketAddr>,
}

/// A source as rules see it.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownSource {
    /// Its name.
    pub name: SourceName,
    /// Only rules that name it in `sources` see its events.
    pub unsigned: bool,
    /// Its events count as this source's too (a poll that `reconciles` a webhook).
    pub reconciles: Option<SourceName>,
    /// Its orchestrator.
    pub orchestrator: Option<Arc<str>>,
}
