//! The token in force, shared by all callers: one renewal at a time, whoever asked first.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use super::CallTrace;
use super::grant::{Flow, Granted, of_transport};
use crate::clock::Clock;
use crate::http::client::{Client, Outgoing, request_line, shown};
use crate::runs::{Class, Failure};
use crate::secret::Secret;
use crate::time::Timestamp;

/// The longest wait for a token endpoint.
pub const TOKEN_TIMEOUT: Duration = Duration::from_secs(30);

/// A token as callers see it.
#[derive(Clone, Debug)]
pub struct Token {
    /// The value of `Authorization`.
    pub bearer: Secret,
    /// Which one: a caller that was refused names the one it used, so that a newer one is not thrown away.
    pub serial: u64,
}

/// Why there is no token, with what was asked.
pub type NoToken = (CallTrace, Failure);

/// After a failed early renewal the next try waits so long; the present token serves meanwhile.
const RENEW_AGAIN: Duration = Duration::from_secs(10);

/// The token in force and how to get the next.
///
/// A token is renewed a while before its end. Whoever comes then takes the lock and asks; the others go on with the present
/// token, and so do all when the endpoint fails, as long as it is good. Without a good token callers wait for the lock
/// and find what the one before them got: the token, or the failure of the attempt that they waited for. The price: a slow
/// endpoint holds everybody up then, each up to the caller's own time.
#[derive(Debug)]
pub struct Tokens {
    flow: Flow,
    credential: Secret,
    current: ArcSwapOption<Current>,
    renewal: Mutex<Option<(u64, NoToken)>>,
    /// How many renewals have ended, so that a caller knows which failure is news to it.
    ended: AtomicU64,
}

/// A token with its times.
#[derive(Clone, Debug)]
struct Current {
    token: Token,
    renew_at: Timestamp,
    good_until: Timestamp,
}

impl Tokens {
    /// Nothing is asked for yet.
    pub fn new(flow: Flow, credential: Secret) -> Self {
        Self { flow, credential, current: ArcSwapOption::empty(), renewal: Mutex::new(None), ended: AtomicU64::new(0) }
    }

    /// Whether there can be another token than the present one.
    pub fn can_renew(&self) -> bool {
        self.flow.url().is_some()
    }

    /// What must not show in any message.
    pub fn credential(&self) -> &str {
        self.credential.expose()
    }

    /// A token that is still good, other than the `refused` one.
    ///
    /// # Errors
    /// There is none, or not in time.
    pub async fn get(&self, http: &Client, clock: &Clock, refused: Option<u64>, deadline: Instant) -> Result<Token, NoToken> {
        let Some(url) = self.flow.url() else {
            return Ok(Token { bearer: bearer(self.credential.expose()), serial: 0 });
        };
        let seen = self.ended.load(Ordering::SeqCst);
        let present = || self.current.load_full().filter(|current| refused != Some(current.token.serial));
        let good = |now| present().filter(|current| now < current.good_until);
        if let Some(current) = present().filter(|current| clock.now() < current.renew_at) {
            return Ok(current.token.clone());
        }
        let mut failed = match (self.renewal.try_lock(), good(clock.now())) {
            (Ok(lock), _) => lock,
            // Somebody is at it.
            (Err(_), Some(current)) => return Ok(current.token.clone()),
            (Err(_), None) => match timeout_at(deadline, self.renewal.lock()).await {
                Ok(lock) => lock,
                Err(_) => return Err(late(url)),
            },
        };
        if let Some(current) = present().filter(|current| clock.now() < current.renew_at) {
            return Ok(current.token.clone());
        }
        if let Some((attempt, failure)) = failed.as_ref()
            && *attempt > seen
        {
            return Err(failure.clone());
        }
        let renewed = self.renew(url, http, clock, deadline).await;
        let serial = self.ended.fetch_add(1, Ordering::SeqCst) + 1;
        let now = clock.now();
        match renewed {
            Ok(granted) => {
                let token = Token { bearer: bearer(granted.token.expose()), serial };
                tracing::debug!(lasts = ?granted.lasts, "token renewed");
                let current = Current { token: token.clone(), renew_at: now.plus(granted.lasts), good_until: now.plus(granted.good) };
                self.current.store(Some(Arc::new(current)));
                *failed = None;
                Ok(token)
            }
            Err((trace, failure)) => {
                tracing::warn!(error = %failure, "no new token");
                if let Some(current) = good(now) {
                    let renew_at = now.plus(RENEW_AGAIN).min(current.good_until);
                    self.current.store(Some(Arc::new(Current { renew_at, ..Current::clone(&current) })));
                    return Ok(current.token.clone());
                }
                let failure = (trace, failure);
                *failed = Some((serial, failure.clone()));
                Err(failure)
            }
        }
    }

    /// Asks the endpoint.
    async fn renew(&self, url: &str, http: &Client, clock: &Clock, deadline: Instant) -> Result<Granted, NoToken> {
        let (kind, body) = self.flow.body(&self.credential);
        let mut trace = CallTrace { request: request_line("POST", url), ..CallTrace::default() };
        let sent = http
            .send(Outgoing {
                method: "POST".to_owned(),
                url: url.to_owned(),
                written_out: true,
                headers: vec![("content-type".to_owned(), kind.to_owned()), ("accept".to_owned(), "application/json".to_owned())],
                body: Some(Bytes::from(body)),
                timeout: deadline.saturating_duration_since(Instant::now()).min(TOKEN_TIMEOUT),
            })
            .await;
        let granted = match sent {
            Ok(answer) => {
                trace.status = Some(answer.status);
                trace.bytes = answer.body.len() as u64;
                self.flow.read(answer, &self.credential, clock.now())
            }
            Err(failure) => {
                trace.status = failure.status;
                Err(of_transport(failure, url))
            }
        };
        granted.map_err(|failure| (trace, failure))
    }
}

/// Another request's renewal took all the time.
fn late(url: &str) -> NoToken {
    let message = format!("no token in time: another request waits for `{}`", shown(url));
    let trace = CallTrace { request: request_line("POST", url), ..CallTrace::default() };
    (trace, Failure { class: Class::Connect, status: None, message, retry_after: None })
}

fn bearer(token: &str) -> Secret {
    Secret::new(format!("Bearer {}", token.trim()))
}
