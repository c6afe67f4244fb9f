//! The configuration as tables: a text, and what is said about it.

use std::path::Path;

use super::*;
use crate::fault::{Faults, Severity};
use crate::rules::FolderRef;

const FILE: &str = "/etc/tripline/tripline.yaml";

const GOOD: &str = "\
listen: 0.0.0.0:8080
admin: unix:run/admin.sock
admin_token: {file: token}
state: ./state
rules: [rules/, extra/one.yaml]
limits: {body: 1MiB, in_flight: 2MiB, connections: 50, header_timeout: 2s, body_timeout: 3s}
shutdown_grace: 5s
egress:
  allow: [10.20.0.0/16, Files.Corp, 192.0.2.7]
  proxy: http://proxy:3128
log: {format: json, level: 'tripline=debug,info'}
vars: {review_queue: Review, limits: [1, 2]}
orchestrators:
  prod:
    url: https://Cloud.UiPath.com:443/acme/DefaultTenant/orchestrator_/
    tenant: DefaultTenant
    auth: {client_credentials: {client_id: id, client_secret: {env: APP_SECRET}, scope: OR.Queues OR.Jobs}}
    folder: Finance/Invoices
  onprem:
    url: http://127.0.0.1:9000
    edition: standalone
    auth: {password: {username: admin, password: {credential: orch_password}}}
    folder: {id: 1964513}
sources:
  prod-hook:
    webhook:
      orchestrator: prod
      secrets: [{env: HOOK_SECRET}, {file: old}]
      allow_from: [20.0.0.0/8]
      trusted_proxies: 1
  second:
    webhook: {orchestrator: onprem, path: /hooks/other, secrets: [{env: HOOK_SECRET}]}
  prod-poll:
    poll: {orchestrator: prod, kind: queue_items, folders: [Finance, {id: 7}], queues: [Invoices], every: 5s, look_back: 2h, reconciles: prod-hook}
  second-poll:
    poll: {orchestrator: onprem, kind: jobs, folders: all, at: '06:00 Europe/Berlin', reconciles: second}
";

fn load_text(text: &str) -> (Option<Config>, Faults) {
    load(Path::new(FILE), &FakeWorld::new().with_file(FILE, text))
}

fn summary(faults: &Faults) -> Vec<String> {
    faults.iter().map(crate::fault::Fault::one_line).collect()
}

#[test]
fn every_key_arrives_in_its_field() {
    let (config, faults) = load_text(GOOD);
    assert!(faults.is_empty(), "{:#?}", summary(&faults));
    let config = config.expect("a configuration");
    assert_eq!(config.listen.to_string(), "0.0.0.0:8080");
    assert_eq!(config.admin, AdminAddress::Unix("/etc/tripline/run/admin.sock".into()));
    assert!(
        matches!(&config.admin_token, Some(SecretRef { from: SecretFrom::File(path), .. }) if path == Path::new("/etc/tripline/token"))
    );
    assert_eq!(config.state, Path::new("/etc/tripline/state"));
    assert_eq!(config.rules, [Path::new("/etc/tripline/rules"), Path::new("/etc/tripline/extra/one.yaml")]);
    assert_eq!((config.limits.body, config.limits.in_flight, config.limits.connections), (1 << 20, 2 << 20, 50));
    assert_eq!((config.limits.header_timeout.as_secs(), config.limits.body_timeout.as_secs()), (2, 3));
    assert_eq!(config.shutdown_grace.as_secs(), 5);
    assert_eq!(config.egress.allow_hosts, ["files.corp"]);
    assert_eq!(config.egress.allow_nets.len(), 2);
    assert_eq!(config.egress.proxy.as_deref(), Some("http://proxy:3128"));
    assert_eq!((config.log.format, config.log.level.as_str()), (LogFormat::Json, "tripline=debug,info"));
    assert_eq!(config.vars["review_queue"], "Review");
    let prod = &config.orchestrators["prod"];
    assert_eq!(prod.url, "https://cloud.uipath.com/acme/DefaultTenant/orchestrator_");
    assert_eq!(prod.edition, Edition::Cloud);
    assert_eq!(&*prod.canonical_url(), "https://cloud.uipath.com/acme/DefaultTenant/orchestrator_");
    assert_eq!(config.orchestrators["onprem"].url, "http://127.0.0.1:9000");
    let hook = &config.sources["prod-hook"];
    assert_eq!((hook.path.as_str(), hook.secrets.len(), hook.trusted_proxies), ("/hooks/prod-hook", 2, 1));
    assert_eq!(hook.orchestrator.as_deref(), Some("prod"));
    let known = config.known();
    assert_eq!(known.orchestrators.len(), 2);
    assert_eq!(known.sources.len(), 4);
    let poll = &config.polls["prod-poll"];
    assert_eq!((&*poll.orchestrator, poll.reconciles.as_deref()), ("prod", Some("prod-hook")));
    assert_eq!(poll.folders, Chosen::These(vec![FolderRef::Path("Finance".into()), FolderRef::Id(7)]));
    assert_eq!(poll.queues, Chosen::These(vec!["Invoices".into()]));
    assert_eq!((poll.every.as_secs(), poll.look_back.as_secs()), (5, 7200));
    let second = &config.polls["second-poll"];
    assert_eq!((&second.folders, &second.queues, second.kind), (&Chosen::All, &Chosen::All, PollKind::Jobs));
    assert_eq!(second.at.expect("a time").to_string(), "06:00 Europe/Berlin");
}

