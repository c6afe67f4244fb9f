//! What should stand in Orchestrator against what stands there.

use std::collections::BTreeSet;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::Events;
use crate::secret::Secret;

/// The longest name of a webhook, in characters (`WebhookDto.Name`).
pub const NAME_MAX: usize = 128;

/// Types that a difference names; what is beyond is counted.
const TYPES_SHOWN: usize = 12;

/// Bytes of the proof in a description.
const FINGERPRINT_BYTES: usize = 6;

/// What should stand in Orchestrator for a source.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// The source.
    pub source: String,
    /// [`webhook_name`].
    pub name: String,
    /// Where Orchestrator delivers.
    pub url: String,
    /// What it asks for.
    pub events: Events,
    /// [`fingerprint`] of the secret.
    pub fingerprint: String,
}

/// A webhook as Orchestrator lists it. Its secret is not shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Registered {
    /// Its Id.
    pub id: i64,
    /// Its name; API versions below 16 have none.
    pub name: Option<String>,
    /// Its description; likewise.
    pub description: Option<String>,
    /// Where it delivers.
    pub url: String,
    /// Whether it does.
    pub enabled: bool,
    /// Whether it asks for every event.
    pub all: bool,
    /// Which it asks for otherwise.
    pub events: BTreeSet<String>,
    /// Whether it accepts any certificate.
    pub insecure: bool,
}

/// One thing that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// `webhook`, `enabled`, `url`, `name`, `events`, `secret`.
    pub what: &'static str,
    /// As it is.
    pub is: String,
    /// As it should be.
    pub wanted: String,
}

/// What there is to do about one source.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// What it should be.
    pub wanted: Wanted,
    /// What stands there; `None` where nothing does.
    pub found: Option<Registered>,
    /// What differs; nothing is to be done where it is empty.
    pub differences: Vec<Difference>,
    /// Others that deliver to the same URL or look as if they had been ours once; they are left alone.
    pub others: Vec<Registered>,
}

/// The name under which a source is registered. Two installations for one tenant have different hosts.
#[must_use]
pub fn webhook_name(source: &str, url: &str) -> String {
    let host = url.split_once("://").map_or(url, |(_, rest)| rest).split('/').next().unwrap_or_default();
    format!("{}{host}", name_start(source)).chars().take(NAME_MAX).collect()
}

fn name_start(source: &str) -> String {
    format!("tripline-{source}@")
}

/// A proof that a secret is the registered one, which does not tell it: the list of webhooks does not show secrets. It is
/// part of the description.
#[must_use]
pub fn fingerprint(secret: &Secret, url: &str) -> String {
    let Ok(mac) = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()) else { return String::new() };
    let bytes = mac.chain_update(b"tripline webhook ").chain_update(url.as_bytes()).finalize().into_bytes();
    bytes.iter().take(FINGERPRINT_BYTES).map(|byte| format!("{byte:02x}")).collect()
}

impl Wanted {
    /// What its description says.
    #[must_use]
    pub fn description(&self) -> String {
        format!("Kept by tripline: source {}, secret {}", self.source, self.fingerprint)
    }
}

/// What there is to do. Ours is what delivers to our URL, else what has our name. `named` says that this version of the API has
/// names and descriptions: only there it can be told whether the secret is the registered one.
#[must_use]
pub fn plan(wanted: &Wanted, registered: &[Registered], named: bool) -> Planned {
    let same_url = |one: &&Registered| same_url(&one.url, &wanted.url);
    let same_name = |one: &&Registered| one.name.as_deref() == Some(&*wanted.name);
    let found = registered.iter().find(same_url).or_else(|| registered.iter().find(same_name));
    let others = registered.iter().filter(|one| {
        let other = found.is_none_or(|found| found.id != one.id);
        other && (same_url(one) || one.name.as_ref().is_some_and(|name| name.starts_with(&name_start(&wanted.source))))
    });
    let differences = found.map_or_else(|| vec![new(wanted)], |found| differences(wanted, found, named));
    Planned { wanted: wanted.clone(), found: found.cloned(), differences, others: others.cloned().collect() }
}

fn new(wanted: &Wanted) -> Difference {
    Difference { what: "webhook", is: "none".to_owned(), wanted: format!("{}, {}", wanted.url, asked(&wanted.events)) }
}

fn differences(wanted: &Wanted, found: &Registered, named: bool) -> Vec<Difference> {
    let mut differences = Vec::new();
    let mut differs = |what, is: String, wanted: String| differences.push(Difference { what, is, wanted });
    if !found.enabled {
        differs("enabled", "no".to_owned(), "yes".to_owned());
    }
    if !same_url(&found.url, &wanted.url) {
        differs("url", found.url.clone(), wanted.url.clone());
    }
    let has = |name: &str| found.events.iter().any(|event| event.eq_ignore_ascii_case(name));
    let same = match &wanted.events {
        Events::All => found.all,
        Events::These(types) => !found.all && types.len() == found.events.len() && types.iter().all(|name| has(name)),
    };
    if !same {
        let is = if found.all { Events::All } else { Events::These(found.events.clone()) };
        differs("events", asked(&is), asked(&wanted.events));
    }
    if named {
        let description = found.description.as_deref().unwrap_or_default();
        if !description.contains(&*wanted.fingerprint) {
            let is = if description.contains("Kept by tripline") { "another one" } else { "not known: it was not registered by tripline" };
            differs("secret", is.to_owned(), "the first of `secrets`".to_owned());
        }
    }
    differences
}

