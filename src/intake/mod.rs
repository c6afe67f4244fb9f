//! Webhook ingress: checks a delivery, has it kept, answers. Every answer is decided here; nothing is answered 2xx
//! before the journal has it, and a genuine delivery is never refused for its content.
//!
//! Order of a request: head (path, peer, method, encoding, size, a signature is there), body under its limits,
//! signature over the exact bytes, changes read out of it, journal, answer. Decides nothing about rules: it only passes on, while
//! the body is read anyway, that none of them can meet what is in it.

mod admission;
mod body;
mod guesses;
mod memory;
mod meters;
mod peer;
mod refusal;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::http::request::Parts;
use hyper::{Request, StatusCode};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::{Limits, WebhookSource};
use crate::event::{Change, Verified, Via};
use crate::hooks::Eye;
use crate::http::server::{Answer, Answers, Listener, Patience, Peer, RequestId, ServerLimits, json, serve};
use crate::journal::{Accepted, AppendError, Delivery, Journal};
use crate::normalize::services;
use crate::normalize::{SourceView, reading};
use crate::printable::printable;
use crate::rules::RulesInForce;
use crate::signature::{NamedSecret, Verdict};
use crate::time::Timestamp;

use guesses::Guesses;
use memory::Memory;
use meters::{Meter, Meters};
use refusal::Refusal;

/// How long a request may wait for memory and for the journal before it is told to come again. Orchestrator gives up
/// after 60 s, and a delivery it gives up on costs an hour of events.
pub const HOLD_MAX: Duration = Duration::from_secs(50);
/// How long open requests may go on when the daemon stops.
pub const DRAIN: Duration = Duration::from_secs(10);
/// Bodies longer than this are checked and read off the threads that serve connections.
const LARGE_BODY: usize = 256 << 10;

/// A source, ready to check deliveries.
#[derive(Clone, Debug)]
pub struct ReadySource {
    /// As configured.
    pub config: WebhookSource,
    /// Its secrets.
    pub secrets: Vec<NamedSecret>,
    /// What `normalize` needs.
    pub view: SourceView,
    /// Where it is noted that a webhook sees.
    pub eye: Arc<Eye>,
}

/// The sources by path; swapped whole by a reload.
pub type Routes = ArcSwap<BTreeMap<String, Arc<ReadySource>>>;

/// What intake works with. The journal arrives when it is open; requests are read, verified and held until then.
#[derive(Clone)]
pub struct Intake {
    /// The sources.
    pub routes: Arc<Routes>,
    /// Limits; a reload may change them.
    pub limits: watch::Receiver<Limits>,
    /// `None` while the journal is being opened.
    pub journal: watch::Receiver<Option<Journal>>,
    /// The rules: what none of them can meet, the router need not read.
    pub rules: Arc<ArcSwap<RulesInForce>>,
    /// The time.
    pub clock: Clock,
}

/// Serves the ingress until `stop`, then drains. The metrics recorder must be installed before.
pub async fn run(intake: Intake, listener: Listener, stop: CancellationToken) {
    let server = |limits: &Limits| ServerLimits {
        connections: limits.connections,
        header_timeout: limits.header_timeout,
        drain: DRAIN,
        answers: Answers::Short,
    };
    let mut limits = intake.limits.clone();
    let (changed, server_limits) = watch::channel(server(&limits.borrow_and_update()));
    let desk = Arc::new(Desk::new(intake, HOLD_MAX, stop.clone()));
    let followed = Arc::clone(&desk);
    let follow = async move {
        while limits.changed().await.is_ok() {
            let new = limits.borrow_and_update().clone();
            changed.send_replace(server(&new));
            followed.put_in_force(new);
        }
        // Nobody changes limits any more; those of the listener stay as they are.
        changed.closed().await;
    };
    let service = move |peer, request, patience| Arc::clone(&desk).handle(peer, request, patience);
    tokio::select! {
        () = serve(listener, server_limits, service, stop) => {}
        () = follow => {}
    }
}

/// Where deliveries are taken in: one for the listener, shared by its connections.
struct Desk {
    intake: Intake,
    in_force: ArcSwap<InForce>,
    guesses: Guesses,
    meters: Meters,
    hold: Duration,
    stop: CancellationToken,
}

/// Limits with the memory for bodies that they allow.
struct InForce {
    limits: Limits,
    memory: Memory,
}

impl InForce {
    fn of(limits: Limits) -> Self {
        Self { memory: Memory::of(limits.in_flight.max(limits.body)), limits }
    }
}

/// A delivery with everything checked.
struct Checked {
    verified: Verified,
    delivery_id: Option<Arc<str>>,
    changes: Vec<Change>,
    /// The rule generation that cannot meet any of them; 0 where one may.
    unmet: u64,
}

