//! A request and its answer as people see them, without a secret.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::call::mark;
use crate::calls::Outcome;
use crate::cli::output::{DIM, Out, STRONG, Stop, clean, paint};
use crate::connectors::auth::{Auth, KeyPlace};
use crate::connectors::{Access, CallRequest, CallResponse, Connector, Content, MASK};

/// The most of a body that is printed for people, in bytes.
const BODY_SHOWN_MAX: usize = 64 << 10;

/// Headers of answers that hold a secret by their nature.
const SECRET_HEADERS: &[&str] = &["set-cookie", "authorization", "proxy-authorization", "x-api-key"];

/// A call with what came of it.
pub(super) struct Shown<'a> {
    pub(super) connector: &'a Connector,
    pub(super) access: &'a Access,
    pub(super) request: &'a CallRequest,
    pub(super) outcome: &'a Outcome,
    pub(super) took: Duration,
}

/// The request as JSON, with what authorises it named but not shown.
pub(super) fn request_json(connector: &Connector, access: &Access, request: &CallRequest) -> Value {
    let mut shown = request.to_json(Some(access));
    let headers: Map<String, Value> = authorised(connector).into_iter().map(|(name, value)| (name, Value::String(value))).collect();
    if let (Some(map), false) = (shown.as_object_mut(), headers.is_empty()) {
        let all = map.entry("headers").or_insert_with(|| json!({}));
        if let Some(all) = all.as_object_mut() {
            all.extend(headers);
        }
    }
    if let Auth::ApiKey { place: KeyPlace::Query, name, .. } = &connector.auth {
        shown["query"][name] = json!(MASK);
    }
    shown
}

/// Headers that authorise, masked.
fn authorised(connector: &Connector) -> Vec<(String, String)> {
    let bearer = || vec![("authorization".to_owned(), format!("Bearer {MASK}"))];
    match &connector.auth {
        Auth::None | Auth::ApiKey { place: KeyPlace::Query, .. } => Vec::new(),
        Auth::Bearer { .. } | Auth::OAuth2(_) | Auth::Orchestrator => bearer(),
        Auth::Basic { .. } => vec![("authorization".to_owned(), format!("Basic {MASK}"))],
        Auth::ApiKey { name, .. } => vec![(name.to_ascii_lowercase(), MASK.to_owned())],
        Auth::Hmac(hmac) => vec![(hmac.header.to_ascii_lowercase(), format!("{}{MASK}", hmac.prefix))],
    }
}

/// The request for people.
pub(super) fn print_request(connector: &Connector, access: &Access, request: &CallRequest, out: &mut Out) -> Result<(), Stop> {
    let mut url = access.mask(&request.full_url());
    if let Auth::ApiKey { place: KeyPlace::Query, name, .. } = &connector.auth {
        url.push_str(&format!("{}{name}={MASK}", if request.query.is_empty() { '?' } else { '&' }));
    }
    out.line(&format!("{} {}", paint(STRONG, request.method), clean(&url)))?;
    for (name, value) in request.headers.iter().map(|(name, value)| (name.clone(), access.mask(value))).chain(authorised(connector)) {
        out.line(&paint(DIM, &clean(&format!("{name}: {value}"))))?;
    }
    let shown = request.to_json(Some(access));
    match &request.content {
        Content::Empty => Ok(()),
        Content::Json(_) => body(&shown["body"], out),
        Content::Form(_) => body(&shown["form"], out),
        Content::Multipart(_) => body(&shown["multipart"], out),
        Content::Raw { .. } => body(&shown["raw"]["content"], out),
    }
}

/// A body, cut where it is long.
fn body(value: &Value, out: &mut Out) -> Result<(), Stop> {
    out.line("")?;
    match value {
        Value::String(text) => text.chars().take(BODY_SHOWN_MAX).collect::<String>().lines().try_for_each(|line| out.line(&clean(line)))?,
        value => {
            let text = serde_json::to_string_pretty(value).map_err(|error| Stop::unknown(error.to_string()))?;
            if text.len() <= BODY_SHOWN_MAX {
                return out.pretty_json(value);
            }
            let cut: String = text.chars().take(BODY_SHOWN_MAX).collect();
            cut.lines().try_for_each(|line| out.line(&clean(line)))?;
            out.line(&paint(DIM, &format!("… {} bytes in all; --json shows everything", text.len())))?;
        }
    }
    Ok(())
}

impl Shown<'_> {
    /// `{request, response, output, error, took_ms}`.
    pub(super) fn to_json(&self) -> Value {
        let mut map = Map::new();
        map.insert("request".to_owned(), request_json(self.connector, self.access, self.request));
        if let Some(response) = &self.outcome.response {
            map.insert("response".to_owned(), response_json(response, self.access));
        }
        match &self.outcome.result {
            Ok(value) => drop(map.insert("output".to_owned(), self.access.mask_value(value))),
            Err(failure) => {
                let error =
                    json!({"class": failure.class.as_str(), "status": failure.status, "message": self.access.mask(&failure.message)});
                map.insert("error".to_owned(), error);
            }
        }
        map.insert("took_ms".to_owned(), json!(u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX)));
        Value::Object(map)
    }

    /// For people.
    pub(super) fn print(&self, out: &mut Out) -> Result<(), Stop> {
        print_request(self.connector, self.access, self.request, out)?;
        out.line("")?;
        if let Some(response) = &self.outcome.response {
            let line = format!("{} in {:.0?}, {} bytes", response.status, self.took, self.outcome.trace.bytes);
            out.line(&paint(mark(self.outcome), &line))?;
            for (name, value) in headers(response, self.access) {
                out.line(&paint(DIM, &clean(&format!("{name}: {value}"))))?;
            }
            if !response.body().is_null() {
                body(&self.access.mask_value(response.body()), out)?;
            }
        }
        match &self.outcome.result {
            Ok(value) if self.outcome.response.as_ref().is_some_and(|response| response.body() != value) => {
                out.line("")?;
                out.text(&paint(STRONG, "output"))?;
                body(&self.access.mask_value(value), out)
            }
            Ok(_) => Ok(()),
            Err(failure) => {
                let said = format!("{} ({})", self.access.mask(&failure.message), failure.class.as_str());
                out.line(&format!("{} {}", paint(mark(self.outcome), "error:"), clean(&said)))
            }
        }
    }
}

fn headers(response: &CallResponse, access: &Access) -> Vec<(String, String)> {
    let shown = |name: &str, value: &str| if SECRET_HEADERS.contains(&name) { MASK.to_owned() } else { access.mask(value) };
    response.headers().map(|(name, value)| (name.to_owned(), shown(name, value))).collect()
}

fn response_json(response: &CallResponse, access: &Access) -> Value {
    let headers: Map<String, Value> = headers(response, access).into_iter().map(|(name, value)| (name, Value::String(value))).collect();
    json!({"status": response.status, "headers": headers, "body": access.mask_value(response.body())})
}
