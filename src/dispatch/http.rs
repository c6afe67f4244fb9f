//! `http` steps.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::Targets;
use super::attempt::{Answered, Order};
use crate::clock::Clock;
use crate::event::read_json;
use crate::http::client::{Answer, Outgoing, refusal, request_line};
use crate::http::exchange::Exchange;
use crate::orchestrator::CallTrace;
use crate::rules::HttpCall;
use crate::runs::{Class, Failure, Outcome};

/// The most of an answer that becomes the step's value, in bytes.
const VALUE_MAX: usize = 1 << 20;

/// Sends the request; every attempt of the step carries the same `Idempotency-Key`.
pub(super) async fn call(targets: &Targets, order: &Order, call: &HttpCall, clock: &Clock) -> Answered {
    let line = request_line(&call.method, &call.url);
    let Some(client) = &targets.http else {
        let message = "there is no client for `http` steps: the configuration's `egress` could not be used".to_owned();
        return Answered::failed(line, Failure { class: Class::Connect, status: None, message, retry_after: None });
    };
    let outgoing = outgoing(order, call);
    let exchange = Exchange::of(&outgoing);
    // One byte more than becomes the value tells a body that ends there from one that goes on.
    match client.send_keeping(outgoing, VALUE_MAX + 1).await {
        Ok((answer, bytes)) => {
            let exchange = Some(Arc::new(exchange.answered(&answer)));
            let trace = CallTrace { request: line, status: Some(answer.status), bytes, exchange };
            let outcome = refusal(&answer, clock.now()).map_or_else(|| Outcome::Done { value: value(&answer) }, Outcome::Failed);
            Answered::new(trace, outcome)
        }
        Err(failure) => {
            let trace = CallTrace { request: line, status: failure.status, exchange: Some(Arc::new(exchange)), bytes: 0 };
            Answered::new(trace, Outcome::Failed(failure))
        }
    }
}

fn outgoing(order: &Order, call: &HttpCall) -> Outgoing {
    let mut headers: Vec<_> = call.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let content_type = call.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type")).map(|(_, value)| value.as_str());
    let body = call.body.as_ref().map(|body| match (body, content_type) {
        (Value::String(text), Some(written)) if !is_json(written) => Bytes::from(text.clone()),
        _ => Bytes::from(body.to_string()),
    });
    if body.is_some() && content_type.is_none() {
        headers.push(("Content-Type".to_owned(), "application/json".to_owned()));
    }
    if !call.headers.keys().any(|name| name.eq_ignore_ascii_case("idempotency-key")) {
        headers.push(("Idempotency-Key".to_owned(), format!("{}:{}", order.run, order.label)));
    }
    Outgoing { method: call.method.clone(), url: call.url.clone(), written_out: call.written_out, headers, body, timeout: order.timeout }
}

fn is_json(content_type: &str) -> bool {
    let media = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media.ends_with("/json") || media.ends_with("+json")
}

/// The step's value: the body as JSON where it is JSON, else as text, cut at [`VALUE_MAX`].
fn value(answer: &Answer) -> Value {
    let body = &answer.body;
    if body.is_empty() {
        return Value::Null;
    }
    if body.len() <= VALUE_MAX
        && let Ok(value) = read_json(body)
    {
        return value;
    }
    Value::String(String::from_utf8_lossy(&body[..body.len().min(VALUE_MAX)]).into_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(body: &[u8]) -> Answer {
        Answer { status: 200, headers: Vec::new(), body: Bytes::copy_from_slice(body) }
    }

    #[test]
    fn the_value_of_a_step_is_the_body_as_json_or_text() {
        assert_eq!(value(&answer(b"")), Value::Null);
        assert_eq!(value(&answer(b"{\"a\": 1}")), json!({"a": 1}));
        assert_eq!(value(&answer(b"\xef\xbb\xbf[1]")), json!([1]));
        assert_eq!(value(&answer(b"{\"id\": 123456789012345678901}")), json!({"id": "123456789012345678901"}), "no digit is lost");
        assert_eq!(value(&answer(b"thanks")), json!("thanks"));
        assert_eq!(value(&answer(b"\xff")), json!("\u{fffd}"));
        let long = vec![b'1'; VALUE_MAX + 5];
        assert_eq!(value(&answer(&long)).as_str().map(str::len), Some(VALUE_MAX));
    }

    #[test]
    fn json_is_told_by_its_media_type() {
        for (written, json) in [("application/json; charset=utf-8", true), ("application/cloudevents+json", true), ("text/plain", false)] {
            assert_eq!(is_json(written), json, "{written}");
        }
    }
}
