//! `tripline check`: everything is read and checked; nothing is started.

use std::path::Path;

use super::output::{DIM, GOOD, Out, Stop, clean, count, paint};
use super::{UNKNOWN, check_online, report, setup};
use crate::config::{RealWorld, SECRET_UNRESOLVED, accesses};
use crate::fault::{Fault, Faults, Severity};

pub(super) fn run(config: Option<&Path>, json: bool, online: bool, out: &mut Out) -> Result<u8, Stop> {
    let setup::Read { config, rules, connectors, mut faults } = setup::read(config)?;
    if let Some(config) = &config {
        faults.extend(lenient(config.resolve(&RealWorld).1));
        faults.extend(lenient(accesses(&connectors, &RealWorld).1));
    }
    if let (Some(config), Some(rules)) = (&config, rules.as_ref().filter(|_| online && !faults.any_error())) {
        let verbose = !json && out.verbosity() >= 0;
        faults.extend(check_online::run(config, rules, if verbose { Some(out) } else { None })?);
    }
    let unreachable = faults.iter().any(|fault| fault.code == check_online::UNREACHABLE);
    let code = if unreachable { UNKNOWN } else { setup::code_of(&faults) };
    if json {
        out.json(&report::json(&faults, &RealWorld))?;
        return Ok(code);
    }
    let shown = if out.verbosity() < 0 { errors_of(&faults) } else { faults };
    if !shown.is_empty() {
        out.text(&report::text(&shown, &RealWorld))?;
    }
    if let Some(rules) = rules.as_ref().filter(|_| out.verbosity() > 0) {
        for name in rules.unindexed() {
            let name = clean(&name);
            out.line(&format!(
                "{}: `{name}` has nothing in `match` to be indexed by: it is tried for each event of its types",
                paint(DIM, "note")
            ))?;
        }
    }
    if let (Some(config), Some(rules), super::YES) = (config, rules, code)
        && out.verbosity() >= 0
    {
        let (rules, sources, orchestrators) = (
            rules.rules().len(),
            config.sources.len() + config.polls.len() + config.watches.len() + config.triggers.len(),
            config.orchestrators.len(),
        );
        let mut good = vec![count(rules, "rule"), count(sources, "source"), count(orchestrators, "orchestrator")];
        let of_files = connectors.of_files().count();
        if of_files > 0 {
            good.push(count(of_files, "connector"));
        }
        out.line(&format!("{}: {}", paint(GOOD, "ok"), good.join(", ")))?;
    }
    Ok(code)
}

/// A secret that is not on this machine is only a warning here: who checks need not be who runs.
fn lenient(faults: Faults) -> Faults {
    let mut all = Faults::new();
    for fault in faults {
        let severity = if fault.code == SECRET_UNRESOLVED { Severity::Warning } else { fault.severity };
        all.push(Fault { severity, ..fault });
    }
    all
}

fn errors_of(faults: &Faults) -> Faults {
    let mut all = Faults::new();
    faults.iter().filter(|fault| fault.severity == Severity::Error).for_each(|fault| all.push(fault.clone()));
    all
}
