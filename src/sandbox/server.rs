//! Sockets: the accept loop, bodies read and answers written, and what faults do to a connection.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::sandbox::Options;
use crate::sandbox::call::{Answer, Call, Refusal, decode};
use crate::sandbox::delivery::{self, lock};
use crate::sandbox::faults::RequestFault;
use crate::sandbox::limits::{CONNECTIONS_MAX, REQUEST_MAX};
use crate::sandbox::records::RequestRecord;
use crate::sandbox::world::World;
use crate::time::Timestamp;

/// What every answer says of itself.
const BANNER: &str = "development and tests only";
/// For the head of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);
/// Open requests may go on so long once the sandbox stops.
const DRAIN: Duration = Duration::from_secs(1);
/// The pause after `accept` failed for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

type Body = BoxBody<Bytes, Cut>;

/// The end of a connection that a fault wants cut.
#[derive(Debug, thiserror::Error)]
#[error("the sandbox cuts this connection, as a fault asks")]
struct Cut;

/// Serves the sandbox on `listener` until `stop`.
pub async fn run(options: Options, listener: TcpListener, stop: CancellationToken) {
    let world = Arc::new(Mutex::new(World::new(options)));
    let wake = Arc::new(Notify::new());
    let mut tasks = JoinSet::new();
    let sending = stop.child_token();
    tasks.spawn(delivery::run(Arc::clone(&world), Arc::clone(&wake), sending));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve(stream, Arc::clone(&world), Arc::clone(&wake), stop.clone()));
                }
                Err(why) => {
                    tracing::warn!(error = %why, "sandbox cannot accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        tracing::debug!("sandbox leaves connections open");
    }
}

async fn serve(stream: TcpStream, world: Arc<Mutex<World>>, wake: Arc<Notify>, stop: CancellationToken) {
    // Small answers must not wait for more; where it cannot be set they only come later.
    drop(stream.set_nodelay(true));
    let reset = Arc::new(AtomicBool::new(false));
    let resets = Arc::clone(&reset);
    let service = service_fn(move |request: Request<Incoming>| {
        let (world, wake, resets) = (Arc::clone(&world), Arc::clone(&wake), Arc::clone(&resets));
        Box::pin(handle(request, world, wake, resets)) as Pin<Box<dyn Future<Output = _> + Send>>
    });
    let mut connection =
        http1::Builder::new().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).serve_connection(TokioIo::new(stream), service);
    let mut stopping = false;
    let ended = loop {
        let step = std::future::poll_fn(|cx| connection.poll_without_shutdown(cx));
        tokio::select! {
            ended = step => break ended,
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
        }
    };
    if ended.is_err() && reset.load(Ordering::Relaxed) {
        // With no time to linger, dropping the socket sends a reset in place of an orderly end.
        drop(connection.into_parts().io.into_inner().set_zero_linger());
    }
}

/// How an answer goes out.
enum Outcome {
    Whole(Answer),
    Late(Answer, Duration),
    Cut(Answer),
    Reset(Duration),
}

async fn handle(
    request: Request<Incoming>,
    world: Arc<Mutex<World>>,
    wake: Arc<Notify>,
    reset: Arc<AtomicBool>,
) -> Result<Response<Body>, Cut> {
    let (head, body) = request.into_parts();
    let body = match Limited::new(body, REQUEST_MAX).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(why) if why.is::<LengthLimitError>() => return Ok(whole(&Answer::empty(413))),
        Err(_) => return Err(Cut),
    };
    let call = Call {
        method: head.method.as_str().to_owned(),
        path: decode(head.uri.path(), false),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head
            .headers
            .iter()
            .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
            .collect(),
        body,
    };
    let (outcome, sends) = {
        let mut world = lock(&world);
        let now = world.options.clock.now();
        let outcome = decide(&mut world, &call, now);
        (outcome, !world.outbox.is_empty())
    };
    if sends {
        wake.notify_one();
    }
    match outcome {
        Outcome::Whole(answer) => Ok(whole(&answer)),
        Outcome::Late(answer, delay) => {
            tokio::time::sleep(delay).await;
            Ok(whole(&answer))
        }
        Outcome::Cut(answer) => Ok(cut(&answer)),
        Outcome::Reset(delay) => {
            tokio::time::sleep(delay).await;
            reset.store(true, Ordering::Relaxed);
            Err(Cut)
        }
    }
}

