//! The token in force, shared by all callers: one renewal at a time, whoever asked first.
//!
//! Knows no service: how a token is asked for and what the answer means is a [`Grant`], where a credential that changes with
//! each use is kept is a [`Keeper`].

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use super::client::{Answer, CallTrace, Client, Outgoing, request_line, shown};
use crate::clock::Clock;
use crate::runs::{Class, Failure};
use crate::secret::Secret;
use crate::time::Timestamp;

/// The longest wait for a token endpoint.
pub const TOKEN_TIMEOUT: Duration = Duration::from_secs(30);

/// How long before its end a token is no longer used.
pub const EARLY: Duration = Duration::from_secs(60);
/// A token is used at least so long, whatever its answer says: asking anew for each request helps nobody.
pub const SHORTEST: Duration = Duration::from_secs(10);
/// And at most so long.
pub const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// What is assumed where an answer says nothing.
pub const ASSUMED: Duration = Duration::from_secs(3600);

/// After a failed early renewal the next try waits so long; the present token serves meanwhile.
const RENEW_AGAIN: Duration = Duration::from_secs(10);

/// A way to get a token: pure, so that it can be told by a table what it asks and what it makes of an answer.
pub trait Grant: Debug + Send + Sync {
    /// Where to ask; `None` when the credential itself is the token and there is nothing to renew.
    fn url(&self) -> Option<&str>;
    /// Whether the URL stands in a file, so that the credential may go there.
    fn written_out(&self) -> bool {
        true
    }
    /// Headers and body of the request, a POST.
    fn request(&self, credential: &Secret) -> (Vec<(String, String)>, String);
    /// Reads the endpoint's answer.
    ///
    /// # Errors
    /// Why there is no token. Since the request proper has not left yet, nothing here makes an outcome unknown.
    fn read(&self, answer: Answer, credential: &Secret, now: Timestamp) -> Result<Granted, Failure>;
    /// Secrets besides the credential that must not show in a message.
    fn secrets(&self) -> Vec<&Secret> {
        Vec::new()
    }
}

/// Where a credential that the service changes with each use is kept: a restart must know the newest.
pub trait Keeper: Debug + Send + Sync {
    /// The one kept last for the credential of the configuration, if there is one.
    ///
    /// # Errors
    /// It cannot be read; in words.
    fn load(&self) -> Result<Option<Secret>, String>;
    /// Keeps one; it is on disk when this ends well.
    fn keep<'a>(&'a self, credential: &'a Secret) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>>;
}

/// A token, and how long it may be used.
#[derive(Clone, Debug)]
pub struct Granted {
    /// The bearer token.
    pub token: Secret,
    /// How long it is used before the next one is asked for.
    pub lasts: Duration,
    /// How long it is good, as far as its answer says; at least as long as it is used.
    pub good: Duration,
    /// The credential to ask with from now on, where the service changes it.
    pub next: Option<Secret>,
}

/// A token as callers see it.
#[derive(Clone, Debug)]
pub struct Token {
    /// The value of `Authorization`.
    pub bearer: Secret,
    /// Which one: a caller that was refused names the one it used, so that a newer one is not thrown away.
    pub serial: u64,
}

impl Token {
    /// The token without `Bearer `: what must not show.
    #[must_use]
    pub fn bare(&self) -> &str {
        let bearer = self.bearer.expose();
        bearer.strip_prefix("Bearer ").unwrap_or(bearer)
    }
}

/// Why there is no token, with what was asked.
pub type NoToken = (CallTrace, Failure);

/// The token in force and how to get the next.
///
/// A token is renewed a while before its end. Whoever comes then takes the lock and asks; the others go on with the present
/// token, and so do all when the endpoint fails, as long as it is good. Without a good token callers wait for the lock
/// and find what the one before them got: the token, or the failure of the attempt that they waited for. The price: a slow
/// endpoint holds everybody up then, each up to the caller's own time.
///
/// A credential that the service changed is kept before the token that came with it is used: what cannot be kept is held
/// until it can, and nobody asks with it before.
#[derive(Debug)]
pub struct Tokens {
    grant: Box<dyn Grant>,
    credential: ArcSwap<Secret>,
    keeper: Option<Arc<dyn Keeper>>,
    current: ArcSwapOption<Current>,
    renewal: Mutex<Renewal>,
    /// How many renewals have ended, so that a caller knows which failure is news to it.
    ended: AtomicU64,
}

