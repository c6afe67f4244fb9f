//! Webhook deliveries on their way: signing, parallel workers, the time limit, the breaker. Nothing is stored or repeated:
//! one failed delivery opens the webhook's breaker, and what happens while it is open is skipped.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::sandbox::limits::ANSWER_KEPT;
use crate::sandbox::records::DeliveryRecord;
use crate::sandbox::world::World;

/// What Orchestrator's deliveries call themselves.
const USER_AGENT: &str = "UiPath-WebhookService/Webhooks";
/// For connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A delivery that waits for a worker.
#[derive(Clone, Debug)]
pub(in crate::sandbox) struct Delivery {
    pub(in crate::sandbox) webhook: i64,
    pub(in crate::sandbox) event_id: String,
    pub(in crate::sandbox) kind: String,
    pub(in crate::sandbox) folder: Option<i64>,
    pub(in crate::sandbox) body: Bytes,
    /// How much later than possible it comes.
    pub(in crate::sandbox) late: Duration,
    /// Signed with a secret that is not the webhook's.
    pub(in crate::sandbox) forged: bool,
    /// Lost on the way.
    pub(in crate::sandbox) lost: bool,
}

/// A delivery that a worker takes.
struct Job {
    delivery: Delivery,
    url: String,
    secret: Option<String>,
    insecure: bool,
}

/// The value of `X-UiPath-Signature`: HMAC-SHA256 over the body's bytes, in base64.
pub(in crate::sandbox) fn signature(secret: &str, body: &[u8]) -> Option<String> {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok()?.chain_update(body);
    Some(base64::engine::general_purpose::STANDARD.encode(mac.finalize().into_bytes()))
}

/// Sends what is in the outbox, until `stop`.
pub(in crate::sandbox) async fn run(world: Arc<Mutex<World>>, wake: Arc<Notify>, stop: CancellationToken) {
    let (workers, timeout, clock) = {
        let world = lock(&world);
        (world.options.workers.max(1), world.options.delivery_timeout, world.options.clock.clone())
    };
    let clients = Clients { timeout, plain: OnceLock::new(), strict: OnceLock::new(), lax: OnceLock::new() };
    let mut busy = JoinSet::new();
    loop {
        while busy.len() < workers {
            let Some(job) = next(&world, &clock) else { break };
            let Some(client) = clients.fit(&job) else {
                tracing::error!("no HTTP client for a webhook delivery; it is not sent");
                continue;
            };
            let world = Arc::clone(&world);
            let clock = clock.clone();
            busy.spawn(async move { deliver(&client, job, &world, &clock).await });
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = wake.notified() => {}
            Some(_) = busy.join_next(), if !busy.is_empty() => {}
        }
    }
}

/// The lock; a panic of another request does not make the state unusable, no method leaves it halfway.
pub(in crate::sandbox) fn lock(world: &Mutex<World>) -> std::sync::MutexGuard<'_, World> {
    world.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Clients, each made when it is first needed: the certificates of the system take time to load.
struct Clients {
    timeout: Duration,
    plain: OnceLock<Option<reqwest::Client>>,
    strict: OnceLock<Option<reqwest::Client>>,
    lax: OnceLock<Option<reqwest::Client>>,
}

impl Clients {
    fn fit(&self, job: &Job) -> Option<reqwest::Client> {
        let make = |change: fn(reqwest::ClientBuilder) -> reqwest::ClientBuilder| {
            // An error says that another part of the process installed one already: as good.
            drop(rustls::crypto::ring::default_provider().install_default());
            let builder = reqwest::Client::builder()
                .user_agent(USER_AGENT)
                .timeout(self.timeout)
                .connect_timeout(CONNECT_TIMEOUT.min(self.timeout))
                .redirect(reqwest::redirect::Policy::none())
                .no_proxy();
            change(builder).build().ok()
        };
        let client = if job.url.starts_with("http://") {
            self.plain.get_or_init(|| make(|builder| builder.tls_certs_only([])))
        } else if job.insecure {
            self.lax.get_or_init(|| make(|builder| builder.tls_certs_only([]).tls_danger_accept_invalid_certs(true)))
        } else {
            self.strict.get_or_init(|| make(|builder| builder))
        };
        client.clone()
    }
}

/// The next delivery that is to be sent; those that are not are counted and passed over.
fn next(world: &Mutex<World>, clock: &Clock) -> Option<Job> {
    let mut world = lock(world);
    while let Some(delivery) = world.outbox.pop_front() {
        let now = clock.now();
        let Some(webhook) = world.webhooks.get_mut(&delivery.webhook) else { continue };
        let passed = if webhook.open_until.is_some_and(|until| until > now) {
            webhook.counts.skipped += 1;
            "skipped: the breaker is open"
        } else if delivery.lost {
            webhook.counts.lost += 1;
            "lost on the way"
        } else {
            let (url, secret, insecure) = (webhook.url.clone(), webhook.secret.clone(), webhook.insecure);
            return Some(Job { delivery, url, secret, insecure });
        };
        world.records.delivery(DeliveryRecord::unsent(&delivery, passed, now));
    }
    None
}

async fn deliver(client: &reqwest::Client, job: Job, world: &Mutex<World>, clock: &Clock) {
    let Job { delivery, url, secret, .. } = job;
    if !delivery.late.is_zero() {
        tokio::time::sleep(delivery.late).await;
    }
    let started = clock.now();
    let mut request = client.post(url).header("content-type", "application/json; charset=utf-8");
    if let Some(secret) = secret {
        let key = if delivery.forged { "another secret" } else { secret.as_str() };
        if let Some(value) = signature(key, &delivery.body) {
            request = request.header("x-uipath-signature", value);
        }
    }
    let outcome = async {
        let mut answer = request.body(delivery.body.clone()).send().await?;
        let status = answer.status().as_u16();
        let mut text = Vec::new();
        // Read to the end, so that the connection can be used again; only the beginning is kept.
        while let Some(part) = answer.chunk().await? {
            let room = ANSWER_KEPT.saturating_sub(text.len());
            text.extend_from_slice(&part[..part.len().min(room)]);
        }
        Ok::<_, reqwest::Error>((status, text))
    }
    .await;
    let now = clock.now();
    let mut world = lock(world);
    let breaker = world.options.breaker;
    let (ok, record) = match outcome {
        Ok((status, text)) => (
            (200..300).contains(&status),
            DeliveryRecord::answered(&delivery, status, String::from_utf8_lossy(&text).into_owned(), started, now),
        ),
        Err(why) => (false, DeliveryRecord::failed(&delivery, reason(&why), started, now)),
    };
    world.records.delivery(record);
    if let Some(webhook) = world.webhooks.get_mut(&delivery.webhook) {
        if ok {
            webhook.counts.delivered += 1;
        } else {
            webhook.counts.failed += 1;
            webhook.counts.opened += u64::from(webhook.open_until.is_none_or(|until| until <= now));
            webhook.open_until = Some(now.plus(breaker));
        }
    }
}

/// Why a delivery was not answered, without its address (which may hold a secret).
fn reason(why: &reqwest::Error) -> &'static str {
    if why.is_timeout() {
        "timed out"
    } else if why.is_connect() {
        "cannot connect"
    } else {
        "connection broke"
    }
}
