//! Secrets stay secret, strangers' texts stay texts, files stay ours. Through the real binary.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Daemon, Endpoint, Folder, Manner, SECRET, failed_item, http, sign, start_sandbox, until};

/// Ends a line, clears the screen, colours with an 8-bit control, turns the writing direction.
const NASTY: &str = "x\r\n1970-01-01T00:00:00Z  INFO forged\u{1b}[2J\u{9b}31m\u{202e}\u{7}";

/// Whether a terminal would act on something in a text, or one of its lines was forged.
fn acts(text: &str) -> Option<String> {
    let line = text.lines().find(|line| {
        line.starts_with("1970") || line.contains(|c: char| (c.is_control() && c != '\t') || c == '\u{202e}') || line.contains('\r')
    });
    line.map(|line| format!("{line:?}"))
}

fn all(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// An item with nasty texts wherever its sender has a say.
fn nasty_item(id: u64, host: &str) -> serde_json::Value {
    let mut item = failed_item(id);
    item["QueueItem"]["Reference"] = NASTY.into();
    item["QueueItem"]["ProcessingException"]["Reason"] = NASTY.into();
    item["QueueItem"]["SpecificContent"]["Host"] = host.into();
    item["Queue"]["Name"] = format!("Invoices{NASTY}").into();
    item["EventId"] = format!("{NASTY}{id}").into();
    item
}

async fn strangers_texts_in(format: &str) {
    let peer = Endpoint::start(Manner::Answer(400, "", "no\u{1b}[2J\u{9b}31m\r\n1970 forged\u{202e}")).await;
    let folder = Folder::new("http://127.0.0.1:9");
    let config = std::fs::read_to_string(folder.path("tripline.yaml")).expect("text");
    folder.write("tripline.yaml", &config.replace("format: json", &format!("format: {format}")));
    folder.rule(
        "refused",
        &format!(
            "rule: refused\nevents: \"*\"\nsteps:\n  - http: {{method: POST, url: \"http://{}/x\", body: \"${{event.type}}\"}}\n",
            peer.address
        ),
    );
    folder.rule(
        "anywhere",
        "rule: anywhere\nevents: \"*\"\nretry: {attempts: 1}\nsteps:\n  - http: {method: POST, url: \"http://${content.Host}/\", headers: {X-Ref: \"${item.Reference}\"}}\n",
    );
    let daemon = Daemon::start(&folder).await;
    let mut tail =
        folder.command(&["events", "tail", "--after", "00000000000000000000000000"]).stdout(Stdio::piped()).spawn().expect("starts");
    let mut tailed = tail.stdout.take().expect("stdout");
    // Texts in the head of a request: a path with escapes, bytes that are no ASCII, an origin.
    for head in [
        b"POST /hooks/%1b[2J%0d%0aforged HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n".as_slice(),
        b"POST /hooks/hook HTTP/1.1\r\nHost: a\r\nX-UiPath-Signature: \xc2\x9b31m\r\nContent-Length: 0\r\n\r\n",
        b"POST /hooks/\xc2\x9b31m HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        b"POST /hooks/hook HTTP/1.1\r\nHost: a\r\nUser-Agent: \xc2\x9b31m\r\nX-Forwarded-For: \xc2\x9b\r\nContent-Length: 0\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(daemon.ingress).await.expect("connects");
        stream.write_all(head).await.expect("written");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("an answer");
        assert!(answer.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&answer));
        assert_eq!(acts(&String::from_utf8_lossy(&answer).replace("\r\n", "\n")), None);
    }
    let mut typed = nasty_item(1, "127.0.0.1:9");
    typed["Type"] = format!("acme.{NASTY}").into();
    let mut ids = Vec::new();
    for body in [typed, nasty_item(2, &format!("no{NASTY}.test")), json!({"Type": NASTY, "EventId": NASTY})] {
        let (status, answer) = daemon.deliver(&body).await.expect("an answer");
        assert_eq!(status, 202, "{answer}");
        assert_eq!(acts(&answer.to_string()), None);
        ids.push(answer["events"][0].as_str().expect("an id").to_owned());
    }
    until("every run is over", async || {
        let runs = daemon.list("/api/v1/runs").await;
        (runs.len() == 6 && runs.iter().all(|run| run["state"] == "dead")).then_some(())
    })
    .await;
    let mut seen = Vec::new();
    let mut outputs = |arguments: &[&str]| {
        let output = folder.output(arguments);
        seen.push((arguments.join(" "), all(&output)));
    };
    for more in [&[][..], &["--json"]] {
        for command in [&["events", "list"][..], &["runs", "list"], &["runs", "list", "--by", "cause"], &["check"], &["test"]] {
            if command != ["runs", "list", "--by", "cause"] || more.is_empty() {
                outputs(&[command, more].concat());
            }
        }
        for id in &ids {
            outputs(&[&["events", "show", id][..], more].concat());
        }
        for run in daemon.list("/api/v1/runs").await {
            outputs(&[&["runs", "show", run["id"].as_str().expect("an id")][..], more].concat());
        }
        folder.write("event.json", &nasty_item(3, NASTY).to_string());
        outputs(&[&["explain", "event.json"][..], more].concat());
    }
    let lines = tokio::task::spawn_blocking(move || {
        let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
        while text.iter().filter(|b| **b == b'\n').count() < 3 {
            let read = std::io::Read::read(&mut tailed, &mut buffer).expect("read");
            assert!(read > 0, "it ended: {}", String::from_utf8_lossy(&text));
            text.extend_from_slice(&buffer[..read]);
        }
        String::from_utf8_lossy(&text).into_owned()
    });
    seen.push(("events tail".to_owned(), lines.await.expect("read")));
    tail.kill().expect("killed");
    tail.wait().expect("gone");
    seen.push(("metrics".to_owned(), daemon.get("/metrics").await.as_str().expect("text").to_owned()));
    daemon.signal("TERM");
    let log = folder.path("daemon.log");
    assert!(daemon.ended().await.success());
    let log = std::fs::read_to_string(log).expect("a log");
    assert!(log.contains("delivery refused") && log.contains("a run is over"), "{log}");
    seen.push((format!("the log as {format}"), log));
    for (what, text) in seen {
        assert!(!text.is_empty(), "{what} says nothing");
        assert_eq!(acts(&text), None, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_texts_end_no_line_and_reach_no_terminal_from_a_log_of_json() {
    strangers_texts_in("json").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_texts_end_no_line_and_reach_no_terminal_from_a_log_of_text() {
    strangers_texts_in("text").await;
}

#[test]
fn names_in_files_reach_no_terminal_either() {
    let folder = Folder::new("http://127.0.0.1:9");
    folder.rule("nasty", "rule: \"a\\e[2Jb\\r\\n1970\\u009b\\u202e\"\nevents: \"x\\e[2J\\u202e\"\nsteps: [{emit: {type: \"\\e[31m\", data: {}}}]\ntests:\n  - name: \"t\\e[2J\\n1970\"\n    event: {type: \"x\\e\", data: {}}\n    expect: {matched: false}\n");
    folder.write("rules/\u{1b}[2J\u{202e}.yaml", "rule: fine\nevents: ping\nstep: []\n");
    for arguments in [&["check"][..], &["check", "--json"], &["test"], &["test", "--json"], &["run"]] {
        let output = folder.output(arguments);
        let text = all(&output);
        assert!(!output.status.success() && !text.is_empty(), "{arguments:?}: {text}");
        assert_eq!(acts(&text), None, "{arguments:?}");
    }
}

/// Every file below a folder, folders included.
fn below(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = vec![folder.to_owned()];
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { found.extend(below(&path)) } else { found.push(path) }
    }
    found
}

#[tokio::test]
async fn the_state_is_for_its_owner_whatever_the_umask() {
    let folder = Folder::new("http://127.0.0.1:9");
    let config = std::fs::read_to_string(folder.path("tripline.yaml")).expect("text");
    folder.write("tripline.yaml", &config.replace("admin: 127.0.0.1:0", "admin: unix:admin.sock"));
    folder.rule("say", "rule: say\nevents: ping\nsteps: [{emit: {type: acme.pinged, data: {}}}]\n");
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "umask 000; exec \"$0\" run -c tripline.yaml", env!("CARGO_BIN_EXE_tripline")]);
    shell.current_dir(folder.path(".")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = shell.spawn().expect("starts");
    let file = until("the daemon is there", async || {
        let file: serde_json::Value = serde_json::from_slice(&std::fs::read(folder.state().join("daemon.json")).ok()?).ok()?;
        folder.output(&["healthcheck", "--admin", "unix:admin.sock"]).status.success().then_some(file)
    })
    .await;
    let body = json!({"Type": "ping", "EventId": "p"}).to_string();
    let url = format!("http://{}/hooks/hook", file["listen"].as_str().expect("an address"));
    let answer = http().post(url).header("X-UiPath-Signature", sign(body.as_bytes(), SECRET)).body(body).send().await;
    assert_eq!(answer.expect("an answer").status(), 202);
    let paths = below(&folder.state());
    assert!(paths.len() > 5, "{paths:?}");
    for path in paths {
        let mode = std::fs::metadata(&path).expect("a file").permissions().mode() & 0o777;
        let wanted = if path.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode, wanted, "{} is {mode:o}", path.display());
    }
    let socket = std::fs::metadata(folder.path("admin.sock")).expect("a socket").permissions().mode() & 0o777;
    assert_eq!(socket, 0o660, "the admin socket is {socket:o}");
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs").success());
    assert!(child.wait().expect("gone").success());
    assert!(!folder.path("admin.sock").exists(), "the socket's file goes with the daemon");
}

#[tokio::test]
async fn pages_in_a_browser_cannot_use_the_admin_listener() {
    let folder = Folder::new("http://127.0.0.1:9");
    let daemon = Daemon::start(&folder).await;
    let port = daemon.admin.port();
    let own = format!("http://127.0.0.1:{port}");
    // Method, path, Host, Origin, expected.
    let table = [
        ("GET", "/api/v1/events", "127.0.0.1", None, 200),
        ("GET", "/api/v1/events", "localhost", None, 200),
        ("GET", "/api/v1/events", "rebound.example", None, 421),
        ("GET", "/metrics", "rebound.example", None, 421),
        ("GET", "/livez", "127.0.0.1@rebound.example", None, 421),
        ("GET", "/api/v1/events", "127.0.0.1", Some("https://page.example"), 403),
        ("GET", "/api/v1/events", "127.0.0.1", Some("null"), 403),
        ("POST", "/api/v1/reload", "127.0.0.1", Some("https://page.example"), 403),
        ("POST", "/api/v1/reload", "rebound.example", Some("http://rebound.example"), 421),
        ("GET", "/api/v1/events?token=x", "127.0.0.1", None, 400),
        ("POST", "/api/v1/reload", "127.0.0.1", None, 200),
    ];
    for (method, path, host, origin, expected) in table {
        let origin = origin.map_or_else(String::new, |origin| format!("Origin: {origin}\r\n"));
        let request = format!("{method} {path} HTTP/1.1\r\nHost: {host}:{port}\r\n{origin}Content-Length: 0\r\nConnection: close\r\n\r\n");
        let mut stream = TcpStream::connect(daemon.admin).await.expect("connects");
        stream.write_all(request.as_bytes()).await.expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected} ")), "{request}{answer}");
        assert!(!answer.to_ascii_lowercase().contains("access-control-allow"), "{answer}");
    }
    let own_page = http().post(format!("{own}/api/v1/reload")).header("Origin", &own).send().await.expect("an answer");
    assert_eq!(own_page.status(), 200);
    let long = http().post(format!("{own}/api/v1/reload")).body(vec![b'x'; 10 << 20]).send().await.expect("an answer");
    assert_eq!(long.status(), 413);
}

