//! The edge that sends the requests of connectors: authorises them, sends them, reads the answers.
//!
//! Promises: credentials go only to hosts that stand in the files, and never where a redirect or an answer points; every call
//! ends within its time and every answer is bounded; connectors on one host share its rate budget; no secret shows in any
//! message. What an answer means is decided in `connectors`, what a failure means for a run in `runs`.

mod authorize;
mod budgets;
mod keeper;
mod tokens;
mod walk;
mod wire;

#[cfg(test)]
mod tests;

pub use walk::{Asked, Bound, Bounds, Ended, OF_A_FILE, OF_A_STEP, Outcome, Walk, conclude};

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::connectors::{Access, Auth, CallRequest, CallResponse, Connector};
use crate::http::client::{CallTrace, Client, Outgoing, plain_host, request_line, retry_after};
use crate::http::exchange::Exchange;
use crate::http::mask::mask;
use crate::http::tokens::{Token, Tokens};
use crate::journal::Journal;
use crate::runs::{Class, Failure, Who};
use crate::secret::Secret;
use authorize::{With, authorize};
use budgets::Budgets;
use tokens::TokensByConnector;
use wire::Wire;

/// Sends what connectors ask for. Cheap to clone; tokens and budgets are shared, and outlive a reload.
#[derive(Clone, Debug)]
pub struct Calls {
    http: Client,
    clock: Clock,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    tokens: TokensByConnector,
    budgets: Budgets,
    /// Tokens of the built-in connectors, by their names.
    orchestrators: ArcSwap<BTreeMap<Arc<str>, Arc<Tokens>>>,
    journal: OnceLock<Journal>,
}

/// How long polling waits for its turn where a budget is used up.
pub const TURN_MAX: Duration = Duration::from_secs(60);

/// One request of a connector, and what it may take.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Whose it is.
    pub connector: &'a Connector,
    /// The values that the connector is used with.
    pub access: &'a Access,
    /// What is sent.
    pub request: &'a CallRequest,
    /// Further headers, for this attempt only.
    pub headers: &'a [(String, String)],
    /// For the whole of it, tokens included. For polling it is for each request; its turn may come up to [`TURN_MAX`] later.
    pub timeout: Duration,
    /// Who asks: steps go before polling.
    pub who: Who,
}

/// What a call gave, with its trace.
#[derive(Clone, Debug)]
pub struct Said {
    /// What was sent and what came back, for the record. Of the token endpoint where that failed.
    pub trace: CallTrace,
    /// The answer, whatever its status, or why there is none.
    pub result: Result<CallResponse, Failure>,
}

impl Calls {
    /// With tokens and budgets of its own.
    #[must_use]
    pub fn new(http: Client, clock: Clock) -> Self {
        Self { http, clock, shared: Arc::default() }
    }

    /// The same with another client: for a reload that changes what may go out.
    #[must_use]
    pub fn with_client(&self, http: Client) -> Self {
        Self { http, clock: self.clock.clone(), shared: Arc::clone(&self.shared) }
    }

    /// The tokens of the connectors that belong to orchestrators, in place of those before.
    pub fn share_tokens(&self, tokens: BTreeMap<Arc<str>, Arc<Tokens>>) {
        self.shared.orchestrators.store(Arc::new(tokens));
    }

    /// Where refresh tokens that change are kept. Without it those are refused.
    pub fn keep_in(&self, journal: Journal) {
        // The first one stays: there is one journal in a process.
        self.shared.journal.get_or_init(|| journal);
    }

    /// Sends a request and reads the answer. A 401 renews the token once.
    pub async fn send(&self, call: Call<'_>) -> Said {
        let turn = if call.who == Who::Polling { TURN_MAX } else { Duration::ZERO };
        let deadline = Instant::now() + call.timeout + turn;
        let line = request_line(call.request.method, &call.request.url);
        let mut trace = CallTrace { request: call.access.mask(&line), ..CallTrace::default() };
        match self.attempt(call, &mut trace, deadline).await {
            Ok(response) => Said { trace, result: Ok(response) },
            Err(failure) => {
                let message = call.access.mask(&failure.message);
                Said { trace, result: Err(Failure { message, ..failure }) }
            }
        }
    }

