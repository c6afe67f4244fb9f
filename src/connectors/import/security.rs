//! How requests are authenticated: the schemes of a description, and the choice of those that serve most operations.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::document::{Document, step};
use super::draft::Auth;
use super::parameters::is_header_name;
use super::report::Part;
use crate::connectors::check::parse_service;

/// The most alternatives that are weighed.
const CHOICES_MAX: usize = 200;

/// Where schemes stand.
const SCHEMES: &str = "#/components/securitySchemes";

/// The schemes of a description.
#[derive(Debug)]
pub(super) struct Schemes {
    known: BTreeMap<String, Scheme>,
    global: Vec<BTreeSet<String>>,
}

#[derive(Debug)]
enum Scheme {
    /// Can be carried out; a hint where something has to be known about it.
    Usable(Auth, Option<Hint>),
    /// Cannot; why.
    Unusable(&'static str, String),
}

type Hint = (&'static str, String);

/// The schemes that were chosen.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    names: BTreeSet<String>,
    /// The scheme that is the connector's authentication.
    pub(super) auth: Option<Auth>,
    /// Keys beside it, each with the name of its scheme.
    pub(super) further: Vec<(String, Auth)>,
    /// Headers (`header:x-key`) and names in the query (`query:key`) that they fill in.
    pub(super) taken: BTreeSet<String>,
}

impl Schemes {
    /// Reads the schemes and what is required by default.
    pub(super) fn read(document: &Document) -> Self {
        let written = document.root().pointer("/components/securitySchemes").and_then(Value::as_object);
        let known = written.into_iter().flatten().map(|(name, value)| (name.clone(), scheme(document, value))).collect();
        Self { known, global: alternatives(document.root().get("security")).unwrap_or_default() }
    }

    /// The alternatives of an operation; nothing in the list means that nothing is required.
    pub(super) fn of(&self, operation: &Value) -> Vec<BTreeSet<String>> {
        alternatives(operation.get("security")).unwrap_or_else(|| self.global.clone())
    }

    /// The schemes that serve most of the operations, whose alternatives are given.
    pub(super) fn choose(&self, operations: &[Vec<BTreeSet<String>>], left_out: &mut Vec<Part>) -> Chosen {
        let mut candidates: Vec<&BTreeSet<String>> = Vec::new();
        for alternative in operations.iter().flatten().chain(&self.global) {
            if !alternative.is_empty()
                && self.is_usable(alternative)
                && !candidates.contains(&alternative)
                && candidates.len() < CHOICES_MAX
            {
                candidates.push(alternative);
            }
        }
        let served = |candidate: &BTreeSet<String>| operations.iter().filter(|operation| self.serves(candidate, operation)).count();
        let rank = |candidate: &BTreeSet<String>| candidate.iter().map(|name| self.rank(name)).sum::<usize>();
        let best = candidates.into_iter().min_by_key(|candidate| (std::cmp::Reverse(served(candidate)), candidate.len(), rank(candidate)));
        let names = match best {
            Some(best) => best.clone(),
            None => self.unasked(operations, left_out),
        };
        self.taken(names, left_out)
    }

    /// What stands in the way of authenticating an operation with the chosen schemes.
    pub(super) fn trouble(&self, chosen: &Chosen, operation: &[BTreeSet<String>]) -> Option<(&'static str, String)> {
        if self.serves(&chosen.names, operation) {
            return None;
        }
        let unusable = operation.iter().flatten().find_map(|name| match self.known.get(name) {
            Some(Scheme::Unusable(reason, message)) => Some((*reason, message.clone())),
            Some(Scheme::Usable(..)) => None,
            None => Some(("security-scheme", format!("the security scheme `{name}` is not described"))),
        });
        Some(unusable.unwrap_or_else(|| {
            let asked: Vec<&str> = operation.iter().flatten().map(String::as_str).collect();
            let own: Vec<&str> = chosen.names.iter().map(String::as_str).collect();
            (
                "other-security",
                format!("it wants `{}`, the connector has `{}`: import it into one of its own", asked.join("`, `"), own.join("`, `")),
            )
        }))
    }

    /// Schemes that were not chosen, for people.
    pub(super) fn others(&self, chosen: &Chosen) -> Vec<String> {
        self.known.keys().filter(|name| !chosen.names.contains(*name)).cloned().collect()
    }

    /// A description that describes schemes and asks for none forgot to: the best of them.
    fn unasked(&self, operations: &[Vec<BTreeSet<String>>], left_out: &mut Vec<Part>) -> BTreeSet<String> {
        if operations.iter().any(|operation| !operation.is_empty()) {
            return BTreeSet::new();
        }
        let usable = self.known.keys().filter(|name| self.is_usable(&BTreeSet::from([(*name).clone()])));
        let Some(best) = usable.min_by_key(|name| self.rank(name)) else { return BTreeSet::new() };
        let message = format!("no operation asks for authentication; `{best}` is used, because it is described");
        left_out.push(Part { reason: "security-not-required", pointer: step(SCHEMES, best), message });
        BTreeSet::from([best.clone()])
    }

    /// Whether all of them together can be carried out: one scheme, and keys beside it.
    fn is_usable(&self, names: &BTreeSet<String>) -> bool {
        let is_key = |auth: &Auth| matches!(auth, Auth::KeyInHeader(_) | Auth::KeyInQuery(_));
        let auths: Option<Vec<&Auth>> = names.iter().map(|name| self.auth(name)).collect();
        auths.is_some_and(|auths| auths.iter().filter(|auth| !is_key(auth)).count() <= 1)
    }