/// What a genuine body is.
enum Examined {
    /// Something to be kept.
    Delivery(Checked),
    /// A question that a service asks before it sends anything; the answer.
    Question(String),
}

impl Desk {
    fn new(intake: Intake, hold: Duration, stop: CancellationToken) -> Self {
        let meters = Meters::default();
        for source in intake.routes.load().values() {
            meters.of(&source.config.name);
        }
        let limits = intake.limits.borrow().clone();
        Self { intake, in_force: ArcSwap::from_pointee(InForce::of(limits)), guesses: Guesses::default(), meters, hold, stop }
    }

    /// Limits for deliveries from now on. Where the memory changes, new bodies count against a new one; old ones end soon.
    fn put_in_force(&self, limits: Limits) {
        let memory = self.in_force.load().memory.resized(limits.in_flight.max(limits.body));
        let new = InForce { limits, memory };
        self.in_force.store(Arc::new(new));
    }

    /// What is needed at once is taken out of the request here: every slow sender holds what the future holds.
    fn handle(self: Arc<Self>, peer: Peer, request: Request<Incoming>, patience: Patience) -> impl Future<Output = Answer> + Send {
        let give_up = Instant::now() + self.hold;
        let (head, body) = request.into_parts();
        let source = self.intake.routes.load().get(head.uri.path()).cloned();
        let address = peer::address(&peer, &head.headers, source.as_ref().map_or(0, |s| s.config.trusted_proxies));
        async move {
            let delivered = match &source {
                Some(source) => self.deliver(source, address, &head, body, (&patience, give_up)).await,
                None => Err(admission::without_source(&head)),
            };
            match delivered {
                Ok(answer) => answer,
                Err(refusal) => {
                    let id = RequestId::fresh();
                    let meter = source.as_ref().map_or_else(|| self.meters.of(meters::NO_SOURCE), |s| self.meters.of(&s.config.name));
                    report(&meter, &refusal, id, address, &head);
                    refusal.problem().answer(id)
                }
            }
        }
    }

    /// `give_up` is when waiting ends, by `patience`.
    async fn deliver(
        &self,
        source: &Arc<ReadySource>,
        address: Option<IpAddr>,
        head: &Parts,
        body: Incoming,
        (patience, give_up): (&Patience, Instant),
    ) -> Result<Answer, Refusal> {
        let declared = hyper::body::Body::size_hint(&body).exact();
        let InForce { limits, memory } = &*self.in_force.load_full();
        admission::check(head, declared, &source.config, address, limits.body)?;
        let (body, memory) = body::read(body, limits, memory, (patience, give_up)).await?;
        let (read, received) = (Instant::now(), self.intake.clock.now());
        let checked = match self.check(source, &head.headers, &body, received, address).await? {
            Examined::Delivery(checked) => checked,
            Examined::Question(answer) => {
                tracing::info!(source = %source.config.name, "a handshake was answered");
                return Ok(json(StatusCode::OK, answer));
            }
        };
        if checked.changes.is_empty() {
            // A batch with nothing in it: there is nothing to keep.
            return Ok(json(StatusCode::ACCEPTED, receipt(&Accepted::default())));
        }
        let meter = self.meters.of(&source.config.name);
        if let Verified::Secret(name) = &checked.verified {
            meter.verified(name);
        }
        let unmet = checked.unmet;
        let event_type = checked.changes.first().map(|change| Arc::clone(&change.event_type));
        let delivery = Delivery {
            source: Arc::clone(&source.config.name),
            via: Via::Webhook,
            orchestrator: source.config.orchestrator.clone(),
            verified: checked.verified,
            received,
            body,
            delivery_id: checked.delivery_id,
            changes: checked.changes,
        };
        let open = self.intake.journal.borrow().clone();
        let journal = match open {
            Some(journal) => journal,
            None => Box::pin(self.opened(give_up)).await?,
        };
        let kept = std::pin::pin!(journal.accept_unmet(delivery, unmet));
        let accepted = match patience.until(give_up, kept).await {
            Some(Ok(accepted)) => accepted,
            Some(Err(AppendError::Full(_))) => return Err(Refusal::Full),
            Some(Err(AppendError::Ended(_))) => return Err(Refusal::Ended),
            None => return Err(Refusal::Slow),
        };
        drop(memory);
        if let Some(event_type) = &event_type {
            source.eye.delivered.note(event_type, received);
        }
        tracing::debug!(source = %source.config.name, new = accepted.events.len(), folded = accepted.folded, "delivery kept");
        meter.accepted(event_type.as_deref().unwrap_or_default(), &accepted);
        self.meters.ack.record(read.elapsed().as_secs_f64());
        Ok(json(StatusCode::ACCEPTED, receipt(&accepted)))
    }

