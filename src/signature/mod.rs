//! Whether a body was signed with one of the secrets: HMAC-SHA256 over its exact bytes (RFC 2104), compared in
//! constant time. Knows the header's spellings; knows nothing of HTTP.

use crate::secret::Secret;

/// The header that carries Orchestrator's signature.
pub const ORCHESTRATOR_HEADER: &str = "x-uipath-signature";

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
    /// No 32 bytes in any of the known encodings; the text describes the shape seen, never the value.
    Malformed(&'static str),
}

/// Checks Orchestrator's header value against every secret.
#[must_use]
pub fn verify_orchestrator(header: &[u8], body: &[u8], secrets: &[NamedSecret]) -> Verdict {
    let _ = (header, body, secrets);
    todo!()
}

/// Signs a body as Orchestrator does: standard base64 of HMAC-SHA256.
#[must_use]
pub fn sign_orchestrator(body: &[u8], secret: &Secret) -> String {
    let _ = (body, secret);
    todo!()
}
