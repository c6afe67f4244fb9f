//! Tests drafted from events: they pass when they are pasted, and hold no secrets.

use super::*;

/// Drafts a test for the rule, pastes it into its text, and runs it.
fn pasted(text: &str, event: &Event, replies: &Value) -> (Value, bool) {
    let rules = set(text);
    let draft = rules.draft("r", event, replies, now()).expect("a draft");
    let tests = crate::yaml::print(&json!([draft.test]), 2);
    let whole = format!("{text}\ntests:\n{tests}");
    let reports = set(&whole).test(&[], &known().vars, Timestamp::EPOCH);
    assert_eq!(reports.len(), 1);
    assert!(reports[0].passed, "{:?}\n{whole}", reports[0].why);
    (draft.test, draft.changed)
}

const ENQUEUE: &str = "rule: r\nevents: queueItem.transactionFailed\nqueues: [Invoices]\nwhen: content.Amount > 1000\nsteps:\n  - id: a\n    enqueue:\n      queue: Q\n      defer: 10m\n      content: {Amount: \"${content.Amount}\", Why: \"${item.ProcessingException.Reason}\"}\n  - http: {url: \"https://h/${steps.a.Id}\"}\n";

#[test]
fn a_draft_passes_when_it_is_pasted_and_holds_what_the_rule_reads() {
    let (test, changed) = pasted(ENQUEUE, &event(failed()), &json!({"a": {"Id": 5}, "2": {"x": 1}}));
    assert!(!changed);
    assert_eq!(test["event"]["data"]["QueueItem"]["SpecificContent"], json!({"Amount": 20000}));
    assert_eq!(test["event"]["data"]["QueueItem"]["ProcessingException"], json!({"Reason": "boom"}));
    assert_eq!(test["replies"], json!({"a": {"Id": 5}}));
    assert_eq!(test["expect"][0]["enqueue"]["defer"], json!("2026-03-01T10:10:00Z"));
    assert_eq!(test["expect"][1]["http"]["url"], json!("https://h/5"));
}

#[test]
fn without_replies_it_says_that_the_rule_matches() {
    let (test, _) = pasted(ENQUEUE, &event(failed()), &json!({}));
    assert_eq!(test["expect"], json!({"matched": true}));
}

#[test]
fn a_rule_that_does_not_match_is_a_test_too() {
    let (test, _) = pasted(&ENQUEUE.replace("> 1000", "> 100000"), &event(failed()), &json!({}));
    assert_eq!(test["expect"], json!({"matched": false, "because": "when"}));
}

#[test]
fn secrets_are_masked_and_where_the_rule_needs_one_that_is_said() {
    let mut json = failed();
    json["data"]["QueueItem"]["SpecificContent"]["ApiToken"] = json!("canary-5512");
    let text = "rule: r\nevents: \"*\"\nwhen: content.ApiToken.startsWith(\"canary\")\nsteps: [{emit: {type: x}}]\n";
    let (test, changed) = pasted(text, &event(json.clone()), &json!({}));
    assert!(changed && !test.to_string().contains("canary"), "{test}");
    assert_eq!(test["expect"], json!({"matched": false, "because": "when"}));
    let text = "rule: r\nevents: \"*\"\nsteps: [{emit: {type: x, data: {all: \"${data}\", whole: \"${event.id}\"}}}]\n";
    let (test, _) = pasted(text, &event(json), &json!({}));
    assert!(!test.to_string().contains("canary"), "{test}");
}

#[test]
fn odd_events_can_be_pasted() {
    let text = "rule: r\nevents: \"*\"\nsteps: [{emit: {type: x, data: {all: \"${data}\"}}}]\n";
    for data in
        [json!({}), json!({"a: b": ["no", "0123", {"- x": null}]}), json!({"x": "${item.Id}\n\t#"}), json!({"QueueItem": {"n": 1e300}})]
    {
        pasted(text, &event(json!({"type": "odd.type", "data": data})), &json!({}));
    }
    let faulty = set("rule: r\nevents: \"*\"\nwhen: data.a > 1\nsteps: [{emit: {type: x}}]\n");
    assert_eq!(faulty.draft("r", &event(json!({"type": "t", "data": {"a": "x"}})), &json!({}), now()), None);
}
