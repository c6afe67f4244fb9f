//! A connector as a command uses it: from the configuration's files or one that is named, with its secrets and a client.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::calls::Calls;
use crate::cli::output::{Stop, clean, say};
use crate::cli::{UNKNOWN, setup};
use crate::clock::Clock;
use crate::config::{self, Config, Egress, RealWorld};
use crate::connectors::auth::{Auth, Grant};
use crate::connectors::{Access, ConfigValue, Connector, Connectors, MASK, ORCHESTRATOR, Settings};
use crate::daemon::{SEGMENT_BYTES, boot_id};
use crate::fault::{Faults, SourceText, nearest};
use crate::http::client::Client;
use crate::journal::{Journal, OpenError, Options};
use crate::orchestrator::Orchestrator;

/// The connector, and the configuration where there is one.
pub(super) struct Used {
    pub(super) connector: Arc<Connector>,
    config: Option<Config>,
}

/// Finds a connector by its name.
pub(super) fn used(config: Option<&Path>, file: Option<&Path>, name: &str) -> Result<Used, Stop> {
    let (config, connectors, faults) = match file {
        Some(file) => {
            let settings = config.map(|config| setup::config(Some(config))).transpose()?;
            let text =
                std::fs::read_to_string(file).map_err(|error| Stop::unknown(format!("cannot read `{}`: {error}", file.display())))?;
            let path = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
            let none = Settings::default();
            let of = settings.as_ref().map_or(&none, |config| &config.connectors.settings);
            let (connectors, faults) = Connectors::load(&[Arc::new(SourceText { path, text })], Some(of));
            (settings, connectors, faults)
        }
        None => {
            let config = setup::config(config)?;
            let (connectors, faults) = config.connectors(&RealWorld);
            (Some(config), connectors, faults)
        }
    };
    let Some(connector) = connectors.get(name) else {
        // What is wrong with its file is the likely reason.
        if faults.any_error() {
            return Err(setup::refused(&faults));
        }
        let names = || connectors.iter().map(|connector| &*connector.name);
        let several = name == ORCHESTRATOR && names().any(|known| known.starts_with("orchestrator:"));
        let help = match nearest(name, names()) {
            _ if several => "several are configured: name one as `orchestrator:NAME`".to_owned(),
            Some(near) => format!("did you mean `{near}`?"),
            None if connectors.is_empty() => "no connector is configured; name its file with --file, or set `connectors`".to_owned(),
            None => format!("known are: {}", names().take(20).collect::<Vec<_>>().join(", ")),
        };
        return Err(Stop::no(format!("there is no connector `{}`; {help}", clean(name))));
    };
    Ok(Used { connector: Arc::clone(connector), config })
}

impl Used {
    /// The values it is used with, secrets among them.
    pub(super) fn access(&self) -> Result<Access, Stop> {
        let mut faults = Faults::new();
        let access = config::access(&self.connector, &RealWorld, &mut faults);
        match access.filter(|_| !faults.any_error()) {
            Some(access) => {
                warn(&faults);
                Ok(access)
            }
            None => Err(unread(&faults)),
        }
    }

    /// The same with stars in place of everything that is read from elsewhere.
    pub(super) fn without_secrets(&self) -> Access {
        let value = |value: &Option<ConfigValue>| match value {
            Some(ConfigValue::Plain(value)) => value.clone(),
            Some(ConfigValue::Read(_)) => Value::String(MASK.to_owned()),
            None => Value::Null,
        };
        let fields: Map<String, Value> = self.connector.config.iter().map(|field| (field.name.to_string(), value(&field.value))).collect();
        Access::new(Arc::clone(&self.connector.name), Value::Object(fields), BTreeMap::new(), Vec::new())
    }

    /// What sends its requests.
    pub(super) fn calls(&self) -> Result<Calls, Stop> {
        let none = Egress::default();
        let egress = self.config.as_ref().map_or(&none, |config| &config.egress);
        let http = Client::new(egress).map_err(|error| Stop::unknown(error.to_string()))?;
        let calls = Calls::new(http.clone(), Clock::system());
        match &self.connector.auth {
            Auth::OAuth2(oauth2) if matches!(oauth2.grant, Grant::RefreshToken(_)) => calls.keep_in(self.journal()?),
            Auth::Orchestrator => {
                let one = self.orchestrator(http)?;
                calls.share_tokens(BTreeMap::from([(Arc::clone(&self.connector.name), one.tokens())]));
            }
            _ => {}
        }
        Ok(calls)
    }

    /// Where the refresh token is kept. While the daemon holds it, nobody else may use the token up.
    fn journal(&self) -> Result<Journal, Stop> {
        let name = &self.connector.name;
        let Some(config) = &self.config else {
            return Err(Stop::unknown(format!(
                "connector `{name}` has a refresh token, which may change with each use and is kept in the state folder: name the \
                 configuration with -c"
            )));
        };
        let options = Options { segment_bytes: SEGMENT_BYTES, clock: Clock::system(), boot_id: boot_id() };
        match Journal::open(&config.state, options) {
            Ok((journal, _)) => Ok(journal),
            Err(OpenError::Locked(why)) => Err(Stop::unknown(format!(
                "connector `{name}` has a refresh token, which the running daemon keeps: stop the daemon for this call ({why})"
            ))),
            Err(error) => Err(Stop::unknown(error.to_string())),
        }
    }

    /// The orchestrator whose connector this is.
    fn orchestrator(&self, http: Client) -> Result<Orchestrator, Stop> {
        let none = || Stop::no("no orchestrator is configured; add one under `orchestrators`");
        let config = self.config.as_ref().ok_or_else(none)?;
        let own = self.connector.name.strip_prefix("orchestrator:");
        let one = config.orchestrators.values().find(|one| own.is_none_or(|own| *one.name == *own)).ok_or_else(none)?;
        let mut faults = Faults::new();
        let (what, reference) = one.auth.secret();
        let credential = reference.resolve(&format!("`{what}` of orchestrator `{}`", one.name), &RealWorld, &mut faults);
        let credential = credential.ok_or_else(|| unread(&faults))?;
        warn(&faults);
        Ok(Orchestrator::new(one.clone(), credential, http, Clock::system()))
    }
}

/// Warnings go to stderr.
fn warn(faults: &Faults) {
    faults.iter().for_each(|fault| say(&clean(&fault.one_line())));
}

/// Something that is needed could not be read. Without excerpts: a line of a file may hold a secret.
fn unread(faults: &Faults) -> Stop {
    warn(faults);
    Stop::With { code: UNKNOWN, message: String::new() }
}
