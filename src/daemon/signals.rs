//! Signals: which ones mean something, and what.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGXFSZ: a file grew beyond RLIMIT_FSIZE, and the write itself reports it.
const SIGXFSZ: i32 = 25;

/// Those that the process listens to.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    /// They mean nothing; held, so that their default action (to die) is off.
    _ignored: [Signal; 3],
}

/// What a signal asks for.
pub(super) enum Asked {
    End(&'static str),
    Reload,
}

impl Signals {
    pub(super) fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            _ignored: [signal(SignalKind::from_raw(SIGXFSZ))?, signal(SignalKind::user_defined1())?, signal(SignalKind::user_defined2())?],
        })
    }

    /// The next signal that means something. Cancellation loses none.
    pub(super) async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::End("SIGTERM"),
            _ = self.interrupt.recv() => Asked::End("SIGINT"),
            _ = self.hangup.recv() => Asked::Reload,
        }
    }

    /// The next signal that asks to end; a reload asked for meanwhile has nothing to reload.
    pub(super) async fn end(&mut self) -> &'static str {
        loop {
            if let Asked::End(name) = self.next().await {
                return name;
            }
        }
    }
}