/// For people.
fn asked(events: &Events) -> String {
    match events {
        Events::All => "all events".to_owned(),
        Events::These(types) if types.is_empty() => "no events".to_owned(),
        Events::These(types) => {
            let shown: Vec<&str> = types.iter().take(TYPES_SHOWN).map(String::as_str).collect();
            let more = types.len() - shown.len();
            format!("{}{}", shown.join(" "), if more > 0 { format!(" and {more} more") } else { String::new() })
        }
    }
}

/// Scheme and host have no case; a slash at the end is none of ours.
fn same_url(left: &str, right: &str) -> bool {
    let parts = |url: &str| {
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let port = if scheme.eq_ignore_ascii_case("https") { ":443" } else { ":80" };
        let host = host.to_ascii_lowercase();
        (scheme.to_ascii_lowercase(), host.strip_suffix(port).unwrap_or(&host).to_owned(), path.trim_end_matches('/').to_owned())
    };
    parts(left) == parts(right)
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://hooks.acme.com/hooks/prod";

    fn wanted(events: Events) -> Wanted {
        let fingerprint = fingerprint(&Secret::new("secret-secret-16".to_owned()), URL);
        Wanted { source: "prod".to_owned(), name: webhook_name("prod", URL), url: URL.to_owned(), events, fingerprint }
    }

    fn these(types: &[&str]) -> Events {
        Events::These(types.iter().map(|name| (*name).to_owned()).collect())
    }

    fn registered(wanted: &Wanted) -> Registered {
        let (all, events) = match &wanted.events {
            Events::All => (true, BTreeSet::new()),
            Events::These(types) => (false, types.clone()),
        };
        Registered {
            id: 7,
            name: Some(wanted.name.clone()),
            description: Some(wanted.description()),
            url: wanted.url.clone(),
            enabled: true,
            all,
            events,
            insecure: false,
        }
    }

    fn differing(planned: &Planned) -> Vec<&'static str> {
        planned.differences.iter().map(|difference| difference.what).collect()
    }

    #[test]
    fn what_stands_there_as_wanted_needs_nothing() {
        for events in [Events::All, these(&["job.faulted", "queueItem.added"])] {
            let wanted = wanted(events);
            let mut there = registered(&wanted);
            assert_eq!(differing(&plan(&wanted, &[there.clone()], true)), [""; 0]);
            // Spellings that mean the same.
            there.url = "HTTPS://Hooks.Acme.com:443/hooks/prod/".to_owned();
            there.events = there.events.iter().map(|name| name.to_ascii_lowercase()).collect();
            assert_eq!(differing(&plan(&wanted, &[there], true)), [""; 0]);
        }
    }

    #[test]
    fn each_thing_that_differs_is_named() {
        let wanted = wanted(these(&["job.faulted", "queueItem.added"]));
        let there = registered(&wanted);
        let cases: Vec<(Registered, bool, &[&str])> = vec![
            (Registered { enabled: false, ..there.clone() }, true, &["enabled"]),
            (Registered { url: "https://hooks.acme.com/old".to_owned(), ..there.clone() }, true, &["url"]),
            (Registered { all: true, events: BTreeSet::new(), ..there.clone() }, true, &["events"]),
            (Registered { events: BTreeSet::from(["job.faulted".to_owned()]), ..there.clone() }, true, &["events"]),
            (Registered { description: None, ..there.clone() }, true, &["secret"]),
            (
                Registered { description: Some("Kept by tripline: source prod, secret 000000000000".into()), ..there.clone() },
                true,
                &["secret"],
            ),
            // Without descriptions it cannot be told.
            (Registered { description: None, name: None, ..there.clone() }, false, &[]),
            (Registered { url: "https://elsewhere.com/x".to_owned(), name: Some("x".into()), ..there }, true, &["webhook"]),
        ];
        for (there, named, expected) in cases {
            assert_eq!(differing(&plan(&wanted, std::slice::from_ref(&there), named)), expected, "{there:?}");
        }
        assert_eq!(differing(&plan(&wanted, &[], true)), ["webhook"]);
    }

    #[test]
    fn another_installation_with_a_source_of_this_name_is_left_alone() {
        let wanted = wanted(Events::All);
        let other = Registered {
            id: 9,
            name: Some(webhook_name("prod", "https://test.acme.com/x")),
            url: "https://test.acme.com/x".into(),
            ..Default::default()
        };
        let planned = plan(&wanted, std::slice::from_ref(&other), true);
        assert_eq!((differing(&planned), planned.found, planned.others), (vec!["webhook"], None, vec![other]));
    }

    #[test]
    fn a_second_webhook_to_the_same_url_is_told() {
        let wanted = wanted(Events::All);
        let ours = Registered { id: 8, url: wanted.url.clone(), ..Default::default() };
        let second = Registered { id: 9, name: Some("by hand".into()), url: format!("{}/", wanted.url), ..Default::default() };
        let elsewhere = Registered { id: 10, url: "https://other.example.com/".into(), ..Default::default() };
        let planned = plan(&wanted, &[ours.clone(), second.clone(), elsewhere], true);
        assert_eq!((planned.found, planned.others), (Some(ours), vec![second]));
    }

    #[test]
    fn a_fingerprint_does_not_tell_the_secret_and_tells_two_apart() {
        let of = |text: &str| fingerprint(&Secret::new(text.to_owned()), URL);
        assert_eq!(of("canary-secret-0123").len(), 2 * FINGERPRINT_BYTES);
        assert_eq!(of("canary-secret-0123"), of("canary-secret-0123"));
        assert_ne!(of("canary-secret-0123"), of("canary-secret-0124"));
        assert!(webhook_name(&"s".repeat(64), &format!("https://{}/x", "h".repeat(250))).chars().count() <= NAME_MAX);
    }
}
