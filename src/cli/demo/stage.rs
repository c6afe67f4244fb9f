//! What the story is played on: a temporary folder with configuration and rules, the sandbox in this process, the
//! daemon as a child.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::ask::{Missed, until};
use crate::cli::client;
use crate::daemon::DaemonFile;
use crate::sandbox::{self, Options};

/// What would make the daemon do something else than its configuration says.
const FOREIGN: &[&str] = &[
    "TRIPLINE_LISTEN",
    "TRIPLINE_ADMIN",
    "TRIPLINE_ADMIN_TOKEN",
    "TRIPLINE_STATE",
    "TRIPLINE_LOG",
    "LISTEN_FDS",
    "LISTEN_PID",
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
];
/// The client's secret; the sandbox takes any.
const CLIENT_SECRET: &str = "any-secret-will-do-for-the-sandbox";
/// The rules that play where no file does.
const COPY: &[u8] = include_bytes!("../../../rules/demo.yaml");
/// Lines of the daemon's log that are shown when something was missed.
const LOG_LINES: usize = 12;
/// Bytes of the webhook's secret; written as twice as many hex digits.
const SECRET_BYTES: usize = 24;

/// The stage.
pub(super) struct Stage {
    /// URL of the sandbox.
    pub(super) sandbox: String,
    /// URL of the daemon's admin API.
    pub(super) admin: String,
    /// URL of the daemon's webhook.
    pub(super) hook: String,
    /// The webhook's secret.
    pub(super) secret: String,
    /// The robot's token for the sandbox.
    pub(super) token: String,
    pub(super) http: reqwest::Client,
    /// The file with the rules; none where the copy plays.
    pub(super) rules: Option<PathBuf>,
    rules_missing: Option<String>,
    daemon: Option<Child>,
    // In this order: the sandbox ends before its folder goes.
    _stop: DropGuard,
    _tasks: JoinSet<()>,
    folder: TempDir,
}

