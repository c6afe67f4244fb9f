use std::time::Duration;

use serde_json::json;

use super::*;
use crate::connectors::{Connectors, OrchestratorSite};
use crate::rules::{Doubt, RetryPolicy};

const RULE: &str = "
rule: tell
events: queueItem.transactionFailed
retry: {first_wait: 5s}
steps:
  - id: said
    call: {connector: chat, operation: post_message, with: {channel: ops, text: \"item ${item.Id}\"}}
  - call: {connector: chat, operation: find}
    retry: {attempts: 9}
    timeout: 3s
  - call: {connector: chat, operation: forget, with: \"${{}}\"}
tests:
  - name: it tells
    event: {type: queueItem.transactionFailed, data: {Queue: {Name: Q}, QueueItem: {Id: 7}}}
    expect:
      - call: {connector: chat, operation: post_message, with: {text: item 7}}
      - call: {operation: find}
  - name: it does not tell this
    event: {type: queueItem.transactionFailed, data: {Queue: {Name: Q}, QueueItem: {Id: 7}}}
    expect: [{call: {with: {text: item 8}}}]
";

#[test]
fn a_call_is_read_rendered_and_expected() {
    let set = set(RULE);
    let rule = &set.rules()[0];
    let retry: Vec<_> = rule.steps.iter().map(|step| step.retry).collect();
    let of_connector = RetryPolicy { attempts: Some(5), ..rule.retry };
    assert_eq!(retry[..2], [Some(of_connector), Some(RetryPolicy { attempts: Some(9), ..rule.retry })]);
    let timeouts: Vec<_> = rule.steps.iter().map(Step::attempt_timeout).collect();
    assert_eq!(timeouts, [Some(Duration::from_secs(7)), Some(Duration::from_secs(3)), None]);
    let doubts: Vec<_> = rule.steps.iter().map(Step::in_doubt).collect();
    assert_eq!(doubts, [Doubt::LookUp, Doubt::Again, Doubt::Ask]);
    let reports = set.test(&[], &known().vars, now());
    assert!(reports[0].passed, "{reports:?}");
    let why = reports[1].why.clone().unwrap_or_default();
    assert_eq!(why, "expect[0].call.with.text: expected \"item 8\", got \"item 7\"");
}

#[test]
fn an_input_that_does_not_fit_makes_the_run_dead_before_anything_is_sent() {
    let rule = RULE.replace("item ${item.Id}", "${item.Reference}");
    let set = set(&rule[..rule.find("tests:").expect("tests")]);
    let (steps, vars) = (json!({}), known().vars);
    let mut data = failed();
    data["data"]["QueueItem"]["Reference"] = json!("x".repeat(41));
    let event = event(data);
    let input = RenderInput { event: &event, steps: &steps, vars: &vars, run: None, now: now() };
    let fault = set.rules()[0].render(0, &input).expect_err("too long");
    assert_eq!(fault.to_string(), "steps[0].call.with.text: input `text` has 41 characters; expected at most 40");
}

#[test]
fn a_call_of_orchestrator_goes_to_the_one_of_the_event() {
    let site =
        |name: &str| OrchestratorSite { name: name.into(), url: format!("https://{name}.example.com"), ..OrchestratorSite::default() };
    let of = |sites: &[&str]| Known {
        connectors: Connectors::default().with_orchestrators(&sites.iter().map(|name| site(name)).collect::<Vec<_>>()),
        orchestrators: sites.iter().map(|name| Arc::from(*name)).collect(),
        ..known()
    };
    let rule = |connector: &str| {
        format!(
            "rule: look\nevents: queueItem.transactionFailed\nsteps: [{{call: {{connector: {connector}, operation: get_folders, with: {{top: 1}}}}}}]\n"
        )
    };
    let called = |connector: &str, sites: &[&str], orchestrator: Option<&str>| {
        let (set, faults) = RuleSet::load(&[file("look.yaml", &rule(connector))], &of(sites), &no_samples);
        let set = set.unwrap_or_else(|| panic!("{faults:?}"));
        let mut data = failed();
        data["orchestrator"] = json!(orchestrator);
        let (event, steps, vars) = (event(data), json!({}), json!({}));
        let input = RenderInput { event: &event, steps: &steps, vars: &vars, run: None, now: now() };
        set.rules()[0].render(0, &input).map_err(|fault| fault.to_string()).map(|rendered| match rendered {
            Rendered::Request(Request::Call(call)) => call.connector.name.to_string(),
            other => panic!("{other:?}"),
        })
    };
    let both = ["east", "west"];
    assert_eq!(called("orchestrator", &both, Some("west")), Ok("orchestrator:west".to_owned()));
    assert_eq!(called("orchestrator", &both, Some("east")), Ok("orchestrator:east".to_owned()));
    assert_eq!(called("orchestrator:east", &both, Some("west")), Ok("orchestrator:east".to_owned()), "the rule goes first");
    assert_eq!(called("orchestrator", &["east"], None), Ok("orchestrator".to_owned()));
    let why = called("orchestrator", &both, None).expect_err("nobody is meant");
    assert!(why.contains("steps[0].call.connector: the event is of no orchestrator") && why.contains("`orchestrator:east`"), "{why}");
    assert!(called("orchestrator", &both, Some("south")).is_err_and(|why| why.contains("`south`, which is not in the configuration")));
    let (_, faults) =
        RuleSet::load(&[file("look.yaml", &rule("orchestrator").replace("get_folders", "get_foldres"))], &of(&both), &no_samples);
    assert!(faults.iter().any(|fault| fault.code == "unknown-operation"), "{faults:?}");
}

#[test]
fn a_call_that_needs_a_folder_and_says_none_is_refused_before_orchestrator_would() {
    let known = |folder: Option<&str>, url: &str| {
        let folder = folder.map(|path| ("X-UIPATH-FolderPath-Encoded".to_owned(), path.to_owned()));
        let site = OrchestratorSite { name: "prod".into(), url: url.to_owned(), tenant: None, folder };
        Known { connectors: Connectors::default().with_orchestrators(&[site]), ..known() }
    };
    let faults = |operation: &str, with: &str, known: &Known| {
        let call = format!("{{connector: orchestrator, operation: {operation}, with: {with}}}");
        let text = format!("rule: look\nevents: queueItem.transactionFailed\nsteps: [{{call: {call}}}]\n");
        let (_, faults) = RuleSet::load(&[file("look.yaml", &text)], known, &no_samples);
        faults.iter().map(crate::fault::Fault::one_line).collect::<Vec<_>>()
    };
    let url = "https://o.example.com";
    let told = faults("get_jobs", "{top: 1}", &known(None, url));
    assert!(told.len() == 1 && told[0].contains("1101") && told[0].contains("look.yaml:3:"), "{told:?}");
    for (operation, with, known) in [
        ("get_jobs", "{top: 1}", known(Some("Finance"), url)),
        ("get_jobs", "{top: 1, folder: Finance}", known(None, url)),
        ("get_jobs", "{organizationUnitId: 7}", known(None, url)),
        ("get_jobs", "{folderKey: '${item.Key}'}", known(None, url)),
        ("get_jobs", "'${content}'", known(None, url)),
        ("get_folders", "{top: 1}", known(None, url)),
        // What a run of an older generation is read with.
        ("get_jobs", "{top: 1}", known(None, "")),
    ] {
        assert_eq!(faults(operation, with, &known), Vec::<String>::new(), "{operation} {with}");
    }
}

#[test]
fn all_pages_are_read_where_the_rule_says_so_and_there_are_pages() {
    let site = OrchestratorSite { name: "prod".into(), url: "https://o.example.com".to_owned(), ..OrchestratorSite::default() };
    let known = Known { connectors: Connectors::default().with_orchestrators(&[site]), ..known() };
    let load = |operation: &str, all: &str| {
        let call = format!("{{connector: orchestrator, operation: {operation}, with: {{folder: F}}{all}}}");
        let text = format!("rule: look\nevents: queueItem.transactionFailed\nsteps: [{{call: {call}}}]\n");
        RuleSet::load(&[file("look.yaml", &text)], &known, &no_samples)
    };
    let asked = |all: &str| {
        let (set, faults) = load("get_jobs", all);
        let set = set.unwrap_or_else(|| panic!("{faults:?}"));
        let (event, steps, vars) = (event(failed()), json!({}), json!({}));
        let input = RenderInput { event: &event, steps: &steps, vars: &vars, run: None, now: now() };
        match set.rules()[0].render(0, &input) {
            Ok(Rendered::Request(request @ Request::Call(_))) => request.to_json(),
            other => panic!("{other:?}"),
        }
    };
    let call = |more: Value| {
        let mut call = json!({"connector": "orchestrator", "operation": "get_jobs", "with": {"folder": "F"}});
        call.as_object_mut().expect("a mapping").extend(more.as_object().expect("a mapping").clone());
        json!({ "call": call })
    };
    assert_eq!(asked(""), call(json!({})));
    assert_eq!(asked(", all: false"), call(json!({})));
    assert_eq!(asked(", all: true"), call(json!({"all": true})));
    let (_, faults) = load("restart_job", ", all: true");
    assert!(faults.iter().any(|fault| fault.code == "no-pages"), "{faults:?}");
}
