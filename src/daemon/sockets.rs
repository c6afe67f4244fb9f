//! The two sockets: bound here, or passed by systemd.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use listenfd::ListenFd;
use tokio::net::{TcpListener, TcpSocket, UnixListener};

use crate::config::{AdminAddress, Config, World};
use crate::http::server::Listener;

/// Connections that may wait in the kernel before they are accepted.
const BACKLOG: u32 = 4096;

/// Both sockets with the addresses that they really have.
pub(super) struct Sockets {
    pub ingress: Listener,
    pub ingress_address: SocketAddr,
    pub admin: Listener,
    pub admin_address: AdminAddress,
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
        None => Listener::Tcp(bind_tcp("listen", config.listen)?),
    };
    let admin = match (admin, &config.admin) {
        (Some(listener), _) => listener,
        (None, AdminAddress::Tcp(address)) => Listener::Tcp(bind_tcp("admin", *address)?),
        (None, AdminAddress::Unix(path)) => Listener::Unix(bind_unix(path)?),
    };
    let Listener::Tcp(tcp) = &ingress else { return Err("the ingress socket must be a TCP socket".to_owned()) };
    let ingress_address = tcp.local_addr().map_err(|e| e.to_string())?;
    let admin_address = match (&admin, &config.admin) {
        (Listener::Tcp(tcp), _) => AdminAddress::Tcp(tcp.local_addr().map_err(|e| e.to_string())?),
        (Listener::Unix(_), configured) => configured.clone(),
    };
    Ok(Sockets { ingress, ingress_address, admin, admin_address })
}

fn adopt(passed: &mut ListenFd, index: usize) -> io::Result<Listener> {
    if let Ok(Some(tcp)) = passed.take_tcp_listener(index) {
        tcp.set_nonblocking(true)?;
        return TcpListener::from_std(tcp).map(Listener::Tcp);
    }
    let unix = passed.take_unix_listener(index)?.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    unix.set_nonblocking(true)?;
    UnixListener::from_std(unix).map(Listener::Unix)
}

fn bind_tcp(key: &str, address: SocketAddr) -> Result<TcpListener, String> {
    let open = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    open().map_err(|error| {
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

fn bind_unix(path: &Path) -> Result<UnixListener, String> {
    let fail = |error: io::Error| format!("`admin`: cannot listen on {}: {error}; check the folder and its permissions", path.display());
    match UnixListener::bind(path) {
        Ok(listener) => restrict(path, listener).map_err(fail),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            if std::os::unix::net::UnixStream::connect(path).is_ok() {
                return Err(format!("`admin`: another program listens on {}; stop it or choose another path", path.display()));
            }
            // Left behind by a process that was killed: nobody listens.
            std::fs::remove_file(path).map_err(fail)?;
            UnixListener::bind(path).and_then(|listener| restrict(path, listener)).map_err(fail)
        }
        Err(error) => Err(fail(error)),
    }
}

fn restrict(path: &Path, listener: UnixListener) -> io::Result<UnixListener> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}
