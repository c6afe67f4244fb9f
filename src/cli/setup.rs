//! What most commands begin with: find the configuration, read it, read the rules.

use std::path::{Path, PathBuf};

use super::output::{Stop, say};
use super::{NO, UNKNOWN, report};
use crate::config::{Config, FILE_UNREADABLE, RealWorld, SEARCHED, draft, load};
use crate::connectors::Connectors;
use crate::fault::{Fault, Faults, Severity};
use crate::rules::RuleSet;

/// What `check`, `test` and `explain` read. What has errors is not there.
pub(super) struct Read {
    /// The configuration.
    pub(super) config: Option<Config>,
    /// The rules.
    pub(super) rules: Option<RuleSet>,
    /// The connectors without an error.
    pub(super) connectors: Connectors,
    /// Errors and warnings in all of them.
    pub(super) faults: Faults,
}

/// The configuration file: the one named, or the first of those that are searched.
pub(super) fn find(named: Option<&Path>) -> Result<PathBuf, Stop> {
    match named {
        Some(path) => Ok(path.to_owned()),
        None => SEARCHED.iter().map(PathBuf::from).find(|path| path.exists()).ok_or_else(|| {
            let places = SEARCHED.join(" nor ");
            Stop::unknown(format!("no configuration: neither {places} exists; name one with -c FILE, or make one with `tripline init`"))
        }),
    }
}

/// The checked configuration, for commands that need nothing else of it. Its warnings are for `check` to show.
pub(super) fn config(named: Option<&Path>) -> Result<Config, Stop> {
    let (config, faults) = load(&find(named)?, &RealWorld);
    config.ok_or_else(|| refused(&faults))
}

/// The same with the triggers of connectors found, for what is delivered to its sources.
pub(super) fn config_with_triggers(named: Option<&Path>) -> Result<Config, Stop> {
    let mut config = config(named)?;
    if config.sources.values().any(|source| source.trigger.is_some()) {
        let (connectors, mut faults) = config.connectors(&RealWorld);
        faults.extend(config.find_triggers(&connectors));
        if faults.any_error() {
            return Err(refused(&faults));
        }
    }
    Ok(config)
}

/// The checked configuration, if there is one, without a word about faults.
pub(super) fn config_quietly(named: Option<&Path>) -> Option<Config> {
    load(&find(named).ok()?, &RealWorld).0
}

/// What rules may be told wrongly while the configuration has errors: what it names may not have been read.
const NAMED_BY_CONFIG: [&str; 6] =
    ["unknown-source", "unknown-orchestrator", "no-orchestrator", "unknown-var", "unknown-connector", "unknown-operation"];

/// Configuration and rules, with every fault in them: rules are read also where the configuration has errors.
pub(super) fn read(named: Option<&Path>) -> Result<Read, Stop> {
    let (mut config, mut faults) = draft(&find(named)?, &RealWorld);
    let sound = !faults.any_error();
    let (mut rules, mut connectors) = (None, Connectors::default());
    if let Some(config) = &mut config {
        let (files, found) = config.rule_files(&RealWorld);
        let complete = !found.any_error();
        faults.extend(found);
        let (known, of_connectors) = config.known_with_connectors(&RealWorld);
        let complete = complete && !of_connectors.any_error();
        faults.extend(of_connectors);
        let triggers = config.find_triggers(&known.connectors);
        let (set, found) = RuleSet::load(&files, &known, &read_sample);
        let told = |fault: &Fault| sound || !NAMED_BY_CONFIG.contains(&fault.code);
        triggers.into_iter().chain(found).filter(told).for_each(|fault| faults.push(fault));
        let watches = config.watches.values().cloned().collect();
        rules = set.filter(|_| complete).map(|set| set.with_watches(watches));
        connectors = known.connectors;
    }
    Ok(Read { config: config.filter(|_| sound), rules: rules.filter(|_| sound), connectors, faults })
}

/// Configuration, rules and connectors without an error, or the command ends.
pub(super) fn project_with_connectors(named: Option<&Path>) -> Result<(Config, RuleSet, Connectors), Stop> {
    match read(named)? {
        Read { config: Some(config), rules: Some(rules), connectors, .. } => Ok((config, rules, connectors)),
        Read { faults, .. } => Err(refused(&faults)),
    }
}

/// Configuration and rules without an error, or the command ends.
pub(super) fn project(named: Option<&Path>) -> Result<(Config, RuleSet), Stop> {
    match read(named)? {
        Read { config: Some(config), rules: Some(rules), .. } => Ok((config, rules)),
        Read { faults, .. } => Err(refused(&faults)),
    }
}

pub(super) fn read_sample(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| error.to_string())
}

/// 2 when something could not be read, so that nothing is known of it; 1 with any other error; else 0.
pub(super) fn code_of(faults: &Faults) -> u8 {
    if faults.iter().any(|fault| fault.code == FILE_UNREADABLE && fault.severity == Severity::Error) {
        UNKNOWN
    } else if faults.any_error() {
        NO
    } else {
        super::YES
    }
}

/// Shows the faults on stderr and ends with their code.
pub(super) fn refused(faults: &Faults) -> Stop {
    say(report::text(faults, &RealWorld).trim_end());
    Stop::With { code: code_of(faults).max(NO), message: String::new() }
}

/// The same for something that had to be read and could not be: nothing is known then.
pub(super) fn unreadable(faults: &Faults) -> Stop {
    say(report::text(faults, &RealWorld).trim_end());
    Stop::With { code: UNKNOWN, message: String::new() }
}
