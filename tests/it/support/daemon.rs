//! The daemon as a child process.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use serde_json::Value;

use super::{SECRET, http, sign, until};

/// A folder with a configuration and rules.
pub(crate) struct Folder {
    dir: tempfile::TempDir,
    state: &'static str,
}

impl Folder {
    /// Loopback ports chosen by the system, one webhook source `hook` of the orchestrator `prod` at `orchestrator`.
    pub(crate) fn new(orchestrator: &str) -> Self {
        let folder = Self { dir: tempfile::tempdir().expect("a folder"), state: "state" };
        std::fs::create_dir(folder.path("rules")).expect("rules");
        folder.write(
            "tripline.yaml",
            &format!(
                "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\nstate: state\nrules: rules/\nshutdown_grace: 5s\nlog: {{format: json, level: debug}}\norchestrators:\n  prod:\n    url: {orchestrator}\n    edition: standalone\n    tenant: Default\n    auth: {{token: \"rt_canary-orchestrator-token\"}}\n    folder: Finance\nsources:\n  hook:\n    webhook:\n      orchestrator: prod\n      secrets: [\"{SECRET}\"]\n"
            ),
        );
        folder
    }

    /// Has the daemon keep its state in another place below this folder.
    pub(crate) fn keep_state_in(&mut self, place: &'static str) {
        let config = std::fs::read_to_string(self.path("tripline.yaml")).expect("text");
        self.write("tripline.yaml", &config.replace(&format!("\nstate: {}\n", self.state), &format!("\nstate: {place}\n")));
        self.state = place;
    }

    /// The state folder.
    pub(crate) fn state(&self) -> PathBuf {
        self.path(self.state)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("written");
    }

    /// Writes a rule file.
    pub(crate) fn rule(&self, name: &str, text: &str) {
        self.write(&format!("rules/{name}.yaml"), text);
    }

    /// The command line of the binary in this folder.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tripline"));
        command.args(arguments).current_dir(self.dir.path()).env_remove("NOTIFY_SOCKET").stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub(crate) fn output(&self, arguments: &[&str]) -> std::process::Output {
        self.command(arguments).output().expect("runs")
    }
}

/// A daemon that runs.
pub(crate) struct Daemon {
    child: Child,
    state: PathBuf,
    log: PathBuf,
    pub(crate) ingress: SocketAddr,
    pub(crate) admin: SocketAddr,
    http: reqwest::Client,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Already gone, or killed here: either way nothing outlives the test.
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            let tail: Vec<_> = log.lines().rev().take(40).collect();
            eprintln!("---- the daemon's last lines\n{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
    }
}

impl Daemon {
    /// Starts in `folder` and awaits readiness.
    pub(crate) async fn start(folder: &Folder) -> Self {
        let command = folder.command(&["run", "-c", "tripline.yaml"]);
        Self::spawn(folder, command).await
    }

    /// Starts in `folder` and awaits that it answers, ready or not.
    pub(crate) async fn start_unready(folder: &Folder) -> Self {
        Self::spawn_until(folder, folder.command(&["run", "-c", "tripline.yaml"]), false).await
    }

    /// Starts with `listener` passed as systemd does: descriptor 3, `LISTEN_FDS`, `LISTEN_PID`.
    pub(crate) async fn start_with_socket(folder: &Folder, listener: &std::net::TcpListener) -> Self {
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg("exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_FDNAMES=ingress LISTEN_PID=$$ exec \"$0\" run -c tripline.yaml")
            .arg(env!("CARGO_BIN_EXE_tripline"))
            .current_dir(folder.path("."))
            .stdin(Stdio::from(OwnedFd::from(listener.try_clone().expect("cloned"))));
        Self::spawn(folder, command).await
    }

    /// Starts in a shell that ran `before`.
    pub(crate) async fn start_after(folder: &Folder, before: &str) -> Self {
        let mut command = Command::new("sh");
        let script = format!("{before}; exec \"$0\" run -c tripline.yaml");
        command.arg("-c").arg(script).arg(env!("CARGO_BIN_EXE_tripline")).current_dir(folder.path(".")).stdin(Stdio::null());
        Self::spawn(folder, command).await
    }

    /// Starts through another program, which is given the command line of the daemon behind its own arguments.
    pub(crate) async fn start_in(folder: &Folder, program: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(arguments).arg(env!("CARGO_BIN_EXE_tripline")).args(["run", "-c", "tripline.yaml"]);
        command.current_dir(folder.path(".")).stdin(Stdio::null());
        Self::spawn(folder, command).await
    }

    async fn spawn(folder: &Folder, command: Command) -> Self {
        Self::spawn_until(folder, command, true).await
    }

