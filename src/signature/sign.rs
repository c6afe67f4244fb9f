//! Signing as a service does: for `tripline send`, for tests and benches.

use super::custom::CustomScheme;
use super::mac::{Algorithm, Encoding};
use super::scheme::standard_key;
use super::{ORCHESTRATOR_HEADER, Scheme, sign_orchestrator};
use crate::headers::{Found, HeaderList, Headers};
use crate::secret::Secret;
use crate::time::Timestamp;

/// What a delivery is sent as.
#[derive(Clone, Copy, Debug)]
pub struct SendAs<'a> {
    /// The service's id of the delivery, where it is part of what is signed.
    pub id: &'a str,
    /// When it is sent.
    pub now: Timestamp,
    /// Headers that are sent besides; a scheme of one's own may sign some of them.
    pub headers: &'a HeaderList,
}

/// The headers that the service would add to this body.
///
/// # Errors
/// What cannot be made: a secret of another form, a header that only the sender knows.
pub fn sign(scheme: &Scheme, body: &[u8], secret: &Secret, send: &SendAs<'_>) -> Result<Vec<(String, String)>, String> {
    let key = secret.expose().as_bytes();
    let seconds = (send.now.as_millis() / 1000).to_string();
    let time = seconds.as_bytes();
    let own = |name: &str, value: String| Ok(vec![(name.to_owned(), value)]);
    let written = |parts: &[&[u8]], encoding: Encoding| encoding.write(&Algorithm::Sha256.mac(key, parts));
    match scheme {
        Scheme::Orchestrator => own(ORCHESTRATOR_HEADER, sign_orchestrator(body, secret)),
        Scheme::StandardWebhooks => {
            let key = standard_key(secret.expose())?;
            let mac = Algorithm::Sha256.mac(&key, &[send.id.as_bytes(), b".", time, b".", body]);
            Ok(vec![
                ("webhook-id".to_owned(), send.id.to_owned()),
                ("webhook-timestamp".to_owned(), seconds.clone()),
                ("webhook-signature".to_owned(), format!("v1,{}", Encoding::Base64.write(&mac))),
            ])
        }
        Scheme::GitHub => own("x-hub-signature-256", format!("sha256={}", written(&[body], Encoding::Hex))),
        Scheme::CloudElements => own("elements-webhook-signature", format!("sha256={}", written(&[body], Encoding::Base64))),
        Scheme::Shopify => own("x-shopify-hmac-sha256", written(&[body], Encoding::Base64)),
        Scheme::Stripe => own("stripe-signature", format!("t={seconds},v1={}", written(&[time, b".", body], Encoding::Hex))),
        Scheme::Slack => Ok(vec![
            ("x-slack-request-timestamp".to_owned(), seconds.clone()),
            ("x-slack-signature".to_owned(), format!("v0={}", written(&[b"v0:", time, b":", body], Encoding::Hex))),
        ]),
        Scheme::Custom(custom) => custom_headers(custom, body, key, &seconds, send.headers),
    }
}

fn custom_headers(
    custom: &CustomScheme,
    body: &[u8],
    key: &[u8],
    seconds: &str,
    sent: &HeaderList,
) -> Result<Vec<(String, String)>, String> {
    let mut made = Vec::new();
    if let Some((name, _)) = &custom.timestamp
        && sent.find(name) == Found::Missing
    {
        made.push((name.clone(), seconds.to_owned()));
    }
    let all = HeaderList(sent.0.iter().chain(&made).cloned().collect());
    let parts = custom.content.parts(&all, body).map_err(|name| format!("the header `{name}` is signed too: give it with --header"))?;
    let mac = custom.algorithm.mac(key, &parts);
    made.push((custom.header.clone(), format!("{}{}", custom.prefix, custom.encoding.write(&mac))));
    Ok(made)
}
