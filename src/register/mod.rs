//! Webhooks in Orchestrator: kept registered and enabled where the configuration says so, and watched for blindness.
//! Knows nothing of what deliveries hold, and nothing of runs.

mod keep;
mod ours;
mod shown;

pub use keep::{Hook, Register, run};
pub use ours::{Look, Ours, REQUEST_TIMEOUT};
pub use shown::Shown;