/// What the lock of renewals holds.
#[derive(Debug, Default)]
struct Renewal {
    /// The last failure, with its number.
    failed: Option<(u64, NoToken)>,
    /// Granted, with a credential that could not be kept yet.
    unkept: Option<Granted>,
    /// Whether the keeper was asked for what it has.
    loaded: bool,
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
    #[must_use]
    pub fn new(grant: Box<dyn Grant>, credential: Secret) -> Self {
        Self {
            grant,
            credential: ArcSwap::from_pointee(credential),
            keeper: None,
            current: ArcSwapOption::empty(),
            renewal: Mutex::new(Renewal::default()),
            ended: AtomicU64::new(0),
        }
    }

    /// With a place for credentials that change.
    #[must_use]
    pub fn kept_by(self, keeper: Arc<dyn Keeper>) -> Self {
        Self { keeper: Some(keeper), ..self }
    }

    /// Whether there can be another token than the present one.
    #[must_use]
    pub fn can_renew(&self) -> bool {
        self.grant.url().is_some()
    }

    /// What must not show in any message: the credential and what is sent beside it.
    #[must_use]
    pub fn secrets(&self) -> Vec<Secret> {
        let credential = Secret::clone(&self.credential.load());
        std::iter::once(credential).chain(self.grant.secrets().into_iter().cloned()).collect()
    }

    /// A token that is still good, other than the `refused` one.
    ///
    /// # Errors
    /// There is none, or not in time.
    pub async fn get(&self, http: &Client, clock: &Clock, refused: Option<u64>, deadline: Instant) -> Result<Token, NoToken> {
        let Some(url) = self.grant.url() else {
            return Ok(Token { bearer: bearer(self.credential.load().expose()), serial: 0 });
        };
        let seen = self.ended.load(Ordering::SeqCst);
        let present = || self.current.load_full().filter(|current| refused != Some(current.token.serial));
        let good = |now| present().filter(|current| now < current.good_until);
        if let Some(current) = present().filter(|current| clock.now() < current.renew_at) {
            return Ok(current.token.clone());
        }
        let mut renewal = match (self.renewal.try_lock(), good(clock.now())) {
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
        if let Some((attempt, failure)) = renewal.failed.as_ref()
            && *attempt > seen
        {
            return Err(failure.clone());
        }
        let renewed = self.renew(&mut renewal, url, http, clock, deadline).await;
        let serial = self.ended.fetch_add(1, Ordering::SeqCst) + 1;
        let now = clock.now();
        match renewed {
            Ok(granted) => {
                let token = Token { bearer: bearer(granted.token.expose()), serial };
                tracing::debug!(lasts = ?granted.lasts, "token renewed");
                let current = Current { token: token.clone(), renew_at: now.plus(granted.lasts), good_until: now.plus(granted.good) };
                self.current.store(Some(Arc::new(current)));
                renewal.failed = None;
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
                renewal.failed = Some((serial, failure.clone()));
                Err(failure)
            }
        }
    }

    /// Asks the endpoint, and keeps the credential that it gives for the next time. A caller that gives up in between leaves
    /// what was granted in `renewal`, so that it is not lost.
    async fn renew(&self, renewal: &mut Renewal, url: &str, http: &Client, clock: &Clock, deadline: Instant) -> Result<Granted, NoToken> {
        let trace = CallTrace { request: request_line("POST", url), ..CallTrace::default() };
        if let (Some(keeper), false) = (&self.keeper, renewal.loaded) {
            match keeper.load() {
                Ok(Some(kept)) => self.credential.store(Arc::new(kept)),
                Ok(None) => {}
                Err(why) => return Err((trace, not_kept(url, "read", &why))),
            }
            renewal.loaded = true;
        }
        if renewal.unkept.is_none() {
            let granted = self.ask(url, http, clock, deadline).await?;
            if granted.next.is_none() {
                return Ok(granted);
            }
            renewal.unkept = Some(granted);
        }
        let Some(granted) = &renewal.unkept else { return Err(late(url)) };
        if let (Some(keeper), Some(next)) = (&self.keeper, &granted.next) {
            keeper.keep(next).await.map_err(|why| (trace, not_kept(url, "kept", &why)))?;
        }
        if let Some(next) = &granted.next {
            self.credential.store(Arc::new(next.clone()));
        }
        renewal.unkept.take().ok_or_else(|| late(url))
    }

    /// One request.
    async fn ask(&self, url: &str, http: &Client, clock: &Clock, deadline: Instant) -> Result<Granted, NoToken> {
        let left = deadline.saturating_duration_since(Instant::now());
        let credential = self.credential.load_full();
        let (headers, body) = self.grant.request(&credential);
        let mut trace = CallTrace { request: request_line("POST", url), ..CallTrace::default() };
        let sent = http
            .send(Outgoing {
                method: "POST".to_owned(),
                url: url.to_owned(),
                written_out: self.grant.written_out(),
                headers,
                body: Some(Bytes::from(body)),
                // An answer that comes too late would be a used-up credential whose successor nobody knows.
                timeout: if self.keeper.is_some() { TOKEN_TIMEOUT } else { left.min(TOKEN_TIMEOUT) },
            })
            .await;
        let granted = match sent {
            Ok(answer) => {
                trace.status = Some(answer.status);
                trace.bytes = answer.body.len() as u64;
                self.grant.read(answer, &credential, clock.now())
            }
            Err(failure) => {
                trace.status = failure.status;
                Err(of_transport(failure, url))
            }
        };
        granted.map_err(|failure| (trace, failure))
    }
}

/// How long a token is used (its lifetime less [`EARLY`], between [`SHORTEST`] and [`LONGEST`]), and how long it is good.
#[must_use]
pub fn lifetime(expires_in: Option<f64>) -> (Duration, Duration) {
    let said = match expires_in {
        Some(seconds) if seconds.is_finite() => Duration::from_secs_f64(seconds.clamp(0.0, (LONGEST + EARLY).as_secs_f64())),
        _ => ASSUMED,
    };
    let lasts = said.saturating_sub(EARLY).clamp(SHORTEST, LONGEST);
    (lasts, said.max(lasts))
}

/// A failure to reach the token endpoint, for the request that needed the token: that one has not left.
#[must_use]
pub fn of_transport(mut failure: Failure, url: &str) -> Failure {
    failure.class = match failure.class {
        Class::Unknown | Class::Invalid | Class::Server => Class::Connect,
        Class::Refused => Class::Configuration,
        class => class,
    };
    failure.message = format!("no token from `{}`: {}", shown(url), failure.message);
    failure
}

/// The credential for the next time cannot be read or kept: ours to mend, so it is tried again.
fn not_kept(url: &str, done: &str, why: &str) -> Failure {
    let message = format!("no token from `{}`: the refresh token cannot be {done}: {why}", shown(url));
    Failure { class: Class::Connect, status: None, message, retry_after: None }
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex as Guarded;

    use serde_json::json;

    use super::*;
    use crate::config::Egress;
    use crate::http::client::tests::peer::{Peer, Say, answer, json as says};
    use crate::http::oauth::{ClientAuth, Handed, OAuth};

    /// Keeps in memory, and fails while it is told to.
    #[derive(Debug, Default)]
    struct Memory {
        kept: Guarded<Vec<String>>,
        full: Guarded<bool>,
    }

    impl Keeper for Memory {
        fn load(&self) -> Result<Option<Secret>, String> {
            Ok(self.kept.lock().unwrap().last().cloned().map(Secret::new))
        }

        fn keep<'a>(&'a self, credential: &'a Secret) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>> {
            Box::pin(async {
                if *self.full.lock().unwrap() {
                    return Err("no space".to_owned());
                }
                self.kept.lock().unwrap().push(credential.expose().to_owned());
                Ok(())
            })
        }
    }

