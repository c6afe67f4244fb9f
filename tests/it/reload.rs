//! Rule files change under the daemon in every way that editors, people and Kubernetes change them. The real binary.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::support::{Daemon, Endpoint, Folder, Manner, failed_item, until, until_within};

/// One way in which a text comes into its file.
type Way<'a> = &'a dyn Fn(&str);

/// A rule with a mark by which its generation is told.
fn rule(mark: &str) -> String {
    format!("rule: watched\ndescription: {mark}\nevents: job.faulted\nsteps: [{{emit: {{type: acme.seen}}}}]\n")
}

/// Awaits that the rule in force has this mark; its generation.
async fn in_force(daemon: &Daemon, mark: &str) -> u64 {
    until(&format!("`{mark}` is in force"), async || {
        let rules = daemon.get("/api/v1/rules").await;
        (rules["items"][0]["description"] == mark).then(|| rules["generation"].as_u64().expect("a number"))
    })
    .await
}

#[tokio::test]
async fn rule_files_are_followed_however_they_change() {
    let folder = Folder::new("http://127.0.0.1:9");
    folder.rule("watched", &rule("start"));
    let daemon = Daemon::start(&folder).await;
    let mut generation = in_force(&daemon, "start").await;
    let path = |name: &str| folder.path(name);
    let ways: [(&str, Way<'_>); 6] = [
        ("written in place", &|text| folder.rule("watched", text)),
        ("another file takes the name", &|text| {
            folder.write("rules/.watched.yaml.swp", text);
            std::fs::rename(path("rules/.watched.yaml.swp"), path("rules/watched.yaml")).expect("renamed");
        }),
        ("the old one is moved aside, a new one written", &|text| {
            std::fs::rename(path("rules/watched.yaml"), path("rules/watched.yaml~")).expect("renamed");
            folder.rule("watched", text);
            std::fs::remove_file(path("rules/watched.yaml~")).expect("removed");
        }),
        ("gone and back", &|text| {
            std::fs::remove_file(path("rules/watched.yaml")).expect("removed");
            folder.rule("watched", text);
        }),
        ("the folder is replaced", &|text| {
            std::fs::create_dir(path("rules.new")).expect("a folder");
            folder.write("rules.new/watched.yaml", text);
            std::fs::rename(path("rules"), path("rules.old")).expect("renamed");
            std::fs::rename(path("rules.new"), path("rules")).expect("renamed");
            std::fs::remove_dir_all(path("rules.old")).expect("removed");
        }),
        ("the file becomes a link", &|text| {
            folder.write("elsewhere.yaml", text);
            std::fs::remove_file(path("rules/watched.yaml")).expect("removed");
            symlink(path("elsewhere.yaml"), path("rules/watched.yaml")).expect("linked");
        }),
    ];
    for (way, change) in ways {
        change(&rule(way));
        let next = in_force(&daemon, way).await;
        assert_eq!(next, generation + 1, "{way}");
        generation = next;
    }
}

/// As Kubernetes mounts a ConfigMap: files are links through `..data`, which is swapped to a new folder.
fn mount(rules: &Path, number: u32, text: &str) {
    let folder = format!("..2026_{number}");
    std::fs::create_dir(rules.join(&folder)).expect("a folder");
    std::fs::write(rules.join(&folder).join("watched.yaml"), text).expect("written");
    symlink(&folder, rules.join("..data_tmp")).expect("linked");
    std::fs::rename(rules.join("..data_tmp"), rules.join("..data")).expect("swapped");
    if number == 1 {
        symlink("..data/watched.yaml", rules.join("watched.yaml")).expect("linked");
    } else {
        std::fs::remove_dir_all(rules.join(format!("..2026_{}", number - 1))).expect("removed");
    }
}

#[tokio::test]
async fn a_config_map_is_followed_and_a_broken_one_is_refused_and_shown() {
    let folder = Folder::new("http://127.0.0.1:9");
    let rules = folder.path("rules");
    mount(&rules, 1, &rule("first"));
    let daemon = Daemon::start(&folder).await;
    assert_eq!(in_force(&daemon, "first").await, 1);
    mount(&rules, 2, &rule("second"));
    assert_eq!(in_force(&daemon, "second").await, 2);

    // A fault: the last good set stays, and the log, the API, readiness and a metric say so.
    mount(&rules, 3, "rule: watched\nevnts: job.faulted\nsteps: []\n");
    let refused = until("the fault is shown", async || {
        let rules = daemon.get("/api/v1/rules").await;
        (!rules["refused"].is_null()).then_some(rules)
    })
    .await;
    assert_eq!((&refused["generation"], &refused["items"][0]["description"]), (&json!(2), &json!("second")));
    assert!(refused["refused"]["faults"].to_string().contains("evnts"), "{refused}");
    let ready = daemon.get("/readyz").await;
    assert_eq!((&ready["ready"], &ready["notes"][0]["code"]), (&json!(true), &json!("reload-refused")), "{ready}");
    assert!(!ready.to_string().contains("evnts"), "whoever may not ask for the rules is not told of them");
    let metric =
        async |value: &str| daemon.get("/metrics").await.as_str().expect("text").contains(&format!("tripline_reload_refused {value}"));
    assert!(metric("1").await);
    daemon.says(&["reload refused"]).await;

    // The rules vanish: the set in force stays as well. They come back: all is well.
    std::fs::rename(&rules, folder.path("aside")).expect("renamed");
    until("that is refused too", async || {
        daemon.get("/api/v1/rules").await["refused"]["faults"].to_string().contains("rules-missing").then_some(())
    })
    .await;
    assert_eq!(in_force(&daemon, "second").await, 2);
    std::fs::rename(folder.path("aside"), &rules).expect("renamed");
    mount(&rules, 4, &rule("fourth"));
    assert_eq!(in_force(&daemon, "fourth").await, 3);
    let rules = daemon.get("/api/v1/rules").await;
    assert!(rules["refused"].is_null() && metric("0").await, "{rules}");
    assert!(daemon.get("/readyz").await["notes"].is_null());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_that_wait_end_with_the_rule_they_began_with_whatever_becomes_of_its_file() {
    let target = Endpoint::start(Manner::Answer(503, "", "")).await;
    let folder = Folder::new("http://127.0.0.1:9");
    let text = |rule: &str, says: &str| {
        format!(
            "rule: {rule}\nevents: queueItem.transactionFailed\nretry: {{first_wait: 100ms, max_wait: 300ms}}\nsteps:\n  - http: {{method: POST, url: \"http://{}/x\", body: {{{says}: \"${{item.Id}}\"}}}}\n",
            target.address
        )
    };
    for rule in ["changed", "removed", "renamed", "switched-off"] {
        folder.rule(rule, &text(rule, &format!("old-{rule}")));
    }
    let mut daemon = Daemon::start(&folder).await;
    assert_eq!(daemon.deliver(&failed_item(1)).await.expect("an answer").0, 202);
    until("all were tried", async || {
        let runs = daemon.list("/api/v1/runs").await;
        (runs.len() == 4 && runs.iter().all(|run| run["attempts"].as_u64() > Some(0))).then_some(())
    })
    .await;
    // Other steps as well: what the run did so far must not be taken for them.
    folder.rule("changed", &text("changed", "new-changed").replace("steps:\n", "steps:\n  - emit: {type: was.new}\n"));
    std::fs::remove_file(folder.path("rules/removed.yaml")).expect("removed");
    folder.rule("renamed", &text("other-name", "new-renamed"));
    folder.rule("switched-off", &text("switched-off", "new-off").replace("steps:", "mode: off\nsteps:"));
    until("the new rules are in force", async || daemon.get("/api/v1/rules").await.to_string().contains("other-name").then_some(())).await;
    assert_eq!(daemon.deliver(&failed_item(2)).await.expect("an answer").0, 202);
    until("they are planned", async || (daemon.list("/api/v1/runs").await.len() == 6).then_some(())).await;
    daemon.kill9();
    daemon = Daemon::start(&folder).await;
    target.now(Manner::Answer(200, "", ""));
    // The breaker may have opened several times meanwhile.
    until_within(Duration::from_secs(120), "all succeed", async || (daemon.runs("succeeded").await.len() == 6).then_some(())).await;
    let bodies: Vec<_> = target.answered().into_keys().collect();
    let expected = ["new-changed\":2", "new-renamed\":2", "old-changed\":1", "old-removed\":1", "old-renamed\":1", "old-switched-off\":1"];
    assert_eq!(bodies, expected.map(|body| format!("{{\"{body}}}")));
    let generations: Vec<_> = daemon.list("/api/v1/runs?rule=changed").await.iter().map(|run| run["generation"].clone()).collect();
    assert!(generations[0] != generations[1] && daemon.list("/api/v1/runs?rule=removed").await.len() == 1, "{generations:?}");
}
