//! What is checked when all of a connector is read: what its parts say of one another, and where it sends.

use url::{Host, Url};

use super::auth::Auth;
use super::model::{ConfigValue, Connector, TriggerKind};
use crate::expr::Template;
use crate::fault::{Fault, Faults, Place, nearest};

/// Checks a connector; `url` is where its base URL stands.
pub(super) fn within(connector: &Connector, url: &Place, faults: &mut Faults) {
    service_url(&connector.base_url, "base_url", url, faults);
    if let Some(text) = connector.base_url.constant()
        && let Some(why) = Url::parse(text).ok().and_then(|url| unencrypted(connector, &url))
    {
        faults.push(Fault::error("plain-http", url.clone(), why).help("use https, or write `allow_plaintext: true` where the way is safe"));
    }
    if connector.operations.is_empty() && connector.triggers.is_empty() {
        let fault = Fault::warning("no-operations", connector.place.clone(), format!("connector `{}` offers nothing", connector.name));
        faults.push(fault.help("add `operations`"));
    }
    let named = |name: &str, what: &str, place: &Place, faults: &mut Faults| {
        let Some(operation) = connector.operations.get(name) else {
            let fault =
                Fault::error("unknown-operation", place.clone(), format!("{what} names the operation `{name}`, which there is not"));
            faults.push(match nearest(name, connector.operations.keys().map(|name| &**name)) {
                Some(near) => fault.help(format!("did you mean `{near}`?")),
                None => fault.help("add it to `operations`"),
            });
            return None;
        };
        if !operation.is_safe() {
            let message = format!("{what} names `{name}`, a {} request that may change something", operation.method);
            let help = "name one that only reads; write `idempotent: true` at it where its POST only reads";
            faults.push(Fault::error("not-a-look-up", place.clone(), message).help(help));
        }
        Some(operation)
    };
    for operation in connector.operations.values() {
        if let Some(lookup) = &operation.lookup
            && let Some(target) = named(&lookup.operation, "`lookup`", &operation.place, faults)
        {
            inputs(target, lookup.with.iter().map(|(name, _)| name.as_str()), &operation.place, faults);
        }
    }
    for trigger in connector.triggers.values() {
        if let TriggerKind::Poll { operation, with, .. } = &trigger.kind
            && let Some(target) = named(operation, &format!("trigger `{}`", trigger.name), &trigger.place, faults)
        {
            inputs(target, with.iter().map(|(name, _)| name.as_str()), &trigger.place, faults);
        }
    }
    connector.check_samples(faults);
}

/// Inputs that an operation does not have, or needs and does not get.
fn inputs<'a>(operation: &super::Operation, said: impl Iterator<Item = &'a str> + Clone, place: &Place, faults: &mut Faults) {
    for name in said.clone() {
        if !operation.input.iter().any(|field| *field.name == *name) {
            faults.push(Fault::error("unknown-input", place.clone(), operation.unknown(name)));
        }
    }
    for field in operation.input.iter().filter(|field| field.required && field.default.is_none()) {
        if !said.clone().any(|name| *field.name == *name) {
            let message = format!("`{}` needs input `{}`", operation.name, field.name);
            faults.push(Fault::error("missing-input", place.clone(), message).help(format!("add `{}` to `with`", field.name)));
        }
    }
}

/// What can be said of the URL of a service before `config` is known.
pub(super) fn service_url(template: &Template, what: &str, place: &Place, faults: &mut Faults) -> bool {
    const EXPECTED: &str = "write it as https://HOST/PATH";
    let known = match template.constant() {
        Some(text) => parse_service(text).map(drop),
        None => {
            let leading = template.leading_text().to_ascii_lowercase();
            let begins = leading.is_empty() || ["http://", "https://"].iter().any(|scheme| leading.starts_with(scheme));
            begins.then_some(()).ok_or_else(|| "is no absolute URL".to_owned())
        }
    };
    let fine = known.is_ok();
    if let Err(why) = known {
        faults.push(Fault::error("url", place.clone(), format!("`{what}` {why}")).help(EXPECTED));
    }
    fine
}

/// The URL of a service.
///
/// # Errors
/// Why it is none: words that follow its name. They do not repeat it, for it may hold a secret.
pub(super) fn parse_service(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("is no absolute URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("has the scheme `{}`; expected http or https", url.scheme()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("has credentials in it; they belong into `auth`".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("has a query or a fragment; parameters belong into `query`".to_owned());
    }
    if url.host().is_none() {
        return Err("has no host".to_owned());
    }
    Ok(url)
}

/// Why credentials may not go to this base URL.
pub(super) fn unencrypted(connector: &Connector, url: &Url) -> Option<String> {
    let secret = !matches!(connector.auth, Auth::None) || connector.config.iter().any(|f| matches!(f.value, Some(ConfigValue::Read(_))));
    let loopback = match url.host()? {
        Host::Domain(name) => name == "localhost" || name.ends_with(".localhost"),
        Host::Ipv4(ip) => ip.is_loopback(),
        Host::Ipv6(ip) => ip.is_loopback(),
    };
    let open = url.scheme() == "http" && secret && !connector.allow_plaintext && !loopback;
    open.then(|| "`base_url` is plain http: the credentials could be read on the way".to_owned())
}
