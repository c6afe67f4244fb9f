//! HTTP plumbing: the accept loop in, the client out. Knows nothing of events.

pub mod budget;
pub mod client;
pub mod encode;
pub mod exchange;
pub mod mask;
pub mod oauth;
pub mod server;
pub mod tokens;
