//! Open files: the soft limit is raised to what the configuration asks for, as far as the hard limit allows.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors besides connections: journal, checkpoints, sockets out, logs.
const RESERVE: u64 = 256;
/// Below this nothing useful can run.
const LEAST: u64 = RESERVE + 64;

/// Gives how many connections the limit of open files allows, at most `wanted`.
///
/// # Errors
/// The limit is too low to run at all; the text says the number needed.
pub(super) fn prepare(wanted: usize) -> Result<usize, String> {
    let limit = getrlimit(Resource::Nofile);
    let need = wanted as u64 + RESERVE;
    let mut current = limit.current.unwrap_or(u64::MAX);
    if current < need {
        let raised = limit.maximum.map_or(need, |hard| hard.min(need));
        if raised > current && setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum: limit.maximum }).is_ok() {
            current = raised;
        }
    }
    if current < LEAST {
        return Err(format!(
            "the limit of open files is {current}; at least {LEAST} are needed, {need} for {wanted} connections: raise it (`ulimit -n {need}`, or LimitNOFILE={need} in the unit)"
        ));
    }
    let possible = usize::try_from(current.saturating_sub(RESERVE)).unwrap_or(usize::MAX).min(wanted);
    if possible < wanted {
        tracing::warn!(
            limit = current,
            needed = need,
            connections = possible,
            "fewer connections than configured: the limit of open files is lower"
        );
    }
    Ok(possible)
}