    async fn attempt(&self, call: Call<'_>, trace: &mut CallTrace, deadline: Instant) -> Result<CallResponse, Failure> {
        let Call { connector, access, request, .. } = call;
        may_carry_credentials(connector, request)?;
        let tokens = match &connector.auth {
            Auth::OAuth2(oauth2) => {
                let tokens = self.shared.tokens.of(connector, oauth2, access, self.shared.journal.get());
                Some(tokens.map_err(|why| configuration(format!("no token for connector `{}`: {why}", connector.name)))?)
            }
            Auth::Orchestrator => {
                let tokens = self.shared.orchestrators.load().get(&connector.name).cloned();
                Some(tokens.ok_or_else(|| configuration(format!("connector `{}` belongs to no orchestrator", connector.name)))?)
            }
            Auth::None | Auth::Bearer { .. } | Auth::Basic { .. } | Auth::ApiKey { .. } | Auth::Hmac(_) => None,
        };
        let budget = self.shared.budgets.of(request, connector);
        let mut refused = None;
        loop {
            let token = self.token(tokens.as_deref(), refused, trace, deadline).await?;
            budget.acquire(call.who, &self.clock, deadline).await.map_err(|wait| used_up(connector, wait))?;
            let mut wire = Wire::of(request);
            call.headers.iter().for_each(|(name, value)| wire.set_header(name, value.clone()));
            let with = With { bearer: token.as_ref().map(|token| &token.bearer), now: self.clock.now() };
            authorize(&mut wire, connector, access, with)
                .map_err(|why| configuration(format!("connector `{}` cannot authorise the request: {why}", connector.name)))?;
            let outgoing = Outgoing {
                method: wire.method.to_owned(),
                url: wire.full_url(),
                written_out: request.written_out,
                headers: wire.headers,
                body: wire.body,
                timeout: deadline.saturating_duration_since(Instant::now()).min(call.timeout),
            };
            let secrets = secrets(tokens.as_deref(), token.as_ref());
            let shown: Vec<&str> = secrets.iter().map(Secret::expose).collect();
            let exchange = Exchange::of(&outgoing).hiding(secrets.iter().chain(access.hidden()).cloned());
            let answer = match self.http.send(outgoing).await {
                Ok(answer) => answer,
                Err(failure) => {
                    trace.status = failure.status;
                    trace.exchange = Some(Arc::new(exchange));
                    return Err(Failure { message: mask(&failure.message, &shown), ..failure });
                }
            };
            budget.learn(&answer, retry_after(&answer.headers, self.clock.now()), &self.clock);
            let renewable = tokens.as_ref().is_some_and(|tokens| tokens.can_renew());
            if answer.status == 401 && refused.is_none() && renewable {
                refused = token.map(|token| token.serial);
                continue;
            }
            trace.status = Some(answer.status);
            trace.bytes = answer.body.len() as u64;
            trace.exchange = Some(Arc::new(exchange.answered(&answer)));
            return Ok(CallResponse::of(answer.status, answer.headers, &answer.body));
        }
    }

    /// The token to send, where there is one; a failure names the token endpoint in the trace.
    async fn token(
        &self,
        tokens: Option<&Tokens>,
        refused: Option<u64>,
        trace: &mut CallTrace,
        deadline: Instant,
    ) -> Result<Option<Token>, Failure> {
        let Some(tokens) = tokens else { return Ok(None) };
        match tokens.get(&self.http, &self.clock, refused, deadline).await {
            Ok(token) => Ok(Some(token)),
            Err((asked, failure)) => {
                *trace = asked;
                Err(failure)
            }
        }
    }
}

/// Credentials go only to hosts that stand in the files, and unencrypted only where the connector says so or nobody listens.
fn may_carry_credentials(connector: &Connector, request: &CallRequest) -> Result<(), Failure> {
    if matches!(connector.auth, Auth::None) {
        return Ok(());
    }
    if !request.written_out {
        let message = format!(
            "the host of `{}` comes from data, so the credentials of connector `{}` are not sent there; write the host out in `base_url` or \
             `config`",
            request_line(request.method, &request.url),
            connector.name
        );
        return Err(Failure { class: Class::Refused, status: None, message, retry_after: None });
    }
    if request.url.starts_with("https://") || connector.allow_plaintext || is_loopback(&request.url) {
        return Ok(());
    }
    Err(configuration(format!(
        "`{}` is not encrypted, so the credentials of connector `{}` are not sent; use https, or say `allow_plaintext: true`",
        request_line(request.method, &request.url),
        connector.name
    )))
}

fn is_loopback(url: &str) -> bool {
    let host = url::Url::parse(url).ok().and_then(|url| url.host_str().map(plain_host)).unwrap_or_default();
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// What must not show besides the values of the connector: what was got from a token endpoint.
fn secrets(tokens: Option<&Tokens>, token: Option<&Token>) -> Vec<Secret> {
    let bare = token.map(|token| Secret::new(token.bare().to_owned()));
    tokens.map(Tokens::secrets).unwrap_or_default().into_iter().chain(bare).collect()
}

fn configuration(message: String) -> Failure {
    Failure { class: Class::Configuration, status: None, message, retry_after: None }
}

fn used_up(connector: &Connector, wait: Duration) -> Failure {
    let message =
        format!("the requests that the host of connector `{}` takes in a time are used up; the next may leave in {wait:?}", connector.name);
    Failure { class: Class::Throttled, status: None, message, retry_after: Some(wait) }
}
