//! `backtest`: changed rules over the journal's events, against what ran and against the rules of today. The real binary.

use serde_json::{Value, json};

use crate::support::{Daemon, Folder, failed_item, start_sandbox, until};

const RULES: &str = "\
rule: follow-up
events: queueItem.transactionFailed
steps:
  - id: item
    enqueue: {queue: Invoices-Review, reference: \"r-${item.Reference}\", defer: 10m}
  - http: {method: POST, url: 'http://127.0.0.1:9/x', body: {id: '${steps.item.Id}'}}
    if: \"false\"
---
rule: gone
events: queueItem.transactionFailed
when: item.Id < 3
steps: [{emit: {type: acme.seen}}]
";

fn lines(output: &std::process::Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

#[tokio::test]
async fn changed_rules_are_compared_with_what_ran() {
    const EVENTS: u64 = 6;
    let sandbox = start_sandbox().await;
    let folder = Folder::new(&sandbox.url);
    folder.rule("rules", RULES);
    let daemon = Daemon::start(&folder).await;
    for number in 1..=EVENTS {
        daemon.deliver(&failed_item(number)).await.expect("an answer");
    }
    until("all is planned", async || Some(daemon.list("/api/v1/runs").await).filter(|runs| runs.len() as u64 == EVENTS + 2)).await;

    // The same rules do the same, while the daemon runs and after it was killed.
    let same = |folder: &Folder| {
        let output = folder.output(&["backtest", "--json", "--expect-same"]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let summary = lines(&output).pop().expect("a summary");
        // Rules emit events of their own: two of them.
        assert_eq!((&summary["events"], &summary["differences"]), (&json!(EVENTS + 2), &json!(0)), "{summary}");
        assert_eq!(summary["rules"]["follow-up"]["same"], EVENTS);
    };
    same(&folder);
    daemon.kill9();
    same(&folder);

    // Others: one step differs, one rule is narrower, one is new.
    let changed = RULES.replace("r-${", "x-${").replace("item.Id < 3", "item.Id < 2")
        + "---\nrule: new\nevents: queueItem.transactionFailed\ndedupe: {key: all, window: 1h}\nsteps: [{emit: {type: acme.new}}]\n";
    std::fs::create_dir(folder.path("next")).expect("a folder");
    folder.write("next/rules.yaml", &changed);
    for against in [None, Some("--against-current")] {
        let arguments: Vec<&str> = ["backtest", "--json", "--expect-same", "next"].into_iter().chain(against).collect();
        let output = folder.output(&arguments);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let mut found = lines(&output);
        let summary = found.pop().expect("a summary");
        let counts = |rule: &str| {
            let of = &summary["rules"][rule];
            ["added", "dropped", "changed", "same"].map(|name| of[name].as_u64().expect("a count"))
        };
        assert_eq!(counts("follow-up"), [0, 0, EVENTS, 0], "{summary}");
        assert_eq!(counts("gone"), [0, 1, 0, 1], "{summary}");
        assert_eq!(counts("new"), [1, 0, 0, 0], "the others come within the window: {summary}");
        let dropped = found.iter().find(|line| line["change"] == "dropped").expect("one");
        assert_eq!((&dropped["rule"], &dropped["because"]["path"]), (&json!("gone"), &json!("when")));
        let changed = found.iter().find(|line| line["change"] == "changed").expect("one");
        assert_eq!(changed["before"]["steps"][0]["enqueue"]["reference"], "r-INV-1");
        assert_eq!(changed["after"]["steps"][0]["enqueue"]["reference"], "x-INV-1");
    }

    // For people; nothing of the future is in the past; a rule that does not compile is refused.
    let text = String::from_utf8(folder.output(&["backtest", "next"]).stdout).expect("text");
    assert!(text.contains("changed  follow-up") && text.contains("8 events, 8 differences"), "{text}");
    let none = folder.output(&["backtest", "--json", "--since", "2099-01-01", "next"]);
    assert_eq!(lines(&none), [json!({"events": 0, "differences": 0, "rules": {}})]);
    folder.write("next/rules.yaml", "rule: x\nevnts: a\n");
    assert_eq!(folder.output(&["backtest", "next"]).status.code(), Some(1));
    assert_eq!(folder.output(&["backtest", "nowhere"]).status.code(), Some(2), "it cannot be read");
}