    /// Whether the schemes are enough for an operation. Two that come to the same (a token got by signing in, a token given) are one.
    fn serves(&self, schemes: &BTreeSet<String>, operation: &[BTreeSet<String>]) -> bool {
        let same = |name: &str| self.auth(name).is_some_and(|auth| schemes.iter().any(|scheme| self.auth(scheme) == Some(auth)));
        let served = |name: &String| schemes.contains(name) || same(name);
        operation.is_empty() || operation.iter().any(|alternative| alternative.iter().all(served))
    }

    fn auth(&self, name: &str) -> Option<&Auth> {
        match self.known.get(name) {
            Some(Scheme::Usable(auth, _)) => Some(auth),
            _ => None,
        }
    }

    /// What a daemon gets on with best comes first.
    fn rank(&self, name: &str) -> usize {
        let hinted = matches!(self.known.get(name), Some(Scheme::Usable(_, Some(_))));
        match self.auth(name) {
            Some(Auth::ClientCredentials { .. }) => 0,
            Some(Auth::Bearer) if !hinted => 1,
            Some(Auth::KeyInHeader(_)) => 2,
            Some(Auth::Basic) => 3,
            Some(Auth::KeyInQuery(_)) => 4,
            Some(Auth::RefreshToken { .. }) => 5,
            _ => 6,
        }
    }

    fn taken(&self, names: BTreeSet<String>, left_out: &mut Vec<Part>) -> Chosen {
        let mut chosen = Chosen::default();
        let mut auths: Vec<(&String, &Auth)> = names.iter().filter_map(|name| self.auth(name).map(|auth| (name, auth))).collect();
        // What is no key is the authentication; keys go beside it.
        auths.sort_by_key(|(_, auth)| matches!(auth, Auth::KeyInHeader(_) | Auth::KeyInQuery(_)));
        for (name, auth) in auths {
            match auth {
                Auth::KeyInHeader(header) => drop(chosen.taken.insert(format!("header:{}", header.to_ascii_lowercase()))),
                Auth::KeyInQuery(param) => drop(chosen.taken.insert(format!("query:{param}"))),
                _ => {}
            }
            if let Some(Scheme::Usable(_, Some((reason, message)))) = self.known.get(name) {
                left_out.push(Part { reason, pointer: step(SCHEMES, name), message: message.clone() });
            }
            match chosen.auth {
                None => chosen.auth = Some(auth.clone()),
                Some(_) => chosen.further.push((name.clone(), auth.clone())),
            }
        }
        chosen.names = names;
        chosen
    }
}

fn alternatives(security: Option<&Value>) -> Option<Vec<BTreeSet<String>>> {
    let list = security?.as_array()?;
    Some(list.iter().filter_map(Value::as_object).map(|one| one.keys().cloned().collect()).collect())
}

fn scheme(document: &Document, written: &Value) -> Scheme {
    let value = match document.resolve(written) {
        Ok(value) => value,
        Err(bad) => return Scheme::Unusable(bad.reason(), bad.to_string()),
    };
    let text = |key: &str| value.get(key).and_then(Value::as_str);
    match text("type") {
        Some("http") => match text("scheme").map(str::to_ascii_lowercase).as_deref() {
            Some("bearer") => Scheme::Usable(Auth::Bearer, None),
            Some("basic") => Scheme::Usable(Auth::Basic, None),
            other => Scheme::Unusable("security-scheme", format!("HTTP authentication `{}` is not in this version", other.unwrap_or("?"))),
        },
        Some("apiKey") => match (text("in"), text("name")) {
            (Some("header"), Some(name)) if is_header_name(name) => Scheme::Usable(Auth::KeyInHeader(name.to_owned()), None),
            (Some("query"), Some(name)) => Scheme::Usable(Auth::KeyInQuery(name.to_owned()), None),
            (Some("cookie"), _) => Scheme::Unusable("cookie-security", "a key in a cookie is not in this version".to_owned()),
            _ => Scheme::Unusable("security-scheme", "the API key has no usable `in` or `name`".to_owned()),
        },
        Some("oauth2") => oauth2(value.get("flows").unwrap_or(&Value::Null)),
        Some("openIdConnect") => {
            let message = "OpenID Connect is not carried out: give a token that was got elsewhere";
            Scheme::Usable(Auth::Bearer, Some(("oauth2-flow", message.to_owned())))
        }
        other => Scheme::Unusable("security-scheme", format!("security of type `{}` is not in this version", other.unwrap_or("?"))),
    }
}

fn oauth2(flows: &Value) -> Scheme {
    let token_url = |flow: &str| flows.get(flow)?.get("tokenUrl")?.as_str().filter(|url| is_secure(url)).map(str::to_owned);
    if let Some(token_url) = token_url("clientCredentials") {
        let scopes = flows.get("clientCredentials").and_then(|flow| flow.get("scopes")).and_then(Value::as_object);
        let scopes = scopes.into_iter().flat_map(|scopes| scopes.keys().cloned()).collect();
        return Scheme::Usable(Auth::ClientCredentials { token_url, scopes }, None);
    }
    if let Some(token_url) = token_url("authorizationCode") {
        let message = "signing in (authorization code) is not carried out: give a refresh token that was got elsewhere, or make it \
                       `client_credentials` where the service grants them";
        return Scheme::Usable(Auth::RefreshToken { token_url }, Some(("oauth2-flow", message.to_owned())));
    }
    let known: Vec<&str> = flows.as_object().into_iter().flat_map(|flows| flows.keys().map(String::as_str)).take(4).collect();
    let message = format!("the flow `{}` of OAuth 2 is not carried out: give a token that was got elsewhere", known.join("`, `"));
    Scheme::Usable(Auth::Bearer, Some(("oauth2-flow", message)))
}

/// An absolute address that credentials may go to.
fn is_secure(url: &str) -> bool {
    parse_service(url).is_ok_and(|url| url.scheme() == "https") && !url.contains(['{', '$'])
}