#[test]
fn a_webhook_without_a_poll_is_warned_of() {
    let (_, faults) = load_text(&GOOD.replace(", reconciles: prod-hook", ""));
    let codes: Vec<_> = faults.iter().map(|fault| (fault.code, fault.severity)).collect();
    assert_eq!(codes, [("no-poll", Severity::Warning)], "{:#?}", summary(&faults));
}

#[test]
fn crlf_and_a_byte_order_mark_change_nothing() {
    let (config, faults) = load_text(&format!("\u{feff}{}", GOOD.replace('\n', "\r\n")));
    assert!(config.is_some(), "{:#?}", summary(&faults));
}

#[test]
fn defaults_are_the_documented_ones() {
    let (config, faults) = load_text("rules: rules/\n");
    let config = config.expect("warnings only");
    assert_eq!(summary(&faults).len(), 1, "no sources is a warning");
    assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.admin.to_string(), "127.0.0.1:8081");
    assert_eq!(config.limits, Limits::default());
    assert_eq!(config.shutdown_grace.as_secs(), 25);
}

/// Each text has exactly one error; its code and a word of it are given. The rest of the file is whole.
#[test]
fn every_mistake_has_its_answer() {
    let orchestrator = "orchestrators: {o: {url: 'https://o.corp/x', edition: suite, auth: {token: {env: T}}}}\n";
    let source = "sources: {s: {webhook: {secrets: [{env: S}]}}}\n";
    let wrong_orchestrator = |body: &str| format!("{source}orchestrators: {{o: {{{body}}}}}\n");
    let wrong_source = |body: &str| format!("{orchestrator}sources: {{s: {{webhook: {{{body}}}}}}}\n");
    let wrong_watch = |body: &str| format!("{orchestrator}sources: {{s: {{watch: {{{body}}}}}}}\n");
    let top = |line: &str| format!("{orchestrator}{source}{line}\n");
    let auth = "auth: {token: {env: T}}";
    let cases: Vec<(String, &str, &str)> = vec![
        (top("lissen: x"), "unknown-key", "did you mean `listen`"),
        (top("public_url: hooks.corp"), "url", "https://"),
        (top("public_url: https://u:p@hooks.corp"), "url-credentials", "public_url"),
        (top("retention: {age: 30s}"), "out-of-range", "30s"),
        (top("retention: {size: 1MiB}"), "out-of-range", "1MiB"),
        (top("retention: {age: 30d, dead: 7d}"), "retention", "shorter than `age`"),
        (top("retention: {for: 30d}"), "unknown-key", "for"),
        (top("connectors: {config: {}}"), "missing-key", "connectors"),
        (top("connectors: {files: c, config: {x: 1}}"), "wrong-type", "`x` is a number"),
        (top("listen: 8080"), "address", "ADDRESS:PORT"),
        (top("listen: '127.0.0.1:70000'"), "address", "0 to 65535"),
        (top("listen: [x]"), "wrong-type", "a list"),
        (top("listen: '127.0.0.1:8081'"), "address-conflict", "`admin`"),
        (top("admin: '0.0.0.0:8080'\nadmin_token: {env: A}"), "address-conflict", "`listen`"),
        (top("admin: '0.0.0.0:9'"), "admin-open", "admin_token"),
        (top("admin: 'unix:'"), "address", "names no socket"),
        (top("admin_token: ''"), "secret-empty", "empty"),
        (top("admin_token: ${TOKEN}"), "secret-template", "{env: TOKEN}"),
        (top("admin_token: {env: A, file: b}"), "secret", "names 2 places"),
        (top("admin_token: {enf: A}"), "unknown-key", "did you mean `env`"),
        (top("admin_token: {credential: ../x}"), "secret-name", "../x"),
        (top("admin_token: {env: 'A B'}"), "secret-name", "A B"),
        (top("admin_token: 12345"), "wrong-type", "a number"),
        (top("state: 5"), "wrong-type", "quote it"),
        (top("state: ''"), "empty", "folder"),
        (top("rules: []"), "empty", "rules"),
        (top("shutdown_grace: 10"), "duration", "unit"),
        (top("shutdown_grace: 10 parsecs"), "duration", "expected"),
        (top("shutdown_grace: -5s"), "duration", "expected"),
        (top("shutdown_grace: 1e99s"), "duration", "expected"),
        (top("limits: {body: 0B}"), "out-of-range", "expected 1.0 KiB to"),
        (top("limits: {body: 5}"), "size", "unit"),
        (top("limits: {connections: 0}"), "out-of-range", "1 to 1000000"),
        (top("limits: {body: 1MiB, in_flight: 1KiB}"), "limits", "`in_flight` is smaller than `body`"),
        (top("limits: {header_timeout: 40s}"), "limits", "`body_timeout`"),
        (top("limits: {qps: 5}"), "unknown-key", "known are"),
        (top("egress: {allow: [10.0.0.0/40]}"), "egress-allow", "no network"),
        (top("egress: {allow: ['https://x']}"), "egress-allow", "URL"),
        (top("egress: {allow: ['*.corp']}"), "egress-allow", "pattern"),
        (top("egress: {allow: ['x:80']}"), "egress-allow", "port"),
        (top("egress: {allow: ['10.20.30']}"), "egress-allow", "no host name"),
        (top("egress: {allow: [169.254.169.254]}"), "egress-allow", "always refused"),
        (top("egress: {proxy: 'proxy:3128'}"), "url", "scheme"),
        (top("log: {format: xml}"), "log", "auto, text or json"),
        (top("log: {level: inof}"), "log", "did you mean `info`"),
        (top("vars: 5"), "wrong-type", "mapping"),
        (top("listen: '127.0.0.1:1'\nlisten: '127.0.0.1:2'"), "duplicate-key", "first in line"),
        (format!("{}---\na: 1\n", top("")), "documents", "second document"),
        ("- a\n".to_owned(), "wrong-type", "a list"),
        ("a: [\n".to_owned(), "yaml", ""),
        ("listen:\n\t- x\n".to_owned(), "yaml", "tab"),
        ("# nothing\n".to_owned(), "empty", "sources"),
        (wrong_orchestrator(auth), "missing-key", "`url`"),
        (wrong_orchestrator(&format!("url: 'https://x.corp', {auth}")), "missing-key", "`edition`"),
        (wrong_orchestrator(&format!("url: 'https://x.corp', edition: siute, {auth}")), "edition", "did you mean `suite`"),
        (wrong_orchestrator(&format!("url: 'ftp://x.corp', edition: suite, {auth}")), "url", "http or https"),
        (wrong_orchestrator(&format!("url: 'x.corp/y', edition: suite, {auth}")), "url", "scheme"),
        (wrong_orchestrator(&format!("url: 'https://', edition: suite, {auth}")), "url", "expected https"),
        (wrong_orchestrator(&format!("url: 'https:///acme/x', edition: suite, {auth}")), "url", "no host"),
        (wrong_orchestrator(&format!("url: 'https://::1:80/', edition: suite, {auth}")), "url", "brackets"),
        (wrong_orchestrator(&format!("url: 'https://u:hunter2@x.corp', edition: suite, {auth}")), "url-credentials", "auth"),
        (wrong_orchestrator(&format!("url: 'https://x.corp/?a=b', edition: suite, {auth}")), "url", "query"),
        (wrong_orchestrator(&format!("url: 'https://x.corp/odata', edition: suite, {auth}")), "url", "remove `/odata`"),
        (
            wrong_orchestrator(&format!("url: 'https://x.corp', edition: suite, rate: {{list: often}}, {auth}")),
            "rate",
            "`often` is no rate",
        ),
        (wrong_orchestrator("url: 'https://x.corp', edition: suite"), "missing-key", "`auth`"),
        (wrong_orchestrator("url: 'https://x.corp', edition: suite, auth: {}"), "auth", "exactly one"),
        (
            wrong_orchestrator(
                "url: 'https://x.corp', edition: suite, auth: {token: {env: T}, password: {username: a, password: {env: P}}}",
            ),
            "auth",
            "token, password",
        ),
        (wrong_orchestrator("url: 'https://x.corp', edition: suite, auth: {tokn: {env: T}}"), "unknown-key", "did you mean `token`"),
        (
            wrong_orchestrator(
                "url: 'https://x.corp', edition: suite, auth: {client_credentials: {client_id: a, client_secret: {env: B}}}",
            ),
            "missing-key",
            "`scope`",
        ),
        (
            wrong_orchestrator("url: 'https://cloud.uipath.com/a/b/orchestrator_', auth: {password: {username: a, password: {env: P}}}"),
            "auth",
            "client_credentials",
        ),
        (wrong_orchestrator(&format!("url: 'https://x.corp', edition: suite, folder: /Finance, {auth}")), "folder", "slashes"),
        (wrong_orchestrator(&format!("url: 'https://x.corp', edition: suite, folder: {{id: -4}}, {auth}")), "out-of-range", "id"),
        (wrong_orchestrator(&format!("url: 'https://x.corp', edition: suite, folder: {{key: abc}}, {auth}")), "folder", "GUID"),
        (wrong_orchestrator(&format!("url: 'https://x.corp', edition: suite, folder: {{}}, {auth}")), "folder", "{id:"),
        (wrong_orchestrator(&format!("url: 'https://x.corp', edition: suite, tenant: '', {auth}")), "tenant", "empty"),
        (wrong_watch(""), "missing-key", "absent"),
        (wrong_watch("stuck: {longer_than: 2h}"), "missing-key", "queue"),
        (wrong_watch("stuck: {queue: Q}"), "missing-key", "longer_than"),
        (wrong_watch("stuck: {queue: Q, longer_than: 10ms}"), "out-of-range", "longer_than"),
        (wrong_watch("stuck: {queue: Q, longer_than: 2h, status: Successful}"), "status", "New or InProgress"),
        (wrong_watch("stuck: {queue: Q, longer_than: 2h, orchestrator: oo}"), "unknown-orchestrator", "did you mean `o`"),
        (wrong_watch("stuck: {queue: Q, longer_than: 2h}, absent: {events: ping, within: 1h}"), "watch", "both"),
        (wrong_watch("absent: {within: 24h}"), "missing-key", "events"),
        (wrong_watch("absent: {events: job.completed}"), "missing-key", "within"),
        (wrong_watch("absent: {events: [], within: 24h}"), "empty", "events"),
        (wrong_watch("absent: {events: '*job', within: 24h}"), "bad-type", "`*`"),
        (wrong_watch("absent: {events: ping, within: 24h, at: '25:00 Europe/Berlin'}"), "at", "time of day"),
        (wrong_watch("absent: {events: ping, within: 24h, at: '06:00 Europe/Berln'}"), "at", "Berln"),
        (wrong_watch("absent: {events: ping, within: 24h, at: '06:00', every: 1h}"), "watch", "both"),
        (wrong_watch("absent: {events: ping, within: 24h, match: {Job: {Id: 7}}}"), "pattern-scalar", "[7]"),
        (wrong_watch("absent: {events: ping, wihtin: 24h, within: 1h}"), "unknown-key", "within"),
        (format!("{orchestrator}sources: {{s: {{}}}}\n"), "missing-key", "webhook"),
        (format!("{orchestrator}sources: {{'a b': {{webhook: {{secrets: [{{env: S}}]}}}}}}\n"), "name", "a b"),
        (wrong_source(""), "missing-key", "secrets"),
        (wrong_source("secrets: []"), "missing-key", "secrets"),
        (format!("{orchestrator}sources: {{s: {{poll: {{connector: crm}}}}}}\n"), "missing-key", "no `trigger`"),
        (format!("{orchestrator}sources: {{s: {{poll: {{connector: crm, trigger: made, every: 1ms}}}}}}\n"), "out-of-range", "every"),
        (format!("{orchestrator}sources: {{s: {{poll: {{connector: crm, trigger: made, kind: jobs}}}}}}\n"), "unknown-key", "kind"),
        (format!("{orchestrator}sources: {{job: {{poll: {{connector: crm, trigger: made}}}}}}\n"), "name", "as Orchestrator's own"),
        (wrong_source("secrets: [{env: S}], trigger: made"), "missing-key", "no `connector`"),
        (wrong_source("secrets: [{env: S}], connector: crm, trigger: made, scheme: github"), "scheme", "said by the trigger"),
        (wrong_source("secrets: [{env: S}], connector: crm, trigger: made, subscribe: all"), "scheme", "belongs to"),
        (wrong_source("secrets: [{env: S}], connector: crm, trigger: made, orchestrator: o"), "scheme", "of no orchestrator"),
        (wrong_source("connector: crm, trigger: made"), "missing-key", "no `secrets`"),
        (wrong_source("secrets: [{env: S}], register: true"), "public-url", "public_url: https"),
        (wrong_source("secrets: [{env: S}], subscribe: some"), "subscribe", "needed or all"),
        (wrong_source("secrets: [{env: S}], scheme: githup"), "scheme", "did you mean `github`"),
        (wrong_source("secrets: [{env: S}, {env: S}]"), "secret-duplicate", "secret 1"),
        (wrong_source("secrets: [{env: S}], orchestrator: oo"), "unknown-orchestrator", "did you mean `o`"),
        (wrong_source("secrets: [{env: S}], path: hooks"), "path", "begin with"),
        (wrong_source("secrets: [{env: S}], path: /a//b"), "path", "empty part"),
        (wrong_source("secrets: [{env: S}], path: /a?b"), "path", "characters"),
        (wrong_source("secrets: [{env: S}], allow_from: [10.0.0.0/99]"), "network", "no network"),
        (wrong_source("secrets: [{env: S}], allow_from: []"), "empty", "allow_from"),
        (wrong_source("secrets: [{env: S}], trusted_proxies: 99"), "out-of-range", "0 to 16"),
        (wrong_source("insecure_unsigned: true, secrets: [{env: S}]"), "unsigned", "contradict"),
        (wrong_source("insecure_unsigned: true, orchestrator: o"), "unsigned", "may not name"),
        (wrong_source("insecure_unsigned: yes"), "wrong-type", "true or false"),
        (format!("listen: '0.0.0.0:8080'\n{}", wrong_source("insecure_unsigned: true")), "unsigned", "allow_from"),
        (format!("{orchestrator}sources: {{p: {{poll: {{kind: jobs, folders: all, queues: [A]}}}}}}\n"), "contradiction", "queues"),
        (format!("{orchestrator}sources: {{p: {{poll: {{kind: robots, folders: all}}}}}}\n"), "kind", "jobs"),
        (format!("{orchestrator}sources: {{p: {{poll: {{kind: jobs, folders: all, at: '6 Berlin'}}}}}}\n"), "at", "Europe/Berlin"),
        (
            format!("{orchestrator}sources: {{p: {{poll: {{kind: jobs, folders: all, at: '06:00 Europe/Berlin', every: 1h}}}}}}\n"),
            "contradiction",
            "every",
        ),
        (format!("{orchestrator}sources: {{p: {{poll: {{kind: queue_items}}}}}}\n"), "missing-key", "which folders"),
        (
            format!("{orchestrator}sources: {{p: {{poll: {{kind: queue_items, folders: all, reconciles: hook}}}}}}\n"),
            "unknown-source",
            "hook",
        ),
        (format!("{orchestrator}sources: {{p: {{poll: {{kind: queue_items, folders: all, every: 1ms}}}}}}\n"), "out-of-range", "every"),
        (
            format!(
                "{orchestrator}sources:\n  a: {{webhook: {{secrets: [{{env: S}}]}}}}\n  b: {{webhook: {{path: /hooks/a, secrets: [{{env: S}}]}}}}\n"
            ),
            "duplicate-path",
            "in line 3",
        ),
    ];
    for (text, code, word) in cases {
        let (config, faults) = load_text(&text);
        let errors: Vec<_> = faults.iter().filter(|fault| fault.severity == Severity::Error).collect();
        // A wrong boolean also leaves the source without secrets; a wrong entry leaves the rest to be judged.
        let fault = errors.iter().find(|fault| fault.code == code);
        let fault = fault.unwrap_or_else(|| panic!("no `{code}` for\n{text}\n{:#?}", summary(&faults)));
        assert!(config.is_none(), "refused: {text}");
        assert!(fault.one_line().contains(word), "`{word}` in {} for\n{text}", fault.one_line());
        assert!(fault.place.is_some(), "{text}");
        assert!(errors.len() <= 2, "one mistake, one answer: {:#?}\n{text}", summary(&faults));
    }
}

