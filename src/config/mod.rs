//! The configuration: text to checked values, with every fault collected.
//!
//! Three stages: as written (YAML nodes), checked ([`Config`]), resolved ([`Secrets`]: values read from the
//! environment, files and credentials when the daemon starts). Reads no clock and opens no socket; the environment
//! and files are reached through [`World`]. Excerpts in its faults show no secret that is written in the file.

mod address;
mod connectors;
mod decode;
mod files;
#[cfg(test)]
mod fuzz;
mod orchestrators;
mod outbound;
mod polls;
mod registration;
mod retention;
mod schemes;
mod secrets;
mod settings;
mod shapes;
mod sites;
mod sources;
mod triggers;
mod url;
mod watches;
mod world;

#[cfg(test)]
mod tests;

pub use crate::secret::{SecretFrom, SecretRef};
pub use connectors::{CONNECTOR_FILES_MAX, ConnectorFiles, access, accesses};
pub use decode::{draft, load};
pub use files::{CONFIG_BYTES_MAX, FILE_UNREADABLE, RULE_FILES_MAX, SEARCHED};
pub use orchestrators::{AuthConfig, Edition, OrchestratorConfig};
pub use polls::{Chosen, PollKind, PollSource};
pub use registration::{Registration, Subscribe};
pub use secrets::{SECRET_UNRESOLVED, Secrets};
pub use settings::{AdminAddress, Config, Egress, Limits, Log, LogFormat, Retention};
pub use shapes::config_schema;
pub use sites::{folder_header, tenant_header};
pub use sources::WebhookSource;
pub use triggers::{TriggerRef, TriggerSource};
#[cfg(test)]
pub(crate) use world::FakeWorld;
pub use world::{RealWorld, World};