impl Stage {
    /// Starts the sandbox and writes the configuration; the daemon is started by [`Stage::start`].
    pub(super) async fn build(rules: Option<PathBuf>) -> Result<Self, String> {
        let folder = tempfile::Builder::new().prefix("tripline-demo-").tempdir();
        let folder = folder.map_err(|error| format!("no temporary folder: {error}"))?;
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|error| format!("cannot listen on loopback: {error}"))?;
        let address = listener.local_addr().map_err(|error| format!("cannot listen on loopback: {error}"))?;
        let http = client::http(reqwest::Client::builder(), "http://").map_err(|_| "cannot set up HTTP".to_owned())?;
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(sandbox::run(Options::default(), listener, stop.clone()));
        let mut secret = [0_u8; SECRET_BYTES];
        getrandom::fill(&mut secret).map_err(|error| format!("no randomness for the secret: {error}"))?;
        let (listen, admin) = (free_port()?, free_port()?);
        let stage = Self {
            sandbox: format!("http://{address}"),
            admin: format!("http://{admin}"),
            hook: format!("http://{listen}/hooks/sandbox-hook"),
            secret: secret.iter().map(|byte| format!("{byte:02x}")).collect(),
            token: "sandbox-pat".to_owned(),
            http,
            rules,
            rules_missing: None,
            daemon: None,
            _stop: stop.drop_guard(),
            _tasks: tasks,
            folder,
        };
        let place = stage.folder.path().display().to_string();
        stage.write(listen, admin).map_err(|error| format!("cannot write to {place}: {error}"))
    }

    fn write(mut self, listen: SocketAddr, admin: SocketAddr) -> io::Result<Self> {
        let folder = self.folder.path();
        std::fs::create_dir(folder.join("rules"))?;
        match self.rules.as_ref().map_or_else(|| Ok(COPY.to_vec()), std::fs::read) {
            Ok(text) => std::fs::write(folder.join("rules/demo.yaml"), text)?,
            Err(error) => {
                let file = self.rules.as_deref().unwrap_or(Path::new(""));
                self.rules_missing = Some(format!("the rules cannot be read: {}: {error}; name the file with --rules", file.display()));
            }
        }
        std::fs::write(folder.join("tripline.yaml"), configuration(&self.sandbox, listen, admin))?;
        for (name, secret) in [("hook-secret", self.secret.as_str()), ("client-secret", CLIENT_SECRET)] {
            // The daemon warns of a secret that others may read.
            let file = folder.join(name);
            std::fs::write(&file, secret)?;
            std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        }
        Ok(self)
    }

    /// The configuration file.
    pub(super) fn config(&self) -> PathBuf {
        self.folder.path().join("tripline.yaml")
    }

    /// Adds a polled source to the configuration; it begins with what happens from now on.
    pub(super) fn add_poll(&self) -> io::Result<()> {
        let mut file = File::options().append(true).open(self.config())?;
        io::Write::write_all(&mut file, POLL.as_bytes())
    }

    /// Why there are no rules.
    pub(super) fn rules_missing(&self) -> Option<&str> {
        self.rules_missing.as_deref()
    }

    /// Starts the daemon: this program as `run`. Answers its process id and how long it took until it was ready.
    pub(super) async fn start(&mut self) -> Result<(u32, Duration), Missed> {
        let started = Instant::now();
        let failed = |error: io::Error| Missed::new(format!("the daemon does not start: {error}"));
        let program = std::env::current_exe().map_err(failed)?;
        let log = File::options().create(true).append(true).open(self.log()).map_err(failed)?;
        let mut command = Command::new(program);
        for name in FOREIGN {
            command.env_remove(name);
        }
        let child = command
            .arg("run")
            .arg("-c")
            .arg(self.config())
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(failed)?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let pid = child.id().unwrap_or(0);
        self.daemon = Some(child);
        let state = self.folder.path().join("state");
        until("the daemon ready", async || {
            if let Some(status) = self.daemon.as_mut().and_then(|child| child.try_wait().ok().flatten()) {
                return Err(Missed::for_good(format!("the daemon ready (it ended with {status})")));
            }
            // The file of a daemon that was killed is still there; only this one's counts.
            let Some(file) = DaemonFile::read(&state).filter(|file| file.pid == pid) else { return Ok(None) };
            self.admin = format!("http://{}", file.admin);
            self.admin_get("/readyz").await.map(Some)
        })
        .await?;
        Ok((pid, started.elapsed()))
    }

    /// `kill -9`; answers how the process ended.
    pub(super) async fn kill(&mut self) -> Result<String, Missed> {
        let Some(mut child) = self.daemon.take() else { return Err(Missed::new("a daemon to kill")) };
        child.start_kill().map_err(|error| Missed::new(format!("the daemon cannot be killed: {error}")))?;
        child.wait().await.map(|status| status.to_string()).map_err(|error| Missed::new(format!("the daemon does not end: {error}")))
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("daemon.log")
    }

    /// The last lines of the daemon's log.
    pub(super) fn log_end(&self) -> Vec<String> {
        let text = std::fs::read(self.log()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].iter().map(|line| (*line).to_owned()).collect()
    }
}

/// A port that is free now. The daemon is told it in its configuration, so that it has the same one after its restart.
fn free_port() -> Result<SocketAddr, String> {
    let bound = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    bound.map_err(|error| format!("no free port on loopback: {error}"))
}

/// The source that is added for the blind hour. It waits two seconds for the webhook, where two minutes are usual.
const POLL: &str = "  sandbox-queues:
    poll:
      orchestrator: sandbox
      kind: queue_items
      queues: [Invoices]
      every: 1s
      look_back: 0s
      reconciles: sandbox-hook
      webhook_within: 2s
";

fn configuration(sandbox: &str, listen: SocketAddr, admin: SocketAddr) -> String {
    format!(
        "# Written by `tripline demo`.
listen: {listen}
admin: {admin}
state: ./state
rules: rules/
log: {{format: text, level: info}}
vars:
  review_queue: Invoices-Review
  ledger: {sandbox}/sandbox/sink/ledger
# The ledger's address comes out of a variable, so its host must be allowed by name or network.
egress:
  allow: [127.0.0.0/8]
orchestrators:
  sandbox:
    url: {sandbox}
    edition: standalone
    auth:
      client_credentials: {{client_id: demo, client_secret: {{file: client-secret}}, scope: OR.Queues}}
    folder: Finance
sources:
  sandbox-hook:
    webhook:
      orchestrator: sandbox
      secrets: [{{file: hook-secret}}]
"
    )
}