#[test]
fn all_faults_come_at_once() {
    let (_, faults) = load_text("listen: x\nadmin: y\nstate: 5\nlimits: {body: 1}\nlog: {level: z}\nsources: {s: {webhook: {}}}\n");
    assert_eq!(faults.iter().filter(|f| f.severity == Severity::Error).count(), 6, "{:#?}", summary(&faults));
}

#[test]
fn warnings_do_not_refuse() {
    let text = "\
orchestrators:
  o: {url: 'http://o.corp', edition: suite, auth: {token: {env: T}}}
  c: {url: 'https://cloud.uipath.com/a/b', auth: {token: {env: T}}}
egress: {ca: missing.pem}
sources:
  s: {webhook: {insecure_unsigned: true, allow_from: [10.0.0.1]}}
";
    let (config, faults) = load_text(text);
    assert!(config.is_some(), "{:#?}", summary(&faults));
    let codes: Vec<_> = faults.iter().map(|fault| fault.code).collect();
    assert_eq!(codes, ["plain-http", "url", "unsigned", "ca"]);
    assert_eq!(config.expect("checked").sources["s"].orchestrator, None);
}

#[test]
fn a_ca_file_needs_a_certificate() {
    let world = FakeWorld::new()
        .with_file(FILE, "egress: {ca: ca.pem}\nrules: rules\n")
        .with_file("/etc/tripline/ca.pem", "-----BEGIN PRIVATE KEY-----\n");
    let (config, faults) = load(Path::new(FILE), &world);
    assert!(config.is_none() && faults.iter().any(|fault| fault.code == "ca" && fault.message.contains("no certificate")));
    let good = world.with_file("/etc/tripline/ca.pem", "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n");
    let (config, _) = load(Path::new(FILE), &good);
    assert_eq!(config.expect("good").egress.ca.as_deref(), Some(Path::new("/etc/tripline/ca.pem")));
}

