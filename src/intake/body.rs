//! Reads a body under its limits: its length, its time in all, and the memory of all bodies together.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::time::Instant;

use super::memory::{Held, Memory};
use super::refusal::Refusal;
use crate::config::Limits;
use crate::http::server::Patience;

/// A body for which all others wait may pause this long between two pieces.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// The whole body, with what it holds of the memory. Waits for memory until `give_up`; that time does not count against the
/// sender's.
pub(super) async fn read(
    mut body: Incoming,
    limits: &Limits,
    memory: &Memory,
    (patience, give_up): (&Patience, Instant),
) -> Result<(Bytes, Held), Refusal> {
    let mut held = Held::default();
    let mut deadline = Instant::now() + limits.body_timeout;
    let mut whole = BytesMut::new();
    loop {
        let until = if held.is_over() { deadline.min(Instant::now() + PAUSE_MAX) } else { deadline };
        let chunk = match patience.until(until, body.frame()).await {
            None => return Err(Refusal::BodyTimeout),
            Some(None) => return Ok((whole.freeze(), held)),
            Some(Some(Err(_))) => return Err(Refusal::BodyIncomplete),
            Some(Some(Ok(frame))) => match frame.into_data() {
                Ok(chunk) => chunk,
                // Trailers mean nothing to us.
                Err(_) => continue,
            },
        };
        let length = whole.len() as u64 + chunk.len() as u64;
        if length > limits.body {
            return Err(Refusal::TooLarge);
        }
        if whole.is_empty() && body.is_end_stream() {
            // Nearly every body: it came in one piece and is passed on without a copy.
            return Ok((chunk, memory.whole(length, give_up).await?));
        }
        let asked = Instant::now();
        memory.grow(&mut held, length, give_up).await?;
        deadline += asked.elapsed();
        // It grows with what comes: what the head declares is no reason to make room.
        whole.extend_from_slice(&chunk);
    }
}
