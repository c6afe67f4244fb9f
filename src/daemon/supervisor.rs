//! What systemd is told: READY, RELOADING, STOPPING, more time while recovering, and a watchdog that is fed only while
//! the journal makes progress. Without systemd every call is a no-op.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

use crate::journal::{Health, Journal};

/// While the journal opens, systemd is asked for this much more time, again and again.
const RECOVERY_STEP: Duration = Duration::from_secs(10);

pub(super) fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager does not listen");
    }
}

/// READY with what a person wants to read in `systemctl status`.
pub(super) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// RELOADING with the monotonic time that systemd asks for; READY must follow, whatever became of the reload.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

pub(super) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("draining")]);
}

/// Asks for more time until `opened` is cancelled: a rebuild must not be taken for a hang.
pub(super) async fn recovering(opened: CancellationToken) {
    loop {
        let micros = u32::try_from((RECOVERY_STEP * 2).as_micros()).unwrap_or(u32::MAX);
        tell(&[NotifyState::ExtendTimeoutUsec(micros), NotifyState::Status("recovering: opening the journal"), NotifyState::Watchdog]);
        tokio::select! {
            () = opened.cancelled() => return,
            () = tokio::time::sleep(RECOVERY_STEP) => {}
        }
    }
}

/// Feeds the watchdog while the journal's writer answers; a writer that hangs lets systemd restart us.
pub(super) async fn watchdog(journal: Journal, stop: CancellationToken) {
    let Some(interval) = sd_notify::watchdog_enabled() else {
        stop.cancelled().await;
        return;
    };
    let beat = interval / 3;
    let health = journal.health();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(beat) => {}
        }
        let answered = tokio::time::timeout(beat, journal.ping()).await.unwrap_or(false);
        let failed = matches!(*health.borrow(), Health::Failed(_));
        if answered && !failed {
            tell(&[NotifyState::Watchdog]);
        } else {
            tracing::error!("the journal's writer does not answer; the watchdog is not fed");
        }
    }
}