#[test]
fn the_only_orchestrator_is_meant_and_of_several_one_must_be_named() {
    let one = "orchestrators: {o: {url: 'https://o.corp', edition: suite, auth: {token: {env: T}}}}\n";
    let sources = "sources: {s: {webhook: {secrets: [{env: S}]}}}\n";
    let (config, _) = load_text(&format!("{one}{sources}"));
    assert_eq!(config.expect("good").sources["s"].orchestrator.as_deref(), Some("o"));
    let two = one.replace("}}}}", "}}}, p: {url: 'https://p.corp', edition: suite, auth: {token: {env: T}}}}");
    let (config, faults) = load_text(&format!("{two}{sources}"));
    assert!(config.is_none());
    assert!(summary(&faults)[0].contains("one of o, p"), "{:#?}", summary(&faults));
}

#[test]
fn a_file_that_cannot_be_read_says_so() {
    let world = FakeWorld::new().with_bytes("/a/closed.yaml", b"x", 0).with_bytes("/a/latin.yaml", b"ok: 1\nx: caf\xe9\n", 0o600);
    for (path, word) in [("/a/none.yaml", "does not exist"), ("/a", "is a folder"), ("/a/closed.yaml", "may not be read")] {
        let (config, faults) = load(Path::new(path), &world);
        let fault = faults.iter().next().expect("a fault");
        assert!(config.is_none() && fault.code == FILE_UNREADABLE);
        assert!(fault.one_line().contains(word) && fault.one_line().contains(path), "{}", fault.one_line());
    }
    let (_, faults) = load(Path::new("/a/none.yaml"), &world);
    assert!(faults.iter().next().expect("a fault").one_line().contains("/etc/tripline/tripline.yaml"));
    let (_, faults) = load(Path::new("/a/latin.yaml"), &world);
    assert!(faults.iter().next().expect("a fault").one_line().starts_with("/a/latin.yaml:2:7: "), "{:#?}", summary(&faults));
    let (_, faults) = load(Path::new("/big.yaml"), &FakeWorld::new().with_file("/big.yaml", &"#".repeat(CONFIG_BYTES_MAX + 1)));
    assert_eq!(faults.iter().next().expect("a fault").code, "file-too-large");
}

