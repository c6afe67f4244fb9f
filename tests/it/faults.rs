//! What targets and the machine do to runs, and what a run becomes of it.
//!
//! The table says which test shows what; [`the_tests_that_the_table_names_are_there`] reads it.
//!
//! | what happens | shown by |
//! |---|---|
//! | a 401, then well with a fresh token | `orchestrator::a_401_is_answered_with_one_new_token`, `calls::a_401_renews_the_token_once_and_only_once` |
//! | a 401 also with a fresh token | `orchestrator::a_second_401_is_the_end`, `runs::configuration_and_authentication_open_it_at_once_for_a_minute` |
//! | the token endpoint refuses, fails, shows a page, is slow | `orchestrator::an_endpoint_that_gives_no_token_says_why_and_hides_the_secret`, `orchestrator::a_token_endpoint_in_trouble_leaves_no_outcome_unknown` |
//! | a token that lives no time, less, or for ever | `http::a_token_is_used_for_a_time_that_makes_sense` |
//! | 403, an unknown queue, an unknown folder | `orchestrator::every_refusal_has_its_class`, `dispatch::a_configuration_refusal_opens_the_breaker_and_runs_wait`, `it::ops::an_open_breaker_is_seen_and_survives_a_kill` |
//! | a page in place of an answer | `orchestrator::pages_are_told_from_answers` |
//! | the item is there already | `dispatch::an_item_that_is_there_already_is_success_unless_the_step_minds_somebody_elses` |
//! | somebody else is at work on it (409) | `runs::conflicts_are_tried_again_five_times` |
//! | 400, 410, 422 | `it::faults::whatever_a_target_does_its_run_tells_it_and_ends_as_it_should` |
//! | 429 with seconds, a date, nonsense, absurd values, for an hour | `http::retry_after_in_every_spelling`, `dispatch::an_hour_of_429_is_waited_out_whatever_its_retry_after_says` |
//! | 429, and a kill while it holds the target | `it::faults::a_target_that_asks_for_silence_has_it_also_over_a_kill` |
//! | a write without an answer, on a queue with unique references | `dispatch::an_unknown_outcome_on_a_queue_with_unique_references_is_simply_repeated` |
//! | a success that does not tell of an item or a job | `orchestrator::adding_an_item_says_what_became_of_it`, `orchestrator::starting_a_job_says_what_became_of_it`, `dispatch::an_unknown_outcome_on_a_queue_with_unique_references_is_simply_repeated` |
//! | a write without an answer, elsewhere | `dispatch::an_unknown_outcome_elsewhere_is_looked_up_and_found_without_a_second_item`, `runs::an_item_is_looked_up_twice_a_minute_apart_then_sent_again_and_flagged`, `it::faults::what_was_carried_out_without_an_answer_is_not_done_twice` |
//! | a job without an answer that nothing finds | `runs::a_job_that_two_look_ups_do_not_find_is_ambiguous` |
//! | a call without an answer that nothing looks up | `it::states::what_may_have_been_done_waits_for_a_person_who_has_it_tried_again_or_accepts_it` |
//! | nobody listens, silence, a closed connection, another protocol | `it::faults::whatever_a_target_does_its_run_tells_it_and_ends_as_it_should` |
//! | the name is gone | `it::targets::what_waits_for_a_name_goes_out_when_the_name_is_known_again` |
//! | a certificate that is expired, for another name, of nobody known; no TLS | `it::faults::a_certificate_that_does_not_hold_gets_nothing_until_it_is_mended`, `http::certificates_are_checked_and_failures_say_what_to_do` |
//! | a redirect to a private address, to metadata, anywhere | `it::faults::whatever_a_target_does_its_run_tells_it_and_ends_as_it_should`, `http::a_token_endpoint_that_redirects_gets_nothing_sent_on` |
//! | an address from data that is not public, in any spelling; a name that flips | `http::an_address_that_is_not_public_is_refused_in_every_spelling`, `http::the_address_that_was_checked_is_the_one_that_is_connected_to` |
//! | an answer that is cut, encoded, endless, dripped | `http::an_answer_that_is_cut_is_no_answer`, `http::an_encoding_that_nobody_asked_for_is_an_error`, `it::faults::endless_answers_to_many_runs_at_once_cost_little_memory`, `http::time_runs_out_for_silence_endless_heads_and_dripped_bodies` |
//! | an error inside a 200 | `it::connectors::what_nobody_knows_and_what_the_service_refuses_is_told`, `it::faults::whatever_a_target_does_its_run_tells_it_and_ends_as_it_should` |
//! | some items of a batch fail | `dispatch::a_failure_of_one_item_touches_only_its_run` |
//! | one target hangs, is down for an hour, comes back | `it::targets::a_target_that_hangs_does_not_hold_the_others_up`, `dispatch::an_hour_of_429_of_silence_and_of_no_dns_loses_nothing_and_ends_by_itself` |
//! | a line break on its way into a header, a path on its way into a URL | `http::headers_that_would_break_out_are_refused_and_not_shown`, `rules::values_stay_one_segment_or_one_query_value` |
//! | a request is out when the daemon is stopped | `dispatch::a_target_that_hangs_is_cut_at_the_end_of_the_grace_period_and_its_run_stays_due` |
//! | kill -9 at any moment | `it::crash::thirty_kills_under_load_lose_no_event_and_no_follow_up`, `it::steps::lists_and_waits_go_on_where_they_were_after_each_kill` |
//! | no space while runs are at work | `it::faults::runs_at_work_on_a_full_disk_go_on_when_there_is_room_again` |
//! | the clock is set by an hour, a day, ten years | `it::clock::a_clock_that_is_set_a_day_forth_changes_nothing`, `it::clock::a_clock_that_is_set_a_day_back_changes_nothing` |
//! | a rule is changed, removed, renamed while its runs wait | `it::reload::runs_that_wait_end_with_the_rule_they_began_with_whatever_becomes_of_its_file` |
//! | more runs come due at once than memory should hold | `journal::only_the_nearest_are_in_memory_and_none_is_passed_over` |
//! | a replay of what succeeded, of an unknown event, of a rule that is gone | `it::ops::a_replay_appends_no_event_and_does_again_only_what_did_not_succeed` |

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    Daemon, Disk, EXPIRED, Endpoint, Folder, GOOD, Manner, ROOT, SELF_SIGNED, TlsEndpoint, failed_item, failed_item_of, no_tls, skip,
    start_sandbox, until_within,
};

