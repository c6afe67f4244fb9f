//! `tripline check --online` against the sandbox: what is well, and each thing that is not.

use serde_json::{Value, json};
use tripline::sandbox::Options;

use crate::support::{Folder, Sandbox, start_sandbox, start_sandbox_as};

/// Runs a command; the sandbox goes on meanwhile.
async fn output(folder: &Folder, arguments: &[&str]) -> std::process::Output {
    tokio::process::Command::from(folder.command(arguments)).output().await.expect("runs")
}

/// Exit code, and the faults by code and message.
async fn faults(folder: &Folder) -> (i32, Vec<(String, String)>) {
    let output = output(folder, &["check", "--online", "--json", "-c", "tripline.yaml"]).await;
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let text = |fault: &Value, name: &str| fault[name].as_str().unwrap_or_default().to_owned();
    let found = answer["faults"].as_array().expect("a list").iter().filter(|fault| text(fault, "code").starts_with("online"));
    (
        output.status.code().expect("a code"),
        found.map(|fault| (text(fault, "code"), text(fault, "message") + &text(fault, "help"))).collect(),
    )
}

/// A folder whose rules and sources name what the sandbox has, but for what `replace` says.
fn folder(sandbox: &Sandbox, replace: &[(&str, &str)]) -> Folder {
    let folder = Folder::new(&sandbox.url);
    let config = std::fs::read_to_string(folder.path("tripline.yaml")).expect("text");
    let poll = "  queues:\n    poll: {orchestrator: prod, kind: queue_items, queues: [Invoices], reconciles: hook}\n";
    let mut config = format!("public_url: https://hooks.example.com\n{config}{poll}");
    let mut rule =
        "rule: r\nevents: queueItem.added\nsteps:\n  - enqueue: {queue: Invoices-Review}\n  - start_job: {process: InvoiceProcessing}\n"
            .to_owned();
    for (from, to) in replace {
        (config, rule) = (config.replace(from, to), rule.replace(from, to));
    }
    folder.write("tripline.yaml", &config);
    folder.rule("r", &rule);
    folder
}

fn has(faults: &[(String, String)], code: &str, words: &[&str]) -> bool {
    faults.iter().any(|(own, message)| own == code && words.iter().all(|word| message.contains(word)))
}