#[test]
fn the_environment_overrides_and_is_checked() {
    let world = FakeWorld::new()
        .with_file(FILE, "rules: rules\n")
        .with_var("TRIPLINE_LISTEN", "0.0.0.0:80")
        .with_var("TRIPLINE_ADMIN", "127.0.0.1:0")
        .with_var("TRIPLINE_STATE", "here")
        .with_var("TRIPLINE_LOG", "debug");
    let (config, _) = load(Path::new(FILE), &world);
    let config = config.expect("good");
    assert_eq!((config.listen.to_string().as_str(), config.admin.to_string().as_str()), ("0.0.0.0:80", "127.0.0.1:0"));
    assert_eq!((config.state.to_str(), config.log.level.as_str()), (Some("/home/ops/here"), "debug"));
    for (text, format, level) in [
        ("json", LogFormat::Json, "info"),
        ("json,debug", LogFormat::Json, "debug"),
        ("tripline=trace, text,warn", LogFormat::Text, "tripline=trace,warn"),
        ("debug", LogFormat::Auto, "debug"),
    ] {
        let (config, _) = load(Path::new(FILE), &world.clone().with_var("TRIPLINE_LOG", text));
        let log = config.expect("good").log;
        assert_eq!((log.format, log.level.as_str()), (format, level), "{text}");
    }
    for (name, value) in [("TRIPLINE_LISTEN", "x"), ("TRIPLINE_ADMIN", ":80"), ("TRIPLINE_STATE", ""), ("TRIPLINE_LOG", "loud")] {
        let (config, faults) = load(Path::new(FILE), &world.clone().with_var(name, value));
        assert!(config.is_none());
        assert!(faults.iter().any(|fault| fault.code == "environment" && fault.message.contains(name)), "{:#?}", summary(&faults));
    }
    let (_, faults) = load(Path::new(FILE), &world.clone().with_var("TRIPLINE_ADMIN", "0.0.0.0:81"));
    assert!(faults.iter().any(|fault| fault.code == "admin-open"), "{:#?}", summary(&faults));
}