/// A breaker that opened several times probes within half a minute.
const RECOVERY: Duration = Duration::from_secs(120);

/// A rule for every failed item, with quick tries, at most two.
fn rule(name: &str, url: &str) -> String {
    format!(
        "rule: {name}\nevents: queueItem.transactionFailed\nretry: {{first_wait: 100ms, max_wait: 200ms, attempts: 2}}\nsteps:\n  - id: call\n    http: {{method: POST, url: \"{url}\", body: {{id: \"${{item.Id}}\"}}}}\n    timeout: 2s\n"
    )
}

async fn deliver(daemon: &Daemon, items: impl IntoIterator<Item = u64>) {
    for id in items {
        assert_eq!(daemon.deliver(&failed_item(id)).await.expect("an answer").0, 202);
    }
}

/// The only run of a rule, once it is in a state.
async fn run_of(daemon: &Daemon, rule: &str, state: &str) -> Value {
    let path = format!("/api/v1/runs?rule={rule}");
    let what = format!("the run of {rule} is {state}");
    let run = until_within(RECOVERY, &what, async || daemon.list(&path).await.into_iter().find(|run| run["state"] == state)).await;
    daemon.get(&format!("/api/v1/runs/{}", run["id"].as_str().expect("an id"))).await
}

/// How much memory the process held at most, in MiB.
fn peak(daemon: &Daemon) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).expect("a process");
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") >> 10
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_target_does_its_run_tells_it_and_ends_as_it_should() {
    let hidden = Endpoint::start(Manner::Answer(200, "", "")).await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("bound").local_addr().expect("an address");
    let moved = |to: &str| -> &'static str { Box::leak(format!("Location: {to}\r\n").into_boxed_str()) };
    let (near, metadata) = (moved(&format!("http://{}/x", hidden.address)), moved("http://169.254.169.254/latest/meta-data"));
    let again = |says: &'static str| ("dead", "gave_up", says, 2);
    let over = |says: &'static str| ("dead", "refused", says, 1);
    let table = [
        ("silent", Manner::Hang, again("no answer within 2s")),
        ("closes", Manner::Bytes(""), again("gave no answer to a request that was sent")),
        ("cut", Manner::Bytes("HTTP/1.1 200 Said\r\nContent-Length: 1000\r\n\r\n{\"a\":"), again("was cut off")),
        ("other-protocol", Manner::Bytes("SSH-2.0-OpenSSH_9.2\r\n"), again("gave no answer to a request that was sent")),
        ("huge", Manner::Bytes("HTTP/1.1 200 Said\r\nContent-Length: 10737418240\r\n\r\n{"), again("longer than 16777216 bytes")),
        ("endless", Manner::Endless, again("longer than 16777216 bytes")),
        ("moved-301", Manner::Answer(301, near, ""), over("redirects (301) to `http://127.0.0.1:")),
        ("moved-302", Manner::Answer(302, near, ""), over("redirects (302) to `http://127.0.0.1:")),
        ("moved-303", Manner::Answer(303, near, ""), over("redirects are not followed")),
        ("moved-307", Manner::Answer(307, near, ""), over("redirects (307) to `http://127.0.0.1:")),
        ("moved-308", Manner::Answer(308, metadata, ""), over("redirects (308) to `http://169.254.169.254`")),
        ("gone", Manner::Answer(410, "", "gone for good"), over("gone for good")),
        ("unprocessable", Manner::Answer(422, "", "no such invoice"), over("no such invoice")),
        ("unavailable", Manner::Answer(503, "", "maintenance"), again("maintenance")),
        ("error-inside", Manner::Answer(200, "", "{\"error\": \"no\"}"), ("succeeded", "", "", 1)),
    ];
    let folder = Folder::new("http://127.0.0.1:9");
    let mut endpoints = Vec::new();
    for (name, manner, _) in &table {
        let endpoint = Endpoint::start(manner.clone()).await;
        folder.rule(name, &rule(name, &format!("http://{}/x", endpoint.address)));
        endpoints.push(endpoint);
    }
    folder.rule("refuses", &rule("refuses", &format!("http://{closed}/x")));
    // A host that an event names is no host that a file names.
    folder.rule("from-data", &rule("from-data", &format!("http://${{'127.0.0.1'}}:{}/x", hidden.address.port())));
    let daemon = Daemon::start(&folder).await;
    deliver(&daemon, [1]).await;
    let rows = table.iter().zip(&endpoints).map(|((name, _, expected), endpoint)| (*name, Some(endpoint), *expected));
    let more = [("refuses", None, again("cannot connect to")), ("from-data", None, over("egress.allow"))];
    for (name, endpoint, (state, cause, says, requests)) in rows.chain(more) {
        let run = run_of(&daemon, name, state).await;
        assert_eq!(run["cause"].as_str().unwrap_or_default(), cause, "{name}: {run}");
        assert!(run["message"].as_str().unwrap_or_default().contains(says), "{name}: `{says}` in {run}");
        assert_eq!(run["steps"][0]["attempts"].as_array().map(Vec::len), Some(requests), "{name}: {run}");
        if let Some(endpoint) = endpoint {
            assert_eq!(endpoint.requests(), requests, "{name}");
            // What fills the sockets' buffers on the way was not read.
            assert!(endpoint.poured() <= requests as u64 * (48 << 20), "{name}: {} bytes", endpoint.poured());
        }
    }
    assert_eq!(hidden.requests(), 0, "nobody was sent on");
    // An error in a 200 is for the rule to see: here it is the step's value.
    assert_eq!(run_of(&daemon, "error-inside", "succeeded").await["steps"][0]["value"], json!({"error": "no"}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endless_answers_to_many_runs_at_once_cost_little_memory() {
    /// Requests to one target at once.
    const AT_ONCE: usize = 16;
    let target = Endpoint::start(Manner::Hang).await;
    let folder = Folder::new("http://127.0.0.1:9");
    folder.rule("endless", &rule("endless", &format!("http://{}/x", target.address)).replace("attempts: 2", "attempts: 1"));
    let daemon = Daemon::start(&folder).await;
    deliver(&daemon, [0]).await;
    run_of(&daemon, "endless", "dead").await;
    let before = peak(&daemon);
    target.now(Manner::Endless);
    deliver(&daemon, 1..2 * AT_ONCE as u64).await;
    until_within(RECOVERY, "their answers are too long", async || (daemon.runs("dead").await.len() > AT_ONCE / 2).then_some(())).await;
    let grown = peak(&daemon) - before;
    // Whole, each of them would be 16 MiB and more.
    assert!(grown < 96, "{grown} MiB more than the {before} MiB before");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_does_not_hold_gets_nothing_until_it_is_mended() {
    let table = [
        ("expired", EXPIRED, "localhost", "its certificate has expired; have it renewed"),
        ("self-signed", SELF_SIGNED, "localhost", "one that signed itself as a root (`CA:TRUE`) has to be replaced"),
        ("other-name", GOOD, "127.0.0.1", "its certificate is for another name"),
    ];
    let folder = Folder::new("http://127.0.0.1:9");
    let config = std::fs::read_to_string(folder.path("tripline.yaml")).expect("text");
    folder.write("root.pem", ROOT);
    folder.write("tripline.yaml", &format!("{config}egress: {{ca: root.pem}}\n"));
    let patient = |name: &str, url: &str| rule(name, url).replace(", attempts: 2", "");
    let mut endpoints = Vec::new();
    for (name, certificate, host, _) in table {
        let endpoint = TlsEndpoint::start(certificate);
        folder.rule(name, &patient(name, &format!("https://{host}:{}/x", endpoint.port)));
        endpoints.push(endpoint);
    }
    folder.rule("plain", &patient("plain", &format!("https://localhost:{}/x", no_tls())));
    let daemon = Daemon::start(&folder).await;
    deliver(&daemon, [1]).await;
    for (name, says) in table.iter().map(|(name, _, _, says)| (*name, *says)).chain([("plain", "it does not speak TLS on this port")]) {
        let run = until_within(RECOVERY, "it is tried twice", async || {
            let runs = daemon.list(&format!("/api/v1/runs?rule={name}")).await;
            runs.into_iter().find(|run| run["attempts"].as_u64().is_some_and(|attempts| attempts >= 2))
        })
        .await;
        assert!(run["message"].as_str().expect("a message").contains(says), "{name}: `{says}` in {run}");
        assert_eq!(run["steps"][0]["attempts"][0]["side"], "network", "{name}: {run}");
    }
    assert_eq!(daemon.runs("dead").await, Vec::<Value>::new(), "they are waited for");
    assert!(endpoints.iter().all(|endpoint| endpoint.requests() == 0), "nothing was sent");
    for endpoint in &endpoints[..2] {
        endpoint.now(GOOD);
    }
    for name in ["expired", "self-signed"] {
        run_of(&daemon, name, "succeeded").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_carried_out_without_an_answer_is_not_done_twice() {
    let sandbox = start_sandbox().await;
    let steps = [
        ("unique", "AddQueueItem", "enqueue: {queue: Invoices-Review, reference: \"r-${item.Reference}\"}"),
        ("not-unique", "AddQueueItem", "enqueue: {queue: Open, reference: \"r-${item.Reference}\"}"),
        ("job", "StartJobs", "start_job: {process: InvoiceProcessing}"),
    ];
    for fault in ["timeout_after_commit", "reset_after_commit", "truncated"] {
        let folder = Folder::new(&sandbox.url);
        for (name, _, step) in steps {
            // `started` reads the value, so that it has to be known.
            folder.rule(
                name,
                &format!(
                    "rule: {name}\nevents: queueItem.transactionFailed\nretry: {{first_wait: 100ms, max_wait: 1s}}\nsteps:\n  - id: done\n    {step}\n    timeout: 2s\n  - emit: {{type: was.done, data: {{id: \"${{steps.done.Id}}\"}}}}\n"
                ),
            );
        }
        let daemon = Daemon::start(&folder).await;
        let before = counts(&sandbox).await;
        for path in ["Invoices", "Open", "StartJobs"] {
            // Two enqueues go out as single ones: each meets one of the first two.
            let path = if path == "StartJobs" { path } else { "AddQueueItem" };
            sandbox.fault(json!({"kind": fault, "match": {"path": path}, "times": 1, "millis": 3000})).await;
        }
        deliver(&daemon, [if fault == "truncated" { 3 } else { fault.len() as u64 + 100 }]).await;
        for (name, _, _) in steps {
            let run = run_of(&daemon, name, "succeeded").await;
            assert!(run["steps"][0]["value"]["Id"].is_u64(), "{fault} {name}: {run}");
            let failed = |attempt: &Value| attempt["class"].is_string();
            assert!(run["steps"][0]["attempts"].as_array().expect("attempts").iter().any(failed), "{fault} {name} met it: {run}");
            assert_ne!(run["steps"][0]["maybe_twice"], true, "{fault} {name}: {run}");
        }
        let after = counts(&sandbox).await;
        assert_eq!(after.map(|n| n - 1), before, "{fault}: one item in each queue and one job");
        sandbox.clear_faults().await;
    }
}

/// Items of the two queues, and jobs.
async fn counts(sandbox: &crate::support::Sandbox) -> [usize; 3] {
    let jobs = sandbox.get("/odata/Jobs").await["value"].as_array().map_or(0, Vec::len);
    [sandbox.references("Invoices-Review").await.len(), sandbox.references("Open").await.len(), jobs]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_asks_for_silence_has_it_also_over_a_kill() {
    let target = Endpoint::start(Manner::Answer(429, "Retry-After: 8\r\n", "later")).await;
    let folder = Folder::new("http://127.0.0.1:9");
    // Silence is kept up to `max_wait`: longer than it is asked for here.
    let text = rule("follow-up", &format!("http://{}/x", target.address)).replace("max_wait: 200ms", "max_wait: 1m");
    folder.rule("follow-up", &text);
    let daemon = Daemon::start(&folder).await;
    deliver(&daemon, [1]).await;
    run_of(&daemon, "follow-up", "retrying").await;
    let held = async |daemon: &Daemon| {
        until_within(RECOVERY, "the target is held", async || daemon.get("/api/v1/breakers").await["items"].get(0).cloned()).await
    };
    let before = held(&daemon).await;
    assert_eq!((&before["state"], &before["cause"]), (&json!("held"), &json!("throttled")), "{before}");
    // It is kept beside the runs, by a record of its own.
    deliver(&daemon, [2]).await;
    until_within(RECOVERY, "the second waits too", async || (daemon.runs("waiting").await.len() == 1).then_some(())).await;
    daemon.kill9();
    let daemon = Daemon::start(&folder).await;
    assert_eq!(held(&daemon).await["until"], before["until"], "it is kept");
    target.now(Manner::Answer(200, "", ""));
    deliver(&daemon, [3]).await;
    until_within(RECOVERY, "all succeed", async || (daemon.runs("succeeded").await.len() == 3).then_some(())).await;
    for run in daemon.runs("succeeded").await {
        let run = daemon.get(&format!("/api/v1/runs/{}", run["id"].as_str().expect("an id"))).await;
        let last = run["steps"][0]["attempts"].as_array().expect("attempts").last().expect("one").clone();
        // Stamps of one form: their order is that of their texts.
        assert!(last["started"].as_str() >= before["until"].as_str(), "nothing is sent before {}: {run}", before["until"]);
    }
    assert_eq!(target.requests(), 4);
}

/// Space runs out while requests are out and others wait; it comes back, and each is done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_at_work_on_a_full_disk_go_on_when_there_is_room_again() {
    let (target, sandbox) = (Endpoint::start(Manner::Hang).await, start_sandbox().await);
    let mut folder = Folder::new(&sandbox.url);
    folder.keep_state_in("disk/state");
    let call = rule("call", &format!("http://{}/x", target.address)).replace(", attempts: 2", "");
    folder.rule("call", &call.replace("retry:", "queues: [Invoices]\nretry:"));
    folder.rule("item", "rule: item\nevents: queueItem.transactionFailed\nqueues: [Invoices]\nretry: {first_wait: 100ms, max_wait: 500ms}\nsteps:\n  - enqueue: {queue: Open, reference: \"r-${item.Reference}\"}\n");
    let disk = match Disk::ext4(&folder.path("image"), &folder.path("disk"), 64 << 20) {
        Ok(disk) => disk,
        Err(why) => return skip("runs_at_work_on_a_full_disk_go_on_when_there_is_room_again", &why),
    };
    let daemon = Daemon::start(&folder).await;
    sandbox.fault(json!({"kind": "429", "match": {"path": "AddQueueItem"}, "times": 0})).await;
    deliver(&daemon, 0..10).await;
    until_within(RECOVERY, "they are out", async || (target.requests() >= 10).then_some(())).await;
    let ballast = disk.fill();
    // Other events use up what was prepared, to the last of it.
    let mut number = 1000;
    for length in [120_000, 4_000, 100] {
        let refused = until_within(RECOVERY, "a delivery is refused", async || {
            number += 1;
            let mut item = failed_item_of(number, length);
            item["Queue"]["Name"] = "Others".into();
            Some(daemon.deliver(&item).await.expect("an answer").0).filter(|status| *status != 202)
        });
        assert_eq!(refused.await, 503);
    }
    target.now(Manner::Answer(200, "", ""));
    sandbox.clear_faults().await;
    until_within(RECOVERY, "it is told", async || daemon.log().contains("no space to record").then_some(())).await;
    assert_eq!(daemon.runs("dead").await, Vec::<Value>::new());
    std::fs::remove_file(&ballast).expect("removed");
    until_within(RECOVERY, "all succeed", async || (daemon.runs("succeeded").await.len() == 20).then_some(())).await;
    assert_eq!(target.answered().len(), 10);
    let mut items = sandbox.references("Open").await;
    items.sort();
    assert_eq!(items, (0..10).map(|id| format!("r-INV-{id}")).collect::<Vec<_>>(), "once each");
}

/// All text of the files of Rust below a folder.
fn sources(folder: &Path) -> String {
    let mut all = String::new();
    for entry in std::fs::read_dir(folder).expect("lists") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            all.push_str(&sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all.push_str(&std::fs::read_to_string(&path).expect("text"));
        }
    }
    all
}

#[test]
fn the_tests_that_the_table_names_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rows: Vec<_> = include_str!("faults.rs").lines().filter(|line| line.starts_with("//! | ") && line.contains('`')).collect();
    assert!(rows.len() > 25, "{} rows", rows.len());
    for row in rows {
        let named: Vec<_> = row.rsplit(" | ").next().expect("a cell").split('`').filter(|part| part.contains("::")).collect();
        assert!(!named.is_empty(), "no test: {row}");
        for name in named {
            let (place, test) = name.rsplit_once("::").expect("a path");
            let text = match place.strip_prefix("it::") {
                Some(file) => std::fs::read_to_string(root.join(format!("tests/it/{file}.rs"))).expect("a file of tests"),
                None => sources(&root.join("src").join(place)),
            };
            assert!(text.contains(&format!("fn {test}(")), "`{name}` is not there");
        }
    }
}