    fn refresh(peer: &Peer, memory: &Arc<Memory>) -> Tokens {
        let grant = OAuth {
            url: format!("{}/token", peer.url),
            written_out: true,
            client_id: "app".into(),
            handed: Handed::RefreshToken { client_secret: None },
            scope: String::new(),
            client_auth: ClientAuth::Body,
            extra: Vec::new(),
        };
        Tokens::new(Box::new(grant), Secret::new("r0".into())).kept_by(Arc::clone(memory) as Arc<dyn Keeper>)
    }

    /// Gives `t1` for `r0`, `t2` for `r1` and so on; each refresh token works once.
    async fn rotating() -> Peer {
        Peer::start(|heard, before| {
            let body = String::from_utf8_lossy(&heard.body).into_owned();
            if !body.contains(&format!("refresh_token=r{before}&")) {
                return says(400, &json!({"error": "invalid_grant"}));
            }
            let n = before + 1;
            says(200, &json!({"access_token": format!("t{n}"), "refresh_token": format!("r{n}"), "expires_in": 120}))
        })
        .await
    }

    struct Caller {
        http: Client,
        clock: Clock,
    }

    impl Caller {
        fn new() -> Self {
            let clock = Clock::manual(Timestamp::parse_lenient("2026-11-22T10:00:00Z").unwrap());
            Self { http: Client::new(&Egress::default()).unwrap(), clock }
        }

        async fn get(&self, tokens: &Tokens, refused: Option<u64>) -> Result<Token, Failure> {
            let deadline = Instant::now() + Duration::from_secs(20);
            tokens.get(&self.http, &self.clock, refused, deadline).await.map_err(|(_, failure)| failure)
        }
    }