    async fn spawn_until(folder: &Folder, mut command: Command, ready: bool) -> Self {
        let log = folder.path("daemon.log");
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&log).expect("a log");
        let mut child = command.stdout(Stdio::null()).stderr(file).spawn().expect("starts");
        let (state, client) = (folder.state(), http());
        let pid = child.id();
        let (ingress, admin) = until("the daemon is ready", async || {
            if let Some(status) = child.try_wait().expect("waits") {
                panic!("the daemon ended with {status}:\n{}", std::fs::read_to_string(&log).unwrap_or_default());
            }
            let text = std::fs::read(state.join("daemon.json")).ok()?;
            let file: Value = serde_json::from_slice(&text).ok()?;
            (file["pid"] == pid).then_some(())?;
            let address = |name: &str| file[name].as_str().and_then(|a| a.parse::<SocketAddr>().ok());
            let (ingress, admin) = (address("listen")?, address("admin")?);
            let answer = client.get(format!("http://{admin}/readyz")).send().await.ok()?;
            (answer.status().is_success() || !ready).then_some((ingress, admin))
        })
        .await;
        Self { child, state, log, ingress, admin, http: client }
    }

    pub(crate) fn state(&self) -> &Path {
        &self.state
    }

    /// Everything that the process wrote so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("a log")
    }

    /// Awaits that the log says all of this: a thread of its own writes it, behind what is done.
    pub(crate) async fn says(&self, words: &[&str]) {
        until(&format!("the log says {words:?}"), async || {
            let log = self.log();
            words.iter().all(|word| log.contains(word)).then_some(())
        })
        .await;
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status().expect("kill");
        assert!(status.success());
    }

    /// kill -9, and the process is gone.
    pub(crate) fn kill9(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("gone");
    }

    /// Awaits the end of the process.
    pub(crate) async fn ended(mut self) -> ExitStatus {
        until("the daemon ends", async || self.child.try_wait().expect("waits")).await
    }

    /// Posts a signed body to the source `hook`.
    pub(crate) async fn deliver(&self, body: &Value) -> reqwest::Result<(u16, Value)> {
        self.deliver_bytes(serde_json::to_vec(body).expect("json")).await
    }

    /// Posts signed bytes to the source `hook`.
    pub(crate) async fn deliver_bytes(&self, body: Vec<u8>) -> reqwest::Result<(u16, Value)> {
        let answer = self.answer_to(body).await?;
        let status = answer.status().as_u16();
        Ok((status, answer.json().await.unwrap_or(Value::Null)))
    }

    /// Posts signed bytes to the source `hook`; the answer as it came.
    pub(crate) async fn answer_to(&self, body: Vec<u8>) -> reqwest::Result<reqwest::Response> {
        let signature = sign(&body, SECRET);
        let request = self.http.post(format!("http://{}/hooks/hook", self.ingress)).header("X-UiPath-Signature", signature);
        request.header("Content-Type", "application/json").body(body).send().await
    }

    /// What `/readyz` answers: the status, and the codes of the reasons why not.
    pub(crate) async fn readiness(&self) -> (u16, Vec<String>) {
        let answer = self.http.get(format!("http://{}/readyz", self.admin)).send().await.expect("an answer");
        let status = answer.status().as_u16();
        let answer: Value = answer.json().await.expect("json");
        let reasons = answer["reasons"].as_array().expect("reasons").iter().filter_map(|r| r["code"].as_str().map(str::to_owned));
        (status, reasons.collect())
    }

    /// Asks the admin API; the JSON of the answer.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let answer = self.http.get(format!("http://{}{path}", self.admin)).send().await.expect("an answer");
        let status = answer.status();
        let text = answer.text().await.expect("text");
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or(Value::String(text))
    }

    /// The status of an answer of the admin API.
    pub(crate) async fn status(&self, path: &str) -> u16 {
        self.http.get(format!("http://{}{path}", self.admin)).send().await.expect("an answer").status().as_u16()
    }

    /// Posts to the admin API.
    pub(crate) async fn post(&self, path: &str) -> (u16, Value) {
        let answer = self.http.post(format!("http://{}{path}", self.admin)).send().await.expect("an answer");
        (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
    }

    /// Posts JSON to the admin API.
    pub(crate) async fn post_json(&self, path: &str, body: &Value) -> (u16, Value) {
        let answer = self.http.post(format!("http://{}{path}", self.admin)).json(body).send().await.expect("an answer");
        (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
    }

    /// All items of a list of the API, oldest first, page by page.
    pub(crate) async fn list(&self, path: &str) -> Vec<Value> {
        let (mut all, mut cursor) = (Vec::new(), String::new());
        loop {
            let separator = if path.contains('?') { '&' } else { '?' };
            let page = self.get(&format!("{path}{separator}limit=1000{cursor}")).await;
            all.splice(0..0, page["items"].as_array().expect("a list").clone());
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return all,
            }
        }
    }

    /// All runs in a state.
    pub(crate) async fn runs(&self, state: &str) -> Vec<Value> {
        self.list(&format!("/api/v1/runs?state={state}")).await
    }
}
