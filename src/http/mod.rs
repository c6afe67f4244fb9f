//! HTTP plumbing: the accept loop in, the client out. Knows nothing of events.

pub mod client;
pub mod server;