    #[tokio::test]
    async fn a_refresh_token_that_changes_is_kept_before_its_token_is_used_and_known_after_a_restart() {
        let (peer, memory, caller) = (rotating().await, Arc::new(Memory::default()), Caller::new());
        let tokens = refresh(&peer, &memory);
        let first = caller.get(&tokens, None).await.unwrap();
        assert_eq!((first.bare(), memory.kept.lock().unwrap().clone()), ("t1", vec!["r1".to_owned()]));
        assert_eq!(caller.get(&tokens, None).await.unwrap().bare(), "t1", "no renewal without need");
        assert_eq!(caller.get(&tokens, Some(first.serial)).await.unwrap().bare(), "t2");
        // Another process, with the credential of the configuration, which is used up.
        let after = refresh(&peer, &memory);
        assert_eq!(caller.get(&after, None).await.unwrap().bare(), "t3");
        assert_eq!(memory.kept.lock().unwrap().clone(), ["r1", "r2", "r3"]);
        assert!(after.secrets().iter().any(|secret| secret.expose() == "r3"), "the newest must not show");
    }

    #[tokio::test]
    async fn what_cannot_be_kept_is_neither_used_nor_lost() {
        let (peer, memory, caller) = (rotating().await, Arc::new(Memory::default()), Caller::new());
        let tokens = refresh(&peer, &memory);
        *memory.full.lock().unwrap() = true;
        for _ in 0..2 {
            let failure = caller.get(&tokens, None).await.expect_err("not kept");
            assert_eq!(failure.class, Class::Connect);
            assert!(failure.message.contains("no space"), "{failure}");
        }
        assert_eq!(peer.heard().len(), 1, "the one that was granted waits to be kept");
        *memory.full.lock().unwrap() = false;
        assert_eq!(caller.get(&tokens, None).await.unwrap().bare(), "t1");
        assert_eq!((peer.heard().len(), memory.kept.lock().unwrap().clone()), (1, vec!["r1".to_owned()]));
    }

    #[tokio::test]
    async fn many_callers_at_once_ask_for_one_token() {
        let (peer, memory, caller) = (rotating().await, Arc::new(Memory::default()), Arc::new(Caller::new()));
        let tokens = Arc::new(refresh(&peer, &memory));
        let mut asking = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let (tokens, caller) = (Arc::clone(&tokens), Arc::clone(&caller));
            asking.spawn(async move { caller.get(&tokens, None).await.unwrap().bare().to_owned() });
        }
        assert!(asking.join_all().await.into_iter().all(|token| token == "t1"));
        assert_eq!(peer.heard().len(), 1);
    }

    #[tokio::test]
    async fn a_token_endpoint_that_redirects_gets_nothing_sent_on() {
        let peer = Peer::start(|_, _| answer(307, &[("location", "http://127.0.0.1:1/steal")], "")).await;
        let (memory, caller) = (Arc::new(Memory::default()), Caller::new());
        let failure = caller.get(&refresh(&peer, &memory), None).await.expect_err("a redirect");
        assert_eq!(failure.class, Class::Configuration);
        assert!(failure.message.contains("127.0.0.1:1") && !failure.message.contains("r0"), "{failure}");
        let cut = Peer::start(|_, _| Say::Close(b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{\"access_token\": \"t".to_vec())).await;
        let failure = caller.get(&refresh(&cut, &memory), None).await.expect_err("half a token");
        assert_eq!(failure.class, Class::Connect, "{failure}");
    }

    #[test]
    fn a_token_is_used_for_a_time_that_makes_sense() {
        for (expires_in, expected) in [
            (Some(3600.0), 3540),
            (Some(100.0), 40),
            (Some(70.0), 10),
            (Some(61.0), 10),
            (Some(60.0), 10),
            (Some(0.0), 10),
            (Some(-5.0), 10),
            (Some(86_400.0), 86_340),
            (Some(1e10), 86_400),
            (Some(f64::MAX), 86_400),
            (Some(f64::NAN), 3540),
            (Some(f64::INFINITY), 3540),
            (None, 3540),
        ] {
            let (lasts, good) = lifetime(expires_in);
            assert_eq!(lasts, Duration::from_secs(expected), "{expires_in:?}");
            assert!(good >= lasts && good <= lasts + EARLY, "{expires_in:?}: {good:?}");
        }
    }

    #[test]
    fn a_token_endpoint_leaves_no_outcome_unknown() {
        for (class, expected) in [
            (Class::Connect, Class::Connect),
            (Class::Unknown, Class::Connect),
            (Class::Invalid, Class::Connect),
            (Class::Refused, Class::Configuration),
        ] {
            let failure = of_transport(Failure { class, status: None, message: "m".into(), retry_after: None }, "https://u:p@h/t?q");
            assert_eq!((failure.class, failure.message.as_str()), (expected, "no token from `https://h/t`: m"));
        }
    }
}
