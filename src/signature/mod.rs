//! Whether a body was signed with one of the secrets: an HMAC (RFC 2104) over exact bytes, compared in constant time.
//!
//! Each service has a scheme of its own: which headers it sends, what text it signs, how it spells the result, and
//! whether a time is signed with it. Pure: headers, body, secrets and `now` in, a [`Verdict`] out. Knows nothing of
//! HTTP and nothing of what a body says.

mod custom;
#[cfg(test)]
mod fuzz;
mod list;
mod mac;
mod orchestrator;
mod scheme;
mod sign;
mod stamp;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::secret::Secret;

pub use custom::{Content, CustomScheme};
pub use list::CANDIDATES_MAX;
pub use mac::{Algorithm, Encoding};
pub use orchestrator::{ORCHESTRATOR_HEADER, sign_orchestrator, verify_orchestrator};
pub use scheme::{Lack, Scheme, check_secret};
pub use sign::{SendAs, sign};

/// How far a signed time may be from ours, where the service does not say otherwise.
pub const TOLERANCE: Duration = Duration::from_secs(300);

/// A secret and the name by which events and metrics speak of it (`env:HOOK_SECRET`, `secret 2`); never its value.
#[derive(Clone, Debug)]
pub struct NamedSecret {
    /// Its name.
    pub name: std::sync::Arc<str>,
    /// Its value.
    pub value: Secret,
}

/// What a check of a signature found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The secret with this index verifies the body.
    Genuine(usize),
    /// A well-formed signature that no secret gives.
    Mismatch,
    /// No signature in a form that the scheme knows; the text describes the shape seen, never the value.
    Malformed(&'static str),
    /// A secret gives the signature, but the time that is signed with it is too far from ours; the text says how.
    Stale(&'static str),
}
