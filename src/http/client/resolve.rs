//! Name resolution under the egress policy: what it hands out was checked, and it is what gets connected to.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::address::{Forbidden, Policy};

/// A name's addresses, later.
pub(super) type Looking = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// Asks for a name's addresses; the system's resolver outside tests.
pub(super) type LookUp = Arc<dyn Fn(String) -> Looking + Send + Sync>;

/// The system's resolver.
pub(super) fn system() -> LookUp {
    Arc::new(|host| Box::pin(async move { Ok(tokio::net::lookup_host((host.as_str(), 0)).await?.map(|a| a.ip()).collect()) }))
}

/// Who is trusted beyond public addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// Every name: it stands in a file, or is the proxy's.
    Everyone,
    /// Only names that the policy lists.
    Listed,
}

/// A resolver that checks each answer. A name with one forbidden address is refused whole: an answer that mixes public
/// and private addresses is how rebinding looks.
#[derive(Clone)]
pub(super) struct Guarded {
    pub(super) policy: Arc<Policy>,
    pub(super) trust: Trust,
    pub(super) look_up: LookUp,
}

impl Guarded {
    /// The addresses of a host, all of them allowed.
    pub(super) async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, Unresolved> {
        let found = (self.look_up)(host.to_owned()).await.map_err(Unresolved::Dns)?;
        let trusted = self.trust == Trust::Everyone || self.policy.names(host);
        for address in &found {
            self.policy.admit(host, *address, trusted).map_err(Unresolved::Forbidden)?;
        }
        if found.is_empty() {
            return Err(Unresolved::Dns(io::Error::new(io::ErrorKind::NotFound, "no address")));
        }
        Ok(found)
    }
}

/// Why there is no address to connect to.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unresolved {
    /// DNS does not say.
    #[error(transparent)]
    Dns(io::Error),
    /// DNS says something that policy forbids.
    #[error("forbidden")]
    Forbidden(#[source] Forbidden),
}

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let guarded = self.clone();
        Box::pin(async move {
            let found = guarded.addresses(name.as_str()).await?;
            Ok(Box::new(found.into_iter().map(|ip| SocketAddr::new(ip, 0))) as Addrs)
        })
    }
}

impl fmt::Debug for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded").field("trust", &self.trust).finish_non_exhaustive()
    }
}
