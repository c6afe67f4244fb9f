//! The schemes of the services that are known by name.

use std::borrow::Cow;

use base64::Engine;

use super::custom::CustomScheme;
use super::mac::{Algorithm, BASE64, Encoding, Mac};
use super::stamp::{self, Stamp};
use super::{NamedSecret, ORCHESTRATOR_HEADER, TOLERANCE, Verdict, list, verify_orchestrator};
use crate::headers::{Found, Headers};
use crate::time::Timestamp;

/// How deliveries are signed.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Scheme {
    /// Orchestrator: base64 over the body.
    #[default]
    Orchestrator,
    /// Standard Webhooks: `webhook-id`, `webhook-timestamp`, `webhook-signature`; the same under Svix' older names.
    StandardWebhooks,
    /// GitHub: `X-Hub-Signature-256`.
    GitHub,
    /// Stripe: `Stripe-Signature` with its time.
    Stripe,
    /// Slack: `X-Slack-Signature` over version, time and body.
    Slack,
    /// Shopify: `X-Shopify-Hmac-SHA256`.
    Shopify,
    /// Cloud Elements and its descendants: `Elements-Webhook-Signature`.
    CloudElements,
    /// Written out in the configuration.
    Custom(Box<CustomScheme>),
}

/// What a delivery lacks to be checked at all; the header's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lack {
    /// There is no such header, or it is empty.
    Missing(String),
    /// There are several.
    Twice(String),
    /// It is no ASCII.
    NotText,
}

/// The headers of Standard Webhooks: id, time, signatures. Svix sends both sets, and older versions only its own.
const STANDARD: [&str; 3] = ["webhook-id", "webhook-timestamp", "webhook-signature"];
const SVIX: [&str; 3] = ["svix-id", "svix-timestamp", "svix-signature"];
const GITHUB: &str = "x-hub-signature-256";
const STRIPE: &str = "stripe-signature";
const SLACK: [&str; 2] = ["x-slack-signature", "x-slack-request-timestamp"];
const SHOPIFY: &str = "x-shopify-hmac-sha256";
const CLOUD_ELEMENTS: &str = "elements-webhook-signature";

/// What stands before a secret of Standard Webhooks.
const SECRET_PREFIX: &str = "whsec_";

impl Scheme {
    /// The names of all schemes in the configuration.
    pub const NAMES: [&str; 8] = ["orchestrator", "standard-webhooks", "github", "stripe", "slack", "shopify", "cloud-elements", "custom"];

    /// The same without Orchestrator's own.
    pub const OF_SERVICES: [&str; 7] = ["standard-webhooks", "github", "stripe", "slack", "shopify", "cloud-elements", "custom"];

    /// Its name in the configuration.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Orchestrator => "orchestrator",
            Self::StandardWebhooks => "standard-webhooks",
            Self::GitHub => "github",
            Self::Stripe => "stripe",
            Self::Slack => "slack",
            Self::Shopify => "shopify",
            Self::CloudElements => "cloud-elements",
            Self::Custom(_) => "custom",
        }
    }

    /// By its name, but for `custom`, which needs more than a name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        let known =
            [Self::Orchestrator, Self::StandardWebhooks, Self::GitHub, Self::Stripe, Self::Slack, Self::Shopify, Self::CloudElements];
        known.into_iter().find(|scheme| scheme.name() == name)
    }

    /// The headers without which nothing can be checked: asked before a byte of the body is read.
    ///
    /// # Errors
    /// The first header that is wrong.
    pub fn check_head(&self, headers: &dyn Headers) -> Result<(), Lack> {
        let needed = |name: &str| match headers.find(name) {
            Found::Missing => Err(Lack::Missing(name.to_owned())),
            Found::Several => Err(Lack::Twice(name.to_owned())),
            Found::One(value) if !value.is_ascii() => Err(Lack::NotText),
            Found::One(_) => Ok(()),
        };
        match self {
            Self::Orchestrator => needed(ORCHESTRATOR_HEADER),
            Self::StandardWebhooks => standard_names(headers).into_iter().try_for_each(needed),
            Self::GitHub => needed(GITHUB),
            Self::Stripe => needed(STRIPE),
            Self::Slack => SLACK.into_iter().try_for_each(needed),
            Self::Shopify => needed(SHOPIFY),
            Self::CloudElements => needed(CLOUD_ELEMENTS),
            Self::Custom(custom) => {
                let time = custom.timestamp.iter().map(|(name, _)| name.as_str());
                std::iter::once(custom.header.as_str()).chain(time).chain(custom.content.headers()).try_for_each(needed)
            }
        }
    }

    /// Checks a delivery against every secret. All of them are tried, whichever fits, and the time is looked at last, so
    /// that the time taken says nothing about which one did.
    #[must_use]
    pub fn verify(&self, headers: &dyn Headers, body: &[u8], secrets: &[NamedSecret], now: Timestamp) -> Verdict {
        let one = |name: &'static str| match headers.find(name) {
            Found::One(value) => Ok(value),
            Found::Missing | Found::Several => Err("a header is missing or there twice"),
        };
        let judged = || -> Result<Verdict, &'static str> {
            Ok(match self {
                Self::Orchestrator => verify_orchestrator(one(ORCHESTRATOR_HEADER)?, body, secrets),
                Self::StandardWebhooks => {
                    let [id, time, signatures] = standard_names(headers);
                    let (id, time) = (one(id)?, one(time)?);
                    let claimed = list::standard(one(signatures)?)?;
                    let stamp = stamp::seconds(time)?;
                    let found = find(&claimed, secrets, |secret| {
                        standard_key(secret.value.expose()).map(|key| Algorithm::Sha256.mac(&key, &[id, b".", time, b".", body])).ok()
                    });
                    timely(found, stamp, now)
                }
                Self::GitHub => plain(prefixed(one(GITHUB)?, Encoding::Hex)?, body, secrets),
                Self::CloudElements => plain(prefixed(one(CLOUD_ELEMENTS)?, Encoding::Base64)?, body, secrets),
                Self::Shopify => plain(Encoding::Base64.read(one(SHOPIFY)?, 32)?, body, secrets),
                Self::Stripe => {
                    let (time, claimed) = list::stripe(one(STRIPE)?)?;
                    let stamp = stamp::seconds(time)?;
                    timely(find(&claimed, secrets, |secret| Some(sha256(secret, &[time, b".", body]))), stamp, now)
                }
                Self::Slack => {
                    let (value, time) = (one(SLACK[0])?, one(SLACK[1])?);
                    let digits = value.strip_prefix(b"v0=").ok_or("not of version `v0` (`v0=…`)")?;
                    let claimed = Encoding::Hex.read(digits, 32)?;
                    let stamp = stamp::seconds(time)?;
                    timely(find(&[claimed], secrets, |secret| Some(sha256(secret, &[b"v0:", time, b":", body]))), stamp, now)
                }
                Self::Custom(custom) => custom_verdict(custom, headers, body, secrets, now)?,
            })
        };
        judged().unwrap_or_else(Verdict::Malformed)
    }
}

