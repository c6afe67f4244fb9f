//! Reads a body under its limits: its length, its time in all, and the memory of all bodies together.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::refusal::Refusal;
use crate::config::Limits;

/// What a body of unknown length gets at first, and what it grows by.
const STEP: u64 = 64 << 10;

/// Room made at once for a body that declares its length; a declaration is no reason to reserve more.
const ROOM_AT_ONCE: u64 = 1 << 20;

/// Bytes in the unit of the memory permits, rounded up; at least one.
pub(super) fn kib(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX >> 3).clamp(1, u32::MAX >> 3)
}

/// The whole body, with the permit for its memory. Waits for memory until `give_up`; that time does not count against the
/// sender's.
pub(super) async fn read(
    mut body: Incoming,
    limits: &Limits,
    memory: &Arc<Semaphore>,
    give_up: Instant,
) -> Result<(Bytes, OwnedSemaphorePermit), Refusal> {
    let declared = body.size_hint().exact();
    let mut reserved = declared.unwrap_or(STEP.min(limits.body));
    let mut permit = reserve(memory, reserved, give_up).await?;
    let mut deadline = Instant::now() + limits.body_timeout;
    let mut whole = BytesMut::new();
    loop {
        let chunk = match timeout_at(deadline, body.frame()).await {
            Err(_) => return Err(Refusal::BodyTimeout),
            Ok(None) => return Ok((whole.freeze(), permit)),
            Ok(Some(Err(_))) => return Err(Refusal::BodyIncomplete),
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(chunk) => chunk,
                // Trailers mean nothing to us.
                Err(_) => continue,
            },
        };
        let length = whole.len() as u64 + chunk.len() as u64;
        if length > limits.body {
            return Err(Refusal::TooLarge);
        }
        if length > reserved {
            let step = (length - reserved).next_multiple_of(STEP).min(limits.body - reserved);
            let asked = Instant::now();
            permit.merge(reserve(memory, step, give_up).await?);
            deadline += asked.elapsed();
            reserved += step;
        }
        if whole.is_empty() {
            if body.is_end_stream() {
                // Nearly every body: it came in one piece and is passed on without a copy.
                return Ok((chunk, permit));
            }
            whole.reserve(usize::try_from(declared.unwrap_or(0).min(ROOM_AT_ONCE)).unwrap_or(0));
        }
        whole.extend_from_slice(&chunk);
    }
}

async fn reserve(memory: &Arc<Semaphore>, bytes: u64, give_up: Instant) -> Result<OwnedSemaphorePermit, Refusal> {
    match timeout_at(give_up, Arc::clone(memory).acquire_many_owned(kib(bytes))).await {
        Ok(Ok(permit)) => Ok(permit),
        Ok(Err(_)) => Err(Refusal::Ended),
        Err(_) => Err(Refusal::Busy),
    }
}