#[tokio::test]
async fn no_secret_is_in_anything_that_any_command_or_file_says() {
    let sandbox = start_sandbox().await;
    let folder = Folder::new(&sandbox.url);
    folder.write("admin-token", "canary-admin-token-0123456789abcdef\n");
    folder.write("old-secret", "canary-old-secret-0123456789abcdef\n");
    std::fs::set_permissions(folder.path("admin-token"), std::fs::Permissions::from_mode(0o600)).expect("its mode");
    let config = std::fs::read_to_string(folder.path("tripline.yaml")).expect("text");
    let two = format!("secrets: [\"{SECRET}\", {{file: old-secret}}, {{env: CANARY}}]");
    folder.write(
        "tripline.yaml",
        &format!("admin_token: {{file: admin-token}}\n{}", config.replace(&format!("secrets: [\"{SECRET}\"]"), &two))
            .replace("level: debug", "level: trace"),
    );
    folder.rule(
        "follow-up",
        "rule: follow-up\nevents: queueItem.transactionFailed\nsteps:\n  - enqueue: {queue: Invoices-Review, reference: \"r-${item.Reference}\", content: {A: 1}}\n  - http: {method: POST, url: \"http://127.0.0.1:9/x?key=hidden-in-query\", headers: {Authorization: Bearer secretive}, body: {}}\nretry: {attempts: 1}\ntests:\n  - name: t\n    event: {type: queueItem.transactionFailed, data: {QueueItem: {Reference: A}}}\n    expect: [{enqueue: {queue: Invoices-Review}}, {http: {method: POST}}]\n",
    );
    let with_env = |arguments: &[&str]| {
        let mut command = folder.command(arguments);
        command.env("CANARY", "canary-from-the-environment-0123").env("TRIPLINE_ADMIN_TOKEN", "canary-admin-token-0123456789abcdef");
        command.output().expect("runs")
    };
    // Refused first: a secret that is not there, then a state that cannot be.
    let mut seen = vec![("run without a secret".to_owned(), all(&folder.output(&["run", "-vv"])))];
    let daemon = Daemon::start_in(&folder, "env", &["CANARY=canary-from-the-environment-0123"]).await;
    let (_, answer) = daemon.deliver(&failed_item(1)).await.expect("an answer");
    let event = answer["events"][0].as_str().expect("an id").to_owned();
    for secret in ["canary-old-secret-0123456789abcdef", "canary-from-the-environment-0123"] {
        let body = json!({"Type": "ping", "EventId": secret.len()}).to_string();
        let request = http()
            .post(format!("http://{}/hooks/hook?token=canary-in-query", daemon.ingress))
            .header("Authorization", "Bearer canary-sent");
        let answer = request.header("X-UiPath-Signature", sign(body.as_bytes(), secret)).body(body).send().await;
        assert_eq!(answer.expect("an answer").status(), 202);
    }
    let bad = http()
        .post(format!("http://{}/hooks/hook?x=canary-q", daemon.ingress))
        .header("X-UiPath-Signature", "canary-signature")
        .body("canary-body");
    assert_eq!(bad.send().await.expect("an answer").status(), 401);
    let run = until("a run is over", async || {
        daemon.list("/api/v1/runs").await.into_iter().find(|run| run["state"] == "dead" || run["state"] == "retrying")
    })
    .await;
    let run = run["id"].as_str().expect("an id").to_owned();
    for token in ["canary-wrong-token", "canary-admin-token-0123456789abcdef"] {
        let answer =
            http().get(format!("http://{}/api/v1/events?x=canary-q", daemon.admin)).bearer_auth(token).send().await.expect("an answer");
        seen.push((format!("the API's answer to a token, {}", answer.status()), answer.text().await.expect("text")));
    }
    folder.write("event.json", &failed_item(7).to_string());
    daemon.signal("HUP");
    until("the reload is logged", async || daemon.log().contains("reloaded").then_some(())).await;
    for arguments in [
        &["check"][..],
        &["check", "--json", "-vv"],
        &["test"],
        &["test", "--json"],
        &["explain", "event.json"],
        &["explain", "event.json", "--json"],
        &["events", "list"],
        &["events", "list", "--json"],
        &["events", "show", &event],
        &["runs", "list", "--json"],
        &["runs", "show", &run],
        &["runs", "show", &run, "--json"],
        &["runs", "retry", &run],
        &["send", "--type", "queueItem.added", "-vv"],
        &["healthcheck", "-vv"],
        &["schema", "config"],
        &["schema", "rule"],
        &["connector", "list"],
        &["state", "check"],
        &["--version"],
        &["--help"],
        &["completions", "bash"],
    ] {
        seen.push((arguments.join(" "), all(&with_env(arguments))));
    }
    for path in ["/metrics", "/readyz", "/livez", "/nowhere"] {
        let answer = http().get(format!("http://{}{path}", daemon.admin)).send().await.expect("an answer");
        seen.push((path.to_owned(), format!("{:?}{}", answer.headers().clone(), answer.text().await.expect("text"))));
    }
    seen.push(("daemon.json".to_owned(), std::fs::read_to_string(folder.state().join("daemon.json")).expect("text")));
    let arguments = std::fs::read(format!("/proc/{}/cmdline", daemon.pid())).expect("arguments");
    seen.push(("the arguments of the process".to_owned(), String::from_utf8_lossy(&arguments).into_owned()));
    seen.push(("the log".to_owned(), daemon.log()));
    daemon.signal("TERM");
    assert!(daemon.ended().await.success());
    // And with no daemon: the files themselves, and what is read out of them.
    for arguments in
        [&["events", "list", "--json"][..], &["events", "show", &event], &["runs", "show", &run, "--json"], &["state", "export"]]
    {
        seen.push((format!("{} without a daemon", arguments.join(" ")), all(&with_env(arguments))));
    }
    for path in below(&folder.state()) {
        if path.is_file() {
            let bytes = std::fs::read(&path).expect("bytes");
            seen.push((path.display().to_string(), String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
    for (what, text) in seen {
        for word in ["canary", "secretive", "hidden-in-query"] {
            // A rule's own text is kept as its author wrote it, with what he wrote into its URLs.
            if word != "canary" && (what.contains("/journal/") || what.contains("/checkpoints/") || what.starts_with("state export")) {
                continue;
            }
            if let Some(at) = text.find(word) {
                let from = text[..at].char_indices().rev().nth(60).map_or(0, |(at, _)| at);
                panic!("`{word}` in {what}: {}", text[from..].chars().take(160).collect::<String>());
            }
        }
    }
}
