//! One connection: its deadlines, its requests one after the other, its end.
//!
//! hyper has one time limit, for heads. Here each stage of a connection has its own, and hyper's is off: heads as
//! configured, the pause between requests [`KEEP_ALIVE_IDLE`], an answer that nobody takes [`WRITE_STALL`]. All of them, and
//! those of the request ([`Patience`]), share one timer, which is seldom set.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::CONNECTION;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::listener::{Peer, Stream};
use super::{Answers, DRAIN_SILENT, HEAD_MAX, HEADERS_MAX, KEEP_ALIVE_IDLE, LINGER, Throttle, WRITE_STALL};

/// How a TLS handshake begins: a record of type 22, version 3.
const TLS_HANDSHAKE: [u8; 2] = [0x16, 0x03];

/// Serves one connection to its end.
pub(super) async fn run<S, F, B>(
    stream: Stream,
    peer: Peer,
    header_timeout: Duration,
    answers: Answers,
    tls: Arc<Throttle>,
    service: S,
    stop: CancellationToken,
) where
    S: Fn(Peer, Request<Incoming>, Patience) -> F + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let watch = Arc::new(Watch::new(header_timeout));
    let io = TokioIo::new(Watched { stream, watch: Arc::clone(&watch), tls });
    let requests = {
        let watch = Arc::clone(&watch);
        service_fn(move |request: Request<Incoming>| {
            watch.lock().enter(Stage::Busy, None);
            let watch = Arc::clone(&watch);
            // In a box of its own: hyper keeps room for it in every connection, also while no request is there. Nothing is put
            // around it: an async block would keep room for it twice, before and after its first poll.
            let mut answer = Box::pin(service(peer.clone(), request, Patience(Arc::clone(&watch))));
            std::future::poll_fn(move |cx| {
                let answer = ready!(answer.as_mut().poll(cx));
                let close = answer.headers().get(CONNECTION).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"));
                if close {
                    watch.lock().linger = true;
                }
                Poll::Ready(Ok::<_, std::convert::Infallible>(answer.map(|body| Tracked { body, watch: Arc::clone(&watch) })))
            })
        })
    };
    let connection = Builder::new()
        .header_read_timeout(None)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_MAX)
        // A client that has sent everything may close its side: that takes nothing back.
        .half_close(true)
        .writev(answers == Answers::Long)
        .serve_connection(io, requests);
    tokio::pin!(connection);
    let stopped = stop.cancelled();
    tokio::pin!(stopped);
    let timer = tokio::time::sleep(header_timeout);
    tokio::pin!(timer);
    let (mut draining, mut told) = (false, false);
    std::future::poll_fn(|cx| {
        'served: loop {
            // How it ended is the peer's business: refusals of malformed requests are answered by hyper itself.
            if connection.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            if !draining && stopped.as_mut().poll(cx).is_ready() {
                draining = true;
                watch.lock().drain(Instant::now());
            }
            let (busy, deadline, alarm) = {
                let state = watch.lock();
                (matches!(state.stage, Stage::Busy), state.deadline(), state.alarm)
            };
            if draining && busy && !std::mem::replace(&mut told, true) {
                // Only a connection with a request under way is told: hyper would close others at once, and a request
                // that is just arriving would be lost.
                connection.as_mut().graceful_shutdown();
            }
            let Some(next) = earlier(deadline, alarm) else { return Poll::Pending };
            if next < timer.deadline() {
                timer.as_mut().reset(next);
            }
            // A timer that was set for an earlier stage is set anew only when it fires: most never do.
            while timer.as_mut().poll(cx).is_ready() {
                let now = Instant::now();
                if deadline.is_some_and(|deadline| deadline <= now) {
                    return Poll::Ready(());
                }
                if alarm.is_some_and(|alarm| alarm <= now) {
                    // The request looks itself whether its time is up; it sets the alarm again if it goes on.
                    watch.lock().alarm = None;
                    continue 'served;
                }
                timer.as_mut().reset(next);
            }
            return Poll::Pending;
        }
    })
    .await;
}

fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// How long a request may wait for something, by the timer of its connection: a wait that ends in time, as nearly all do, sets
/// none. Only for the task that serves the connection, which is where a service's future runs.
#[derive(Clone, Debug)]
pub struct Patience(Arc<Watch>);

impl Patience {
    /// What `future` gives, or nothing when `deadline` comes first. A request has one such wait at a time.
    pub async fn until<F: Future + Unpin>(&self, deadline: Instant, mut future: F) -> Option<F::Output> {
        let alarm = Alarm(&self.0);
        std::future::poll_fn(|cx| {
            if let Poll::Ready(output) = Pin::new(&mut future).poll(cx) {
                return Poll::Ready(Some(output));
            }
            if deadline <= Instant::now() {
                return Poll::Ready(None);
            }
            alarm.0.lock().alarm = Some(deadline);
            Poll::Pending
        })
        .await
    }
}