#[test]
fn secrets_are_read_from_where_they_are() {
    let text = GOOD.replace("{file: old}", "0123456789-written-out");
    let world = FakeWorld::new()
        .with_file(FILE, &text)
        .with_bytes("/etc/tripline/token", b"admin-token-0123456789\r\n", 0o644)
        .with_file("/run/credentials/orch_password", "hunter2\n\n")
        .with_var("CREDENTIALS_DIRECTORY", "/run/credentials")
        .with_var("APP_SECRET", "app-secret-0123456789");
    let (config, _) = load(Path::new(FILE), &world);
    let config = config.expect("good");
    let (secrets, faults) = config.resolve(&world);
    assert_eq!(secrets.admin_token.as_ref().map(crate::secret::Secret::expose), Some("admin-token-0123456789"));
    assert_eq!(secrets.orchestrators["prod"].expose(), "app-secret-0123456789");
    assert_eq!(secrets.orchestrators["onprem"].expose(), "hunter2\n");
    assert_eq!(secrets.sources["prod-hook"].len(), 1);
    assert_eq!(&*secrets.sources["prod-hook"][0].name, "secret 2");
    let codes: Vec<_> = faults.iter().map(|fault| fault.code).collect();
    let expected = ["secret-readable", "secret-short", "secret-white-space", SECRET_UNRESOLVED, "secret-plain", SECRET_UNRESOLVED];
    assert_eq!(codes, expected);
    let all = summary(&faults).join("\n");
    assert!(all.contains("chmod 600 /etc/tripline/token") && all.contains("`HOOK_SECRET` is not set"), "{all}");
    for secret in ["hunter2", "admin-token", "app-secret", "written-out"] {
        assert!(!all.contains(secret), "{secret} printed");
        assert!(!format!("{config:?}{secrets:?}").contains(secret), "{secret} printed by Debug");
    }

    let (secrets, faults) = config.resolve(&world.clone().with_var("HOOK_SECRET", "0123456789-written-out"));
    assert_eq!(secrets.sources["prod-hook"].len(), 1);
    assert_eq!(&*secrets.sources["prod-hook"][0].name, "env:HOOK_SECRET");
    assert!(faults.iter().any(|fault| fault.code == "secret-duplicate"));

    let (_, faults) = config.resolve(&world.with_var("HOOK_SECRET", ""));
    assert!(faults.iter().any(|fault| fault.code == "secret-empty" && fault.severity == Severity::Error));
}

