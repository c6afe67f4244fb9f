//! A request body that tells whether it was asked for: until then nothing of the request has left.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

/// Set once the first byte of a request may have left.
#[derive(Clone, Debug, Default)]
pub(super) struct Departure(Arc<AtomicBool>);

impl Departure {
    /// Whether it may have left.
    pub(super) fn happened(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// It may have left from now on.
    pub(super) fn happens(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// One block of bytes. The connection asks for it when it has the head ready to be written, never before it stands.
pub(super) struct Watched {
    pub(super) bytes: Option<Bytes>,
    pub(super) departure: Departure,
}

impl Body for Watched {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.departure.happens();
        Poll::Ready(self.bytes.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}