/// The answer to a request and its way out, with the fault that it meets; and the record of both.
fn decide(world: &mut World, call: &Call, now: Timestamp) -> Outcome {
    let own = call.path == "/sandbox" || call.path.starts_with("/sandbox/");
    let sink = call.path.strip_prefix("/sandbox/sink/").map(|rest| rest.split('/').next().unwrap_or_default().to_owned());
    let fault = if own && sink.is_none() { None } else { world.faults.on_request(&call.method, &call.path) };
    let carry_out = |world: &mut World, drift: i64| if own { world.control(call, now) } else { world.answer(call, drift, now) };
    let refuse = |world: &mut World, answer: Answer| {
        if let Some(name) = &sink {
            world.sink(call, name, Some(answer.status), now);
        }
        answer
    };
    let label = fault.as_ref().map(|fault| format!("{fault:?}"));
    let outcome = match fault {
        None => Outcome::Whole(carry_out(world, 0)),
        Some(RequestFault::Status { status, retry_after, body, code }) => {
            let answer = match body {
                Some(body) => Answer::json(status, &body),
                None => Refusal::new(status, code, "Unknown", "The sandbox answers so because a fault asks for it.").answer("sandbox"),
            };
            let answer = match retry_after {
                Some(when) => answer.with("retry-after", when),
                None => answer,
            };
            Outcome::Whole(refuse(world, answer))
        }
        Some(RequestFault::Reset { commit }) => {
            if commit {
                carry_out(world, 0);
            }
            Outcome::Reset(Duration::ZERO)
        }
        Some(RequestFault::Timeout { commit, delay }) => {
            if commit {
                carry_out(world, 0);
            }
            Outcome::Reset(delay)
        }
        Some(RequestFault::Slow(delay)) => Outcome::Late(carry_out(world, 0), delay),
        Some(RequestFault::Truncated) => Outcome::Cut(carry_out(world, 0)),
        Some(RequestFault::Html) => {
            let page = "<!doctype html><title>Sign in</title><form action=\"/login\"><input name=\"user\"></form>";
            Outcome::Whole(refuse(world, Answer::html(200, page)))
        }
        Some(RequestFault::Empty) => Outcome::Whole(refuse(world, Answer::json(200, &serde_json::json!({})))),
        Some(RequestFault::Redirect(to)) => Outcome::Whole(refuse(world, Answer::empty(307).with("location", to))),
        Some(RequestFault::ExpiredTokens) => {
            world.tokens.expire();
            Outcome::Whole(carry_out(world, 0))
        }
        Some(RequestFault::PageDrift(shift)) => Outcome::Whole(carry_out(world, shift)),
        Some(RequestFault::Shuffled) => Outcome::Whole(carry_out(world, 0).shuffled()),
    };
    if !own {
        let folders = ["x-uipath-organizationunitid", "x-uipath-folderkey", "x-uipath-folderpath-encoded", "x-uipath-folderpath"];
        world.records.request(RequestRecord {
            at: now,
            method: call.method.clone(),
            path: call.path.clone(),
            query: decode(&call.query, true),
            folder: folders.iter().find_map(|name| call.header(name)).map(str::to_owned),
            status: match &outcome {
                Outcome::Whole(answer) | Outcome::Late(answer, _) | Outcome::Cut(answer) => Some(answer.status),
                Outcome::Reset(_) => None,
            },
            fault: label,
        });
    }
    outcome
}

/// A body that ends with a failure once its bytes are on their way.
struct Half {
    bytes: Option<Bytes>,
    flushed: bool,
}

impl hyper::body::Body for Half {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if let Some(bytes) = self.bytes.take() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        if self.flushed {
            return Poll::Ready(Some(Err(Cut)));
        }
        // The server writes out what it has whenever a body makes it wait.
        self.flushed = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

fn builder(answer: &Answer) -> hyper::http::response::Builder {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut builder = Response::builder().status(status).header("server", "tripline-sandbox").header("x-sandbox", BANNER);
    if !answer.content_type.is_empty() {
        builder = builder.header("content-type", answer.content_type);
    }
    for (name, value) in &answer.headers {
        builder = builder.header(*name, value);
    }
    builder
}

fn whole(answer: &Answer) -> Response<Body> {
    let body = Full::new(answer.body.clone()).map_err(|never: Infallible| match never {}).boxed();
    builder(answer)
        .body(body)
        .unwrap_or_else(|_| Response::new(Full::new(Bytes::new()).map_err(|never: Infallible| match never {}).boxed()))
}

/// An answer that promises its whole length and ends in the middle.
fn cut(answer: &Answer) -> Response<Body> {
    let body = BodyExt::boxed(Half { bytes: Some(answer.body.slice(..answer.body.len() / 2)), flushed: false });
    builder(answer).header("content-length", answer.body.len()).body(body).unwrap_or_else(|_| whole(answer))
}