/// Taken back when the wait is over, or given up.
struct Alarm<'w>(&'w Watch);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        self.0.lock().alarm = None;
    }
}

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing came yet.
    Silent,
    /// A head is arriving.
    Head,
    /// A request is being answered.
    Busy,
    /// Between requests.
    Idle,
    /// Our side is closed; the peer's rest is read and dropped.
    Lingering,
}

/// What the parts of a connection tell each other. They all run in one task; the lock is never waited for.
#[derive(Debug)]
struct Watch(Mutex<State>);

#[derive(Debug)]
struct State {
    stage: Stage,
    header_timeout: Duration,
    /// When the stage must be over.
    until: Option<Instant>,
    /// When the peer must have taken something of what is being written.
    stalled: Option<Instant>,
    /// When the request that is being answered wants to be polled.
    alarm: Option<Instant>,
    /// The answer closes the connection, perhaps in the middle of the peer's sending.
    linger: bool,
    draining: bool,
}

impl Watch {
    fn new(header_timeout: Duration) -> Self {
        let until = Some(Instant::now() + header_timeout);
        let state = State { stage: Stage::Silent, header_timeout, until, stalled: None, alarm: None, linger: false, draining: false };
        Self(Mutex::new(state))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn enter(&mut self, stage: Stage, limit: Option<Duration>) {
        self.stage = stage;
        self.until = limit.map(|limit| Instant::now() + limit);
    }

    fn deadline(&self) -> Option<Instant> {
        earlier(self.until, self.stalled)
    }

    /// Connections without a request get a last moment.
    fn drain(&mut self, now: Instant) {
        self.draining = true;
        if matches!(self.stage, Stage::Silent | Stage::Idle) {
            let soon = now + DRAIN_SILENT;
            self.until = Some(self.until.map_or(soon, |until| until.min(soon)));
        }
    }

    fn bytes_came(&mut self) {
        match self.stage {
            // The time for the first head began with the connection.
            Stage::Silent => {
                self.stage = Stage::Head;
                self.until = self.until.map(|until| if self.draining { until + self.header_timeout } else { until });
            }
            Stage::Idle => self.enter(Stage::Head, Some(self.header_timeout)),
            Stage::Head | Stage::Busy | Stage::Lingering => {}
        }
    }

    fn answered(&mut self) {
        if self.stage == Stage::Busy {
            self.enter(Stage::Idle, Some(if self.draining { DRAIN_SILENT } else { KEEP_ALIVE_IDLE }));
        }
    }
}

/// The socket, telling [`Watch`] what happens on it.
struct Watched {
    stream: Stream,
    watch: Arc<Watch>,
    /// Limits the lines about TLS, for all connections of the listener together.
    tls: Arc<Throttle>,
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let came = &buffer.filled()[before..];
        if !came.is_empty() {
            let mut state = self.watch.lock();
            if state.stage == Stage::Silent && came.starts_with(&TLS_HANDSHAKE) {
                warn_of_tls(&self.tls);
            }
            state.bytes_came();
        }
        Poll::Ready(Ok(()))
    }
}

impl Watched {
    /// Notes whether the peer takes what we write.
    fn wrote<T>(&self, written: Poll<T>) -> Poll<T> {
        let mut state = self.watch.lock();
        state.stalled = match written {
            Poll::Ready(_) => None,
            Poll::Pending => Some(state.stalled.unwrap_or_else(|| Instant::now() + WRITE_STALL)),
        };
        written
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(written)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Closes our side. Where an answer refused a body, what still comes is read and dropped for a moment: closing with
    /// unread bytes would reset the connection, and the peer might never see the answer.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.watch.lock().stage != Stage::Lingering {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            let mut state = self.watch.lock();
            if !state.linger {
                return Poll::Ready(Ok(()));
            }
            state.enter(Stage::Lingering, Some(LINGER));
            state.stalled = None;
        }
        let mut dropped = [0; 4096];
        loop {
            let mut buffer = ReadBuf::new(&mut dropped);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

/// An answer's body; when it is done, the connection waits for the next request.
struct Tracked<B> {
    body: B,
    watch: Arc<Watch>,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Tracked<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for Tracked<B> {
    fn drop(&mut self) {
        self.watch.lock().answered();
    }
}

fn warn_of_tls(throttle: &Throttle) {
    if let Some(more) = throttle.pass() {
        tracing::warn!(more, "TLS on a plain port: a client spoke https to this http listener; put a proxy in front or use http");
    }
}