fn custom_verdict(
    custom: &CustomScheme,
    headers: &dyn Headers,
    body: &[u8],
    secrets: &[NamedSecret],
    now: Timestamp,
) -> Result<Verdict, &'static str> {
    const LACK: &str = "a header is missing or there twice";
    let value = |name: &str| if let Found::One(value) = headers.find(name) { Ok(value) } else { Err(LACK) };
    let claimed = custom.read(value(&custom.header)?)?;
    let stamp = match &custom.timestamp {
        Some((name, tolerance)) => Some((stamp::any(value(name)?)?, *tolerance)),
        None => None,
    };
    let parts = custom.content.parts(headers, body).map_err(|_| LACK)?;
    let found = find(&claimed, secrets, |secret| Some(custom.algorithm.mac(secret.value.expose().as_bytes(), &parts)));
    Ok(match (found, stamp) {
        (None, _) => Verdict::Mismatch,
        (Some(index), None) => Verdict::Genuine(index),
        (Some(index), Some((stamp, tolerance))) => stamp.judge(index, now, tolerance),
    })
}

/// The names under which a delivery of Standard Webhooks has its headers.
fn standard_names(headers: &dyn Headers) -> [&'static str; 3] {
    let old = headers.find(STANDARD[2]) == Found::Missing && headers.find(SVIX[2]) != Found::Missing;
    if old { SVIX } else { STANDARD }
}

/// `sha256=` and the MAC.
fn prefixed(value: &[u8], encoding: Encoding) -> Result<Mac, &'static str> {
    encoding.read(value.strip_prefix(b"sha256=").ok_or("no `sha256=` before it")?, 32)
}

fn sha256(secret: &NamedSecret, parts: &[&[u8]]) -> Mac {
    Algorithm::Sha256.mac(secret.value.expose().as_bytes(), parts)
}

/// A signature of the body alone, which has no time.
fn plain(claimed: Mac, body: &[u8], secrets: &[NamedSecret]) -> Verdict {
    find(&[claimed], secrets, |secret| Some(sha256(secret, &[body]))).map_or(Verdict::Mismatch, Verdict::Genuine)
}

/// The first secret that gives one of the claimed MACs.
fn find(claimed: &[Mac], secrets: &[NamedSecret], mac: impl Fn(&NamedSecret) -> Option<Mac>) -> Option<usize> {
    let mut found = None;
    for (index, secret) in secrets.iter().enumerate() {
        let fits = mac(secret).is_some_and(|mac| mac.is_one_of(claimed));
        if fits && found.is_none() {
            found = Some(index);
        }
    }
    found
}

fn timely(found: Option<usize>, stamp: Stamp, now: Timestamp) -> Verdict {
    found.map_or(Verdict::Mismatch, |index| stamp.judge(index, now, TOLERANCE))
}

/// The key behind a secret of Standard Webhooks: base64, with or without `whsec_`.
pub(super) fn standard_key(secret: &str) -> Result<Vec<u8>, &'static str> {
    let text = secret.strip_prefix(SECRET_PREFIX).unwrap_or(secret);
    match BASE64.decode(text) {
        Ok(key) if key.is_empty() => Err("nothing follows `whsec_`"),
        Ok(key) => Ok(key),
        Err(_) => Err("it is no base64, with or without `whsec_` before it"),
    }
}

/// Whether a value can be a secret of this scheme.
///
/// # Errors
/// What is wrong with it; never the value.
pub fn check_secret(scheme: &Scheme, secret: &str) -> Result<(), Cow<'static, str>> {
    match scheme {
        Scheme::StandardWebhooks => standard_key(secret).map(drop).map_err(Cow::Borrowed),
        _ => Ok(()),
    }
}
