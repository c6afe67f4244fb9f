//! Webhooks as Orchestrator has them: what should stand there, what differs, and whether one has gone blind. Values only;
//! who asks Orchestrator and who waits is not known here.

mod eye;
mod needed;
mod plan;
mod sight;

pub use eye::{Eye, SIGHTED_MAX, Sighted};
pub use needed::{Events, events, is_needed};
pub use plan::{Difference, NAME_MAX, Planned, Registered, Wanted, fingerprint, plan, webhook_name};
pub use sight::{Blind, Delivered, MISSES_BLIND, Sight, Turn, is_sent};
