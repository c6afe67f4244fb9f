//! Where the two listeners are.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::World;
use super::files::Base;
use super::settings::AdminAddress;
use super::url::socket_address;
use crate::fault::{Fault, Faults};
use crate::yaml::{Fields, Yaml};

/// The ingress where nothing else is written.
pub(super) const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// The admin API where nothing else is written.
pub(super) const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8081);

/// The longest path of a unix socket, in bytes (`sun_path`, with its end).
const SOCKET_PATH_MAX: usize = 107;

/// The ingress.
pub(super) fn listen(fields: &Fields<'_>, world: &dyn World, faults: &mut Faults) -> Option<SocketAddr> {
    let written = written(fields, "listen", faults, socket_address);
    match world.var("TRIPLINE_LISTEN") {
        Some(text) => overridden("TRIPLINE_LISTEN", &text, faults, socket_address),
        None => written.unwrap_or(Some(LISTEN)),
    }
}

/// The admin API: an address, or `unix:PATH`.
pub(super) fn admin(fields: &Fields<'_>, base: &Base, world: &dyn World, faults: &mut Faults) -> Option<AdminAddress> {
    let read = |text: &str| match text.strip_prefix("unix:") {
        Some("") => Err("`unix:` names no socket; expected one such as `unix:/run/tripline/admin.sock`".to_owned()),
        Some(path) => {
            let path = base.resolve(path);
            let length = path.as_os_str().len();
            if length > SOCKET_PATH_MAX {
                return Err(format!("the path of the socket has {length} bytes; the system takes at most {SOCKET_PATH_MAX}"));
            }
            Ok(AdminAddress::Unix(path))
        }
        None => socket_address(text).map(AdminAddress::Tcp),
    };
    let written = written(fields, "admin", faults, read);
    match world.var("TRIPLINE_ADMIN") {
        Some(text) => overridden("TRIPLINE_ADMIN", &text, faults, read),
        None => written.unwrap_or(Some(AdminAddress::Tcp(ADMIN))),
    }
}

/// Whether both cannot be bound at once. Port 0 is any free port.
pub(super) fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let same_host = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.port() != 0 && same_host
}

/// Nothing when the key is not there; inside, nothing when it is a fault.
fn written<T>(fields: &Fields<'_>, name: &str, faults: &mut Faults, read: impl Fn(&str) -> Result<T, String>) -> Option<Option<T>> {
    let node = fields.get(name)?;
    let text = match &node.value {
        Yaml::Number(number) => number.to_string(),
        Yaml::Text(text) => text.clone(),
        _ => {
            let message = format!("`{name}` is {}; expected an address such as `127.0.0.1:8080`", node.kind());
            faults.push(Fault::error("wrong-type", node.place.clone(), message));
            return Some(None);
        }
    };
    Some(match read(&text) {
        Ok(address) => Some(address),
        Err(message) => {
            faults.push(Fault::error("address", node.place.clone(), format!("`{name}`: {message}")));
            None
        }
    })
}

fn overridden<T>(variable: &str, text: &str, faults: &mut Faults, read: impl Fn(&str) -> Result<T, String>) -> Option<T> {
    match read(text) {
        Ok(address) => Some(address),
        Err(message) => {
            let fault = Fault::general("environment", format!("environment variable `{variable}`: {message}"));
            faults.push(fault.help(format!("mend or unset `{variable}`; it overrides the file")));
            None
        }
    }
}
