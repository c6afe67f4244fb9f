//! What may go out, and through what.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::World;
use super::files::Base;
use super::settings::Egress;
use super::shapes::EGRESS;
use super::url::{network, service_url, without_slash};
use crate::fault::{Fault, Faults, Place};
use crate::yaml::Fields;

/// Reads `egress`.
pub(super) fn egress(fields: &Fields<'_>, base: &Base, world: &dyn World, faults: &mut Faults) -> Egress {
    let mut egress = Egress::default();
    let Some(node) = fields.get("egress") else { return egress };
    let Some(fields) = Fields::read(node, "`egress`", &EGRESS, faults) else { return egress };
    for (text, place) in fields.texts("allow", faults).unwrap_or_default() {
        allow(text, place, &mut egress, faults);
    }
    if let Some((text, place)) = fields.text("proxy", faults) {
        // A proxy is spoken to in plain http almost everywhere; what matters is encrypted inside.
        let mut found = Faults::new();
        egress.proxy = service_url(text, "proxy", place, &mut found).map(|url| without_slash(&url));
        found.into_iter().filter(|fault| fault.code != "plain-http").for_each(|fault| faults.push(fault));
    }
    if let Some((text, place)) = fields.text("ca", faults) {
        let path = base.resolve(text);
        match world.read(&path) {
            Ok(bytes) if String::from_utf8_lossy(&bytes).contains("-----BEGIN CERTIFICATE-----") => {}
            Ok(_) => {
                let message = format!("`ca`: there is no certificate in `{}`", path.display());
                let help = "expected PEM: `-----BEGIN CERTIFICATE-----`; convert DER with `openssl x509 -inform der`";
                faults.push(Fault::error("ca", place.clone(), message).help(help));
            }
            // The machine that checks need not be the one that runs; the daemon reads it again when it starts.
            Err(error) => {
                let message = format!("`ca`: `{}` cannot be read: {error}", path.display());
                faults.push(Fault::warning("ca", place.clone(), message).help("the daemon will not start without it"));
            }
        }
        egress.ca = Some(path);
    }
    egress
}

fn allow(text: &str, place: &Place, egress: &mut Egress, faults: &mut Faults) {
    const EXPECTED: &str = "expected a network `10.20.0.0/16`, an address, or a host name `files.corp`";
    let fail = |message: String| Fault::error("egress-allow", place.clone(), message);
    if let Ok(net) = network(text) {
        if is_link_local(&net) {
            let message = format!("`allow`: `{text}` is link-local; such addresses (metadata services) are always refused");
            faults.push(fail(message).help("remove it"));
        } else {
            egress.allow_nets.push(net);
        }
        return;
    }
    let problem = if text.contains("://") {
        "is a URL; write the host alone"
    } else if text.contains('/') {
        "is no network"
    } else if text.contains('*') {
        "is a pattern; hosts are named one by one, or by their network"
    } else if text.contains(':') {
        "has a port or is no IPv6 address; ports are not restricted"
    } else if !is_host_name(text) {
        "is no host name"
    } else {
        egress.allow_hosts.push(text.trim_end_matches('.').to_ascii_lowercase());
        return;
    };
    faults.push(fail(format!("`allow`: `{text}` {problem}")).help(EXPECTED));
}

fn is_link_local(net: &IpNet) -> bool {
    match net {
        IpNet::V4(net) => Ipv4Net::new(std::net::Ipv4Addr::new(169, 254, 0, 0), 16).is_ok_and(|link| link.contains(net)),
        IpNet::V6(net) => "fe80::/10".parse::<Ipv6Net>().is_ok_and(|link| link.contains(net)),
    }
}

/// Letters, digits and dashes between dots; not only digits, which would be a mistyped address.
fn is_host_name(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let label = |part: &str| {
        !part.is_empty()
            && part.len() <= 63
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    name.len() <= 253 && name.split('.').all(label) && !name.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}