#[tokio::test]
async fn what_orchestrator_has_is_well_and_what_it_lacks_is_named() {
    let sandbox = start_sandbox().await;
    let whole = folder(&sandbox, &[]);
    let (code, found) = faults(&whole).await;
    assert!(code == 1 && found.len() == 1 && has(&found, "online-webhook", &["hook", "webhooks apply"]), "{found:?}");
    assert_eq!(output(&whole, &["webhooks", "apply"]).await.status.code(), Some(0));
    assert_eq!(faults(&whole).await, (0, vec![]));
    let said = output(&whole, &["check", "--online"]).await;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    for word in ["the token is accepted", "API version 20", "change feed of folder `Finance`", "webhook `hook` is as it should be"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    for (from, to, code, words) in [
        ("folder: Finance", "folder: Finanze", "online-folder", &["Finanze", "did you mean `Finance`"][..]),
        ("queues: [Invoices]", "queues: [Invoces]", "online-queue", &["Invoces", "did you mean `Invoices`"]),
        (
            "queue: Invoices-Review}",
            "queue: Invoice-Review, folder: Finance}",
            "online-queue",
            &["Invoice-Review", "did you mean `Invoices-Review`"],
        ),
        ("queue: Invoices-Review}", "queue: Open}", "online-references", &["`Open`", "unique references"]),
        (
            "process: InvoiceProcessing",
            "process: InvoicProcessing",
            "online-folder",
            &["InvoicProcessing", "did you mean `InvoiceProcessing`"],
        ),
        ("queueItem.added", "[queueItem.added, task.updated]", "online-events", &["task.updated", "does not offer"]),
        ("rt_canary-orchestrator-token", "no-token-of-the-sandbox", "online-auth", &["401"]),
    ] {
        let (_, found) = faults(&folder(&sandbox, &[(from, to)])).await;
        assert!(has(&found, code, words), "{to}: {found:?}");
    }
    // A folder that cannot be seen is not asked for what is in it.
    let (_, found) = faults(&folder(&sandbox, &[("folder: Finance", "folder: Finanze")])).await;
    assert!(found.iter().all(|(code, _)| code == "online-folder" || code == "online-webhook"), "{found:?}");
    // Forbidden things name the permission; the rest is looked at all the same.
    for (path, words) in
        [("QueueItemEvents", &["OR.Queues", "Transactions.View"][..]), ("Webhooks", &["OR.Webhooks"]), ("Folders", &["OR.Folders"])]
    {
        sandbox.fault(json!({"kind": "403", "match": {"path": path}, "times": 0})).await;
        let (_, found) = faults(&whole).await;
        assert!(
            found.len() == 1 && found[0].1.contains(words[0]) && words.iter().all(|word| found[0].1.contains(word)),
            "{path}: {found:?}"
        );
        sandbox.clear_faults().await;
    }
}

#[tokio::test]
async fn all_folders_are_looked_at_and_each_that_is_not_well_is_named() {
    let sandbox = start_sandbox().await;
    let (_, audit) = sandbox.post("/sandbox/folders", &json!({"path": "Finance/Audit"})).await;
    let audit = audit["id"].as_i64().expect("an id");
    for kind in ["queue_items", "jobs"] {
        let all = folder(
            &sandbox,
            &[("kind: queue_items, queues: [Invoices]", &format!("kind: {kind}, folders: all")), ("webhook:", "webhook:")],
        );
        assert_eq!(output(&all, &["webhooks", "apply"]).await.status.code(), Some(0));
        assert_eq!(faults(&all).await, (0, vec![]), "{kind}");
        let said = output(&all, &["check", "--online"]).await;
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(said.contains("of 3 folders can be read"), "{kind}: {said}");
        // One folder may not be read, by its Id as the look asks for it.
        let path = if kind == "jobs" { "Jobs" } else { "QueueItemEvents" };
        sandbox.fault(json!({"kind": "403", "match": {"path": path}, "times": 1, "after": 2})).await;
        let (code, found) = faults(&all).await;
        assert!(code == 1 && found.len() == 1 && has(&found, "online-refused", &[&audit.to_string(), "403"]), "{kind}: {found:?}");
        sandbox.clear_faults().await;
    }
    let named = folder(&sandbox, &[("queues: [Invoices]", "queues: [Invoices, Invoizes], folders: all")]);
    let (code, found) = faults(&named).await;
    assert!(code == 1 && has(&found, "online-queue", &["Invoizes", "none of its folders", "did you mean `Invoices`"]), "{found:?}");
    // Without the list of folders there is nothing to be asked, and that is the fault.
    sandbox.fault(json!({"kind": "403", "match": {"path": "Folders"}, "times": 0})).await;
    let (code, found) = faults(&named).await;
    assert!(code == 1 && found.len() == 1 && has(&found, "online-refused", &["OR.Folders"]), "{found:?}");
}

#[tokio::test]
async fn nobody_there_is_not_told_apart_from_well_and_clocks_are_compared() {
    let sandbox = start_sandbox_as(Options::default()).await;
    let gone = folder(&sandbox, &[(&sandbox.url, "http://127.0.0.1:9")]);
    let (code, found) = faults(&gone).await;
    assert!(code == 2 && has(&found, "online-unreachable", &["127.0.0.1:9"]), "{found:?}");
    // An orchestrator whose clock stands.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("an address");
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0_u8; 4096];
            drop(stream.read(&mut head).await);
            let answer = "HTTP/1.1 200 OK\r\nDate: Sun, 22 Nov 2020 10:00:00 GMT\r\nContent-Type: application/json\r\nContent-Length: 12\r\nConnection: close\r\n\r\n{\"value\":[]}";
            drop(stream.write_all(answer.as_bytes()).await);
        }
    });
    let slow = folder(&sandbox, &[(&sandbox.url, &format!("http://{address}"))]);
    let (_, found) = faults(&slow).await;
    assert!(has(&found, "online-clock", &["behind", "NTP"]) && has(&found, "online-version", &[]), "{found:?}");
}
