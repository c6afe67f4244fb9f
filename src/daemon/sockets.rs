//! The two sockets: bound here, or passed by systemd.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use listenfd::ListenFd;

use crate::config::{AdminAddress, Config, World};
use crate::http::server::Listener;

/// Both sockets with the addresses that they really have.
pub(super) struct Sockets {
    pub ingress: Listener,
    pub ingress_address: SocketAddr,
    pub admin: Listener,
    pub admin_address: AdminAddress,
    /// The file of an admin socket that was bound here.
    pub admin_file: Option<SocketFile>,
}

/// The file of a unix socket of ours: it goes when this does, unless another stands in its place meanwhile.
pub(super) struct SocketFile {
    path: PathBuf,
    is: Option<(u64, u64)>,
}

impl SocketFile {
    fn of(path: &Path) -> Self {
        Self { path: path.to_owned(), is: identity(path) }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.is.is_some() && identity(&self.path) == self.is {
            drop(std::fs::remove_file(&self.path));
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::symlink_metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

/// Takes what systemd passed (`LISTEN_FDS`; named `admin` in `LISTEN_FDNAMES` for the admin socket, any other name for
/// the ingress) and binds the rest. Must run inside the runtime.
///
/// # Errors
/// An address that cannot be bound, with the reason and what to do.
pub(super) fn bind(config: &Config, world: &dyn World) -> Result<Sockets, String> {
    let (mut ingress, mut admin) = (None, None);
    let names = world.var("LISTEN_FDNAMES").unwrap_or_default();
    let names: Vec<&str> = names.split(':').collect();
    let mut passed = ListenFd::from_env();
    for index in 0..passed.len() {
        let for_admin = names.get(index).is_some_and(|name| *name == "admin");
        let place = if for_admin { &mut admin } else { &mut ingress };
        if place.is_none() {
            *place = Some(
                adopt(&mut passed, index).map_err(|e| format!("the socket that systemd passed as number {index} cannot be used: {e}"))?,
            );
        }
    }
    let ingress = match ingress {
        Some(listener) => listener,
        None => bind_tcp("listen", config.listen)?,
    };
    let mut admin_file = None;
    let admin = match (admin, &config.admin) {
        (Some(listener), _) => listener,
        (None, AdminAddress::Tcp(address)) => bind_tcp("admin", *address)?,
        (None, AdminAddress::Unix(path)) => {
            let listener = Listener::bind_unix(path).map_err(|error| {
                format!(
                    "`admin`: cannot listen on {}: {error}; check the folder, its permissions, and whether another program listens there",
                    path.display()
                )
            })?;
            admin_file = Some(SocketFile::of(path));
            listener
        }
    };
    let ingress_address = ingress.local_addr().ok_or("the ingress socket must be a TCP socket")?;
    let admin_address = admin.local_addr().map_or_else(|| config.admin.clone(), AdminAddress::Tcp);
    Ok(Sockets { ingress, ingress_address, admin, admin_address, admin_file })
}

fn adopt(passed: &mut ListenFd, index: usize) -> io::Result<Listener> {
    if let Ok(Some(tcp)) = passed.take_tcp_listener(index) {
        return Listener::from_std(tcp);
    }
    let unix = passed.take_unix_listener(index)?.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    Listener::from_std_unix(unix)
}

fn bind_tcp(key: &str, address: SocketAddr) -> Result<Listener, String> {
    Listener::bind(address).map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::AddrInUse => "another program listens there (another tripline?); stop it or choose another port",
            io::ErrorKind::AddrNotAvailable => "this machine has no such address; use one of its own, 127.0.0.1 or 0.0.0.0",
            io::ErrorKind::PermissionDenied => {
                "ports below 1024 need CAP_NET_BIND_SERVICE; choose a higher one or let systemd pass the socket"
            }
            _ => "choose another address",
        };
        format!("`{key}`: cannot listen on {address}: {error}; {hint}")
    })
}