#[test]
fn excerpts_show_no_secret() {
    let canary = "canary-4711";
    for text in [
        format!("admin_token: {canary}\nlissen: 5\n"),
        format!("admin_token: '{canary}', lissen: 5\n"),
        format!("sources: {{s: {{webhook: {{secrets: [{canary}, \"{canary}\"], pth: /x}}}}}}\n"),
        format!("orchestrators:\n  o:\n    url: https://user:{canary}@x.corp/y\n    edition: suite\n    auth:\n      token: {canary}\n"),
        format!("orchestrators:\n  o:\n    auth:\n      token: |\n        {canary}\n        {canary}\n"),
        format!("orchestrators: {{o: {{auth: {{password: {{username: a, password: {canary}}}}}, x: 1}}}}\n"),
        format!("secrets: [{canary}\n"),
        format!("admin_token: {canary}: x\n"),
    ] {
        let (_, faults) = load_text(&text);
        assert!(!faults.is_empty());
        for fault in &faults {
            assert!(!fault.one_line().contains(canary), "{}", fault.one_line());
            if let Some(place) = &fault.place {
                assert!(!place.source.text.contains(canary), "{}", place.source.text);
                assert_eq!(place.source.text.lines().count(), text.lines().count());
            }
        }
    }
}

#[test]
fn rule_files_are_sorted_and_hidden_ones_left_out() {
    let world = FakeWorld::new()
        .with_file(FILE, "rules: [rules, one.yaml]\n")
        .with_file("/etc/tripline/one.yaml", "a")
        .with_file("/etc/tripline/rules/b.yaml", "b")
        .with_file("/etc/tripline/rules/a.yml", "c")
        .with_file("/etc/tripline/rules/.#b.yaml", "lock")
        .with_file("/etc/tripline/rules/notes.txt", "text");
    let (config, _) = load(Path::new(FILE), &world);
    let config = config.expect("good");
    let (files, faults) = config.rule_files(&world);
    assert!(faults.is_empty(), "{:#?}", summary(&faults));
    let names: Vec<_> = files.iter().map(|file| file.path.display().to_string()).collect();
    assert_eq!(names, ["/etc/tripline/one.yaml", "/etc/tripline/rules/a.yml", "/etc/tripline/rules/b.yaml"]);

    let (_, faults) = config.rule_files(&FakeWorld::new().with_folder("/etc/tripline/rules"));
    assert_eq!(faults.iter().map(|fault| fault.code).collect::<Vec<_>>(), ["rules-missing"]);
    let empty = FakeWorld::new().with_file("/etc/tripline/rules/notes.txt", "text").with_folder("/etc/tripline/one.yaml");
    let (files, faults) = config.rule_files(&empty);
    assert!(files.is_empty() && !faults.any_error());
    assert_eq!(faults.iter().map(|fault| fault.code).collect::<Vec<_>>(), ["no-rules"]);
    let (_, faults) = config.rule_files(&world.with_bytes("/etc/tripline/rules/b.yaml", b"\xff", 0o600));
    assert_eq!(faults.iter().map(|fault| fault.code).collect::<Vec<_>>(), ["file-encoding"]);
}