    /// Verifies the signature over the exact bytes, then reads the changes out of them.
    async fn check(
        &self,
        source: &Arc<ReadySource>,
        headers: &HeaderMap,
        body: &Bytes,
        received: Timestamp,
        address: Option<IpAddr>,
    ) -> Result<Examined, Refusal> {
        let wall = self.intake.clock.wall();
        let examined = if body.len() <= LARGE_BODY {
            examine(source, headers, body, (received, wall), &self.intake.rules.load())
        } else {
            let (source, headers, body, rules) = (Arc::clone(source), headers.clone(), body.clone(), self.intake.rules.load_full());
            match tokio::task::spawn_blocking(move || examine(&source, &headers, &body, (received, wall), &rules)).await {
                Ok(examined) => examined,
                Err(ended) if ended.is_panic() => std::panic::resume_unwind(ended.into_panic()),
                Err(_) => return Err(Refusal::Ended),
            }
        };
        examined.map_err(|refusal| match refusal {
            Refusal::SignatureBad(_) if self.guesses.too_many(address, Instant::now()) => Refusal::TooManyBad,
            other => other,
        })
    }

    /// The journal, once it is open.
    async fn opened(&self, give_up: Instant) -> Result<Journal, Refusal> {
        let mut arrives = self.intake.journal.clone();
        tokio::select! {
            opened = arrives.wait_for(Option::is_some) => match opened {
                Ok(journal) => journal.clone().ok_or(Refusal::Ended),
                Err(_) => Err(Refusal::Ended),
            },
            () = tokio::time::sleep_until(give_up) => Err(Refusal::Recovering),
            () = self.stop.cancelled() => Err(Refusal::Ended),
        }
    }
}

/// The decision about a whole delivery. Of the two times the first is ours, the second that of the wall clock, which stamps
/// of others are compared with.
fn examine(
    source: &ReadySource,
    headers: &HeaderMap,
    body: &Bytes,
    (received, wall): (Timestamp, Timestamp),
    rules: &RulesInForce,
) -> Result<Examined, Refusal> {
    let config = &source.config;
    let verified = if config.insecure_unsigned {
        Verified::No
    } else {
        match config.scheme.verify(headers, body, &source.secrets, wall) {
            Verdict::Genuine(index) => Verified::Secret(Arc::clone(&source.secrets[index].name)),
            Verdict::Mismatch => {
                return Err(Refusal::SignatureBad("no configured secret gives it; another secret, or the body changed on the way?"));
            }
            Verdict::Malformed(shape) => return Err(Refusal::SignatureBad(shape)),
            Verdict::Stale(how) => return Err(Refusal::Stale(how)),
        }
    };
    if let Some(service) = &config.service
        && let Some(text) = services::challenge(body, service.service)
    {
        return Ok(Examined::Question(serde_json::json!({ "challenge": text }).to_string()));
    }
    let read = match &config.service {
        None => reading(body, &source.view, received),
        Some(service) => services::read(body, service, headers, received),
    };
    let unmet = rules.unmet(read.changes.iter().map(|(change, data)| (&*change.event_type, data)));
    let changes = read.changes.into_iter().map(|(change, _)| change).collect();
    Ok(Examined::Delivery(Checked { verified, delivery_id: read.delivery_id, changes, unmet }))
}

/// `{"events":[…],"folded":n}`
fn receipt(accepted: &Accepted) -> String {
    use std::fmt::Write;
    // As long as it will be with one event and no copy, as nearly all have: the answer then takes it as it stands.
    let mut text = String::with_capacity(23 + 29 * accepted.events.len());
    text.push_str("{\"events\":[");
    for (index, id) in accepted.events.iter().enumerate() {
        let comma = if index > 0 { "," } else { "" };
        // Writing into a string does not fail.
        write!(text, "{comma}\"{id}\"").ok();
    }
    write!(text, "],\"folded\":{}}}", accepted.folded).ok();
    text
}

/// Counts a refusal and logs it, at most one line per source, reason and interval.
fn report(meter: &Meter, refusal: &Refusal, id: RequestId, address: Option<IpAddr>, head: &Parts) {
    if let Some(more) = meter.refused(refusal.reason()) {
        let peer = address.map_or_else(|| "unknown".to_owned(), |a| a.to_string());
        let path: String = head.uri.path().chars().take(PATH_SHOWN).collect();
        tracing::warn!(
            source = %meter.source(), reason = refusal.reason(), request_id = %id, %peer, method = %head.method, path = %printable(&path), more,
            "delivery refused: {}", refusal.log()
        );
    }
}

/// Characters of a path that the log shows.
const PATH_SHOWN: usize = 100;

#[cfg(test)]
mod tests;
