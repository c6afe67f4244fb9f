//! The token in force, shared by all callers: one renewal at a time, whoever asked first.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, timeout_at};

use super::CallTrace;
use super::grant::{Flow, of_transport};
use crate::clock::Clock;
use crate::http::client::{Client, Outgoing, request_line};
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

/// The token in force and how to get the next.
///
/// A caller that needs a new one takes the lock and asks; the others wait for the lock and find what it got: the token,
/// or the failure of the attempt that they waited for. The price: a slow endpoint holds everybody up, each up
/// to the caller's own time.
#[derive(Debug)]
pub struct Tokens {
    flow: Flow,
    credential: Secret,
    state: Mutex<State>,
    /// How many renewals have ended, so that a caller knows which failure is news to it.
    ended: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    token: Option<(Token, Timestamp)>,
    failed: Option<(u64, NoToken)>,
}

impl Tokens {
    /// Nothing is asked for yet.
    pub fn new(flow: Flow, credential: Secret) -> Self {
        Self { flow, credential, state: Mutex::default(), ended: AtomicU64::new(0) }
    }

    /// Whether there can be another token than the present one.
    pub fn can_renew(&self) -> bool {
        self.flow.url().is_some()
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
        let Ok(mut state) = timeout_at(deadline, self.state.lock()).await else {
            let message = format!("no token in time: another request waits for `{}`", crate::http::client::shown(url));
            let trace = CallTrace { request: request_line("POST", url), ..CallTrace::default() };
            return Err((trace, Failure { class: Class::Connect, status: None, message, retry_after: None }));
        };
        if let Some((token, until)) = &state.token
            && clock.now() < *until
            && refused != Some(token.serial)
        {
            return Ok(token.clone());
        }
        if let Some((attempt, failure)) = &state.failed
            && *attempt > seen
        {
            return Err(failure.clone());
        }
        self.renew(&mut state, url, http, clock, deadline).await
    }

    async fn renew(
        &self,
        state: &mut MutexGuard<'_, State>,
        url: &str,
        http: &Client,
        clock: &Clock,
        deadline: Instant,
    ) -> Result<Token, NoToken> {
        let (kind, body) = self.flow.body(&self.credential);
        let timeout = deadline.saturating_duration_since(Instant::now()).min(TOKEN_TIMEOUT);
        let mut trace = CallTrace { request: request_line("POST", url), ..CallTrace::default() };
        let sent = http
            .send(Outgoing {
                method: "POST".to_owned(),
                url: url.to_owned(),
                written_out: true,
                headers: vec![("content-type".to_owned(), kind.to_owned()), ("accept".to_owned(), "application/json".to_owned())],
                body: Some(Bytes::from(body)),
                timeout,
            })
            .await;
        let now = clock.now();
        let granted = match sent {
            Ok(answer) => {
                trace.status = Some(answer.status);
                trace.bytes = answer.body.len() as u64;
                self.flow.read(&answer, &self.credential, now)
            }
            Err(failure) => {
                trace.status = failure.status;
                Err(of_transport(failure, url))
            }
        };
        let serial = self.ended.fetch_add(1, Ordering::SeqCst) + 1;
        match granted {
            Ok(granted) => {
                let token = Token { bearer: bearer(granted.token.expose()), serial };
                tracing::debug!(lasts = ?granted.lasts, "token renewed");
                state.token = Some((token.clone(), now.plus(granted.lasts)));
                state.failed = None;
                Ok(token)
            }
            Err(failure) => {
                tracing::warn!(error = %failure, "no token");
                let failure = (trace, failure);
                state.failed = Some((serial, failure.clone()));
                Err(failure)
            }
        }
    }

    /// What must not show in any message.
    pub fn credential(&self) -> &str {
        self.credential.expose()
    }
}

fn bearer(token: &str) -> Secret {
    Secret::new(format!("Bearer {}", token.trim()))
}