#[test]
fn a_watch_for_stuck_items_needs_a_source_that_brings_items() {
    let orchestrators = "orchestrators:\n  o: {url: 'https://o.corp/x', edition: suite, auth: {token: {env: T}}}\n  p: {url: 'https://p.corp/x', edition: suite, auth: {token: {env: T}}}\n";
    let warned = |sources: &str| {
        let world = FakeWorld::new().with_file("/etc/tripline/tripline.yaml", &format!("{orchestrators}sources:\n{sources}"));
        let (config, faults) = load(Path::new(FILE), &world);
        assert!(config.is_some(), "{:?}", faults.iter().map(crate::fault::Fault::one_line).collect::<Vec<_>>());
        faults.iter().any(|fault| fault.code == "no-items")
    };
    let watch = "  w: {watch: {stuck: {queue: Q, longer_than: 2h, orchestrator: o}}}\n";
    assert!(warned(watch));
    assert!(warned(&format!("{watch}  h: {{webhook: {{orchestrator: p, secrets: [{{env: S}}]}}}}\n")));
    assert!(!warned(&format!("{watch}  h: {{webhook: {{orchestrator: o, secrets: [{{env: S}}]}}}}\n")));
    assert!(!warned(&format!("{watch}  p: {{poll: {{orchestrator: o, kind: queue_items, folders: all}}}}\n")));
    assert!(!warned("  w: {watch: {absent: {events: ping, within: 1h}}}\n"));
}
