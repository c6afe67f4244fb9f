//! `tripline check`: everything is read and checked; nothing is started.

use std::path::Path;

use super::output::{GOOD, Out, Stop, count, paint};
use super::{report, setup};
use crate::config::{RealWorld, SECRET_UNRESOLVED};
use crate::fault::{Fault, Faults, Severity};

pub(super) fn run(config: Option<&Path>, json: bool, out: &mut Out) -> Result<u8, Stop> {
    let (faults, good) = match setup::project(config)? {
        Ok(project) => {
            let mut faults = project.faults;
            let (_, found) = project.config.resolve(&RealWorld);
            faults.extend(lenient(found));
            let good = [
                count(project.rules.rules().len(), "rule"),
                count(project.config.sources.len(), "source"),
                count(project.config.orchestrators.len(), "orchestrator"),
            ];
            (faults, good.join(", "))
        }
        Err(faults) => (faults, String::new()),
    };
    let code = setup::code_of(&faults);
    if json {
        out.json(&report::json(&faults, &RealWorld))?;
        return Ok(code);
    }
    let shown = if out.verbosity() < 0 { errors_of(&faults) } else { faults };
    if !shown.is_empty() {
        out.text(&report::text(&shown, &RealWorld))?;
    }
    if code == super::YES && out.verbosity() >= 0 {
        out.line(&format!("{}: {good}", paint(GOOD, "ok")))?;
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
