//! The daemon's life: read everything, bind, open the journal, start the tasks, reload, drain, end.
//!
//! The order matters. Sockets are bound before the journal opens, so that a restart never refuses a delivery: requests
//! are read, verified and held meanwhile. Tasks stop in the order of `life::Stop`: no new promises first, the
//! watcher of it all last. A task that ends by itself ends the daemon, loudly.

mod assemble;
mod descriptors;
mod generations;
mod life;
mod logging;
mod operate;
mod reload;
mod signals;
mod sockets;
mod state_file;
mod supervisor;
mod tasks;
mod telemetry;
#[cfg(test)]
mod tests;
mod watch;

use std::path::Path;

use crate::config::World;
use crate::fault::Faults;

pub use life::{SEGMENT_BYTES, boot_id};
pub use state_file::{DaemonFile, STATE_FILE};

/// Why the daemon did not run to a good end.
#[derive(Debug)]
pub enum End {
    /// The configuration or a rule is wrong: exit 78.
    Refused(Faults),
    /// The state folder or a socket cannot be used: exit 78. The text names the path or address and the remedy.
    Unusable(String),
    /// It ran and failed: exit 1, so that the supervisor starts it anew.
    Failed(String),
}

/// The stack of the runtime's threads: expressions are evaluated on them, and bounded with this in mind.
const STACK_BYTES: usize = 8 << 20;

/// Runs the daemon until a signal ends it. `verbosity` raises (`-v`) or lowers (`-q`) the log level.
///
/// # Errors
/// Refused, unusable, or failed; see [`End`].
pub fn run(file: &Path, world: &(dyn World + Send + Sync), verbosity: i8) -> Result<(), End> {
    let assembled = assemble::assemble(file, world).map_err(End::Refused)?;
    let logging = logging::start(&assembled.config.log, verbosity);
    for warning in &assembled.warnings {
        tracing::warn!(code = warning.code, "{}", warning.one_line());
    }
    // The checkpoints' library makes its files as the umask says: what is kept here is for its owner only.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let connections = descriptors::prepare(assembled.config.limits.connections).map_err(End::Unusable)?;
    let recorder = telemetry::install();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("tripline")
        .thread_stack_size(STACK_BYTES)
        .build()
        .map_err(|e| End::Failed(format!("the runtime does not start: {e}")))?;
    let ended = runtime.block_on(life::live(assembled, connections, recorder, logging.level(), world));
    // Requests that were abandoned hold nothing that is not on disk.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    drop(logging);
    ended
}
