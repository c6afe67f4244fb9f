//! The real binary, a sandbox and a scripted endpoint over loopback, each on a port of its own and in a folder of its own.

mod daemon;
mod disk;
mod endpoint;
mod listen;
pub(crate) mod lives;
mod peer;
mod service;
mod tls;

use std::time::{Duration, Instant};

use base64::Engine;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

pub(crate) use daemon::{Daemon, Folder};
pub(crate) use disk::{Disk, skip};
pub(crate) use endpoint::{Endpoint, Manner};
pub(crate) use listen::listen;
pub(crate) use peer::{Sandbox, start_sandbox, start_sandbox_as};
pub(crate) use service::{Came, Reply, Service};
pub(crate) use tls::{EXPIRED, GOOD, ROOT, SELF_SIGNED, TlsEndpoint, no_tls};

/// The secret of the webhook in all tests.
pub(crate) const SECRET: &str = "canary-webhook-secret-0123456789";

/// The longest that a test waits for one condition.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// Awaits a condition, asked again and again, under [`LIMIT`].
pub(crate) async fn until<T>(what: &str, condition: impl AsyncFnMut() -> Option<T>) -> T {
    until_within(LIMIT, what, condition).await
}

/// Awaits a condition under a limit of its own.
pub(crate) async fn until_within<T>(limit: Duration, what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = condition().await {
            return found;
        }
        assert!(begin.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// How many rounds: what the environment says, else `usual`.
#[expect(clippy::disallowed_methods, reason = "the length of a test is asked of whoever starts it")]
pub(crate) fn rounds(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).map_or(usual, |text| text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

/// A client without proxies; TLS is not needed on loopback.
pub(crate) fn http() -> reqwest::Client {
    // The second installation in one process is refused, and that is fine.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    // As Orchestrator's sender: patient while nothing is taken from it.
    reqwest::Client::builder().no_proxy().tcp_user_timeout(None).build().expect("a client")
}

/// Orchestrator's signature, computed independently of the code under test.
pub(crate) fn sign(body: &[u8], secret: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length");
    mac.update(body);
    base64::engine::general_purpose::STANDARD.encode(mac.finalize().into_bytes())
}

/// A `queueItem.transactionFailed` body of the item `id`.
pub(crate) fn failed_item(id: u64) -> Value {
    json!({
        "Type": "queueItem.transactionFailed",
        "EventId": format!("ev-{id}"),
        "Timestamp": "2026-11-22T10:00:00.1234567Z",
        "Queue": {"Id": 7, "Name": "Invoices"},
        "QueueItem": {
            "Id": id, "Key": "9314c897-bcb1-4bcf-aa9d-1f5752793153", "QueueDefinitionId": 7, "Status": "Failed",
            "Reference": format!("INV-{id}"), "RetryNumber": 2,
            "ProcessingException": {"Reason": "boom", "Details": "d", "Type": "ApplicationException"},
            "StartProcessing": "2026-11-22T09:59:00Z", "EndProcessing": "2026-11-22T10:00:00Z",
            "SpecificContent": {"InvoiceId": format!("A-{id}"), "Amount": 2000},
        },
        "TenantId": 1,
        "OrganizationUnitId": 2,
    })
}

/// The same with a text of `length` bytes in it that looks random and is different for each item.
pub(crate) fn failed_item_of(id: u64, length: usize) -> Value {
    let mut item = failed_item(id);
    let mut state = id.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let letters = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'a' + (state % 26) as u8)
    });
    item["QueueItem"]["SpecificContent"]["Text"] = letters.take(length).collect::<String>().into();
    item
}
