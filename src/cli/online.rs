//! Orchestrators of the configuration, for commands that ask them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::output::Stop;
use super::setup;
use crate::clock::Clock;
use crate::config::{Config, RealWorld, SECRET_UNRESOLVED, Secrets};
use crate::fault::{Faults, Severity};
use crate::http::client::Client;
use crate::orchestrator::Orchestrator;

/// Clients for those orchestrators whose secrets are here, and all secrets.
pub(super) struct Online {
    /// By name.
    pub(super) orchestrators: BTreeMap<Arc<str>, Orchestrator>,
    /// What could be read.
    pub(super) secrets: Secrets,
    /// What could not.
    pub(super) faults: Faults,
}

/// Reads the secrets and makes the clients. Nothing is sent yet.
pub(super) fn online(config: &Config) -> Result<Online, Stop> {
    let (secrets, faults) = config.resolve(&RealWorld);
    if faults.iter().any(|fault| fault.severity == Severity::Error && fault.code != SECRET_UNRESOLVED) {
        return Err(setup::refused(&faults));
    }
    let http = Client::new(&config.egress).map_err(|error| Stop::unknown(error.to_string()))?;
    let orchestrators = config.orchestrators.iter().filter_map(|(name, one)| {
        let credential = secrets.orchestrators.get(name)?.clone();
        Some((Arc::clone(name), Orchestrator::new(one.clone(), credential, http.clone(), Clock::system())))
    });
    Ok(Online { orchestrators: orchestrators.collect(), secrets, faults })
}
