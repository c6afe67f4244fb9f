//! The client against the simulated Orchestrator: two independent readings of the same documentation.

use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::*;
use crate::http::client::Outgoing;
use crate::sandbox::{Options, run};

struct Bench {
    base: String,
    _task: JoinSet<()>,
    _stop: DropGuard,
}

impl Bench {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let guard = stop.clone().drop_guard();
        let mut task = JoinSet::new();
        task.spawn(run(Options::default(), listener, stop));
        Self { base, _task: task, _stop: guard }
    }

    fn client(&self, edition: Edition, auth: AuthConfig) -> Orchestrator {
        let base = match edition {
            Edition::Standalone => self.base.clone(),
            Edition::Cloud | Edition::Suite => format!("{}/acme/Default/orchestrator_", self.base),
        };
        orchestrator(config(&base, edition, auth)).0
    }

    async fn fault(&self, fault: Value) {
        let http = Client::new(&Egress::default()).unwrap();
        let request = Outgoing {
            method: "POST".into(),
            url: format!("{}/sandbox/faults", self.base),
            written_out: true,
            headers: vec![("content-type".into(), "application/json".into())],
            body: Some(fault.to_string().into()),
            timeout: LONG,
        };
        let answer = http.send(request).await.unwrap();
        assert!(answer.status < 300, "{answer:?}");
    }
}

fn item(queue: &str, reference: &str) -> Enqueue {
    let content = json!({"Amount": 12.5, "Name": "Zoë"}).as_object().unwrap().clone();
    Enqueue { queue: queue.into(), reference: reference.into(), priority: Some("High".into()), content, ..enqueue() }
}

fn new_id(called: Called<Added>) -> i64 {
    match called.result {
        Ok(Added::New(item)) => item["Id"].as_i64().unwrap(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn items_are_added_once_and_found_again_on_every_edition() {
    let bench = Bench::start().await;
    let user_key = || AuthConfig::UserKey {
        client_id: "app".into(),
        refresh_token: secret_ref(),
        token_url: Some(format!("{}/oauth/token", bench.base)),
    };
    let password = || AuthConfig::Password { username: "admin".into(), password: secret_ref() };
    for (edition, auth) in [
        (Edition::Cloud, client_credentials()),
        (Edition::Suite, client_credentials()),
        (Edition::Standalone, client_credentials()),
        (Edition::Cloud, user_key()),
        (Edition::Standalone, password()),
    ] {
        let named = format!("{edition:?} {}", matches!(auth, AuthConfig::ClientCredentials { .. }));
        let client = bench.client(edition, auth);
        let reference = format!("O'Brien & Söhne {named}");
        let id = new_id(client.add_queue_item(None, &item("Invoices", &reference), PARENT, LONG).await);
        let read = client.item(None, id, LONG).await.result.unwrap().unwrap();
        assert_eq!(read["Reference"], json!(reference));
        assert_eq!(read["ParentOperationId"], json!(PARENT), "{named}");
        assert_eq!(read["SpecificContent"]["Name"], json!("Zoë"));
        let found = client.item_by_reference(None, "Invoices", &reference, LONG).await.result.unwrap().unwrap();
        assert_eq!(found["Id"], json!(id));
        assert!(client.queue(None, "Invoices", LONG).await.result.unwrap().unwrap().unique);
        // The same step again, and another one with the same reference.
        for (parent, ours) in [(PARENT, true), ("tl:01A-ff:other:1", false)] {
            let again = client.add_queue_item(None, &item("Invoices", &reference), parent, LONG).await.result.unwrap();
            let Added::AlreadyThere { item: Some(found), ours: told } = again else { panic!("{again:?}") };
            assert_eq!((found["Id"].as_i64(), told), (Some(id), Some(ours)), "{named}");
        }
        assert_eq!(client.item(None, id + 1_000_000, LONG).await.result, Ok(None));
        assert_eq!(client.item_by_reference(None, "Invoices", "absent", LONG).await.result, Ok(None));
        for folder in [FolderRef::Id(2), FolderRef::Path("Finance".into())] {
            assert!(client.item(Some(&folder), id, LONG).await.result.unwrap().is_some(), "{folder:?}");
        }
    }
}

#[tokio::test]
async fn jobs_are_started_and_found_by_reference() {
    let bench = Bench::start().await;
    let client = bench.client(Edition::Cloud, client_credentials());
    let job = StartJob {
        process: "InvoiceProcessing".into(),
        reference: "job 'one'".into(),
        input: json!({"in_Id": 7}).as_object().unwrap().clone(),
        ..start_job()
    };
    let started = client.start_job(None, &job, PARENT, LONG).await.result.unwrap();
    let found = client.job_by_reference(None, "job 'one'", LONG).await.result.unwrap().unwrap();
    assert_eq!(started["Id"], found["Id"]);
    // A job shows its reference; what it was started by is not among the documented fields of a job.
    assert_eq!(found["Reference"], "job 'one'");
    assert_eq!(client.job_by_reference(None, "absent", LONG).await.result, Ok(None));
    let absent = StartJob { process: "Absent".into(), ..start_job() };
    assert_eq!(client.start_job(None, &absent, PARENT, LONG).await.result.expect_err("no process").class, Class::Configuration);
}

#[tokio::test]
async fn what_is_set_up_wrongly_is_configuration() {
    let bench = Bench::start().await;
    let client = bench.client(Edition::Cloud, client_credentials());
    for (folder, queue) in [
        (FolderRef::Path("Finance".into()), "Absent"),
        (FolderRef::Path("Absent".into()), "Invoices"),
        (FolderRef::Id(99), "Invoices"),
        (FolderRef::Path("Shared".into()), "Invoices"),
    ] {
        let failure = client.add_queue_item(Some(&folder), &item(queue, "r"), PARENT, LONG).await.result.expect_err("wrong");
        assert_eq!(failure.class, Class::Configuration, "{folder:?} {queue}: {failure}");
    }
    let lost = orchestrator(config(&format!("{}/nothing/is/served/here", bench.base), Edition::Standalone, client_credentials())).0;
    assert_eq!(lost.item(None, 1, LONG).await.result.expect_err("wrong").class, Class::Configuration);
}

#[tokio::test]
async fn an_add_with_an_unknown_outcome_can_be_looked_up() {
    let bench = Bench::start().await;
    let client = bench.client(Edition::Cloud, client_credentials());
    // The token is got first, so that a short time is enough for the rest.
    assert_eq!(client.item(None, 1, LONG).await.result, Ok(None));
    let path = json!({"path": "AddQueueItem"});
    for (n, (fault, class, there)) in [
        (json!({"kind": "reset", "match": path}), Class::Unknown, false),
        (json!({"kind": "reset_after_commit", "match": path}), Class::Unknown, true),
        (json!({"kind": "timeout_after_commit", "match": path}), Class::Unknown, true),
        (json!({"kind": "truncated", "match": path}), Class::Unknown, true),
        (json!({"kind": "503", "match": path}), Class::Server, false),
        (json!({"kind": "429", "match": path, "retry_after": 17}), Class::Throttled, false),
        (json!({"kind": "html", "match": path}), Class::Auth, false),
        (json!({"kind": "redirect", "match": path}), Class::Configuration, false),
    ]
    .into_iter()
    .enumerate()
    {
        bench.fault(fault.clone()).await;
        let reference = format!("fault-{n}");
        let timeout = if fault["kind"] == "timeout_after_commit" { Duration::from_secs(2) } else { LONG };
        let failure = client.add_queue_item(None, &item("Open", &reference), PARENT, timeout).await.result.expect_err("a fault");
        assert_eq!(failure.class, class, "{fault}: {failure}");
        if class == Class::Throttled {
            assert_eq!(failure.retry_after, Some(Duration::from_secs(17)));
        }
        let found = client.item_by_reference(None, "Open", &reference, LONG).await.result.unwrap();
        assert_eq!(found.is_some(), there, "{fault}");
    }
    bench.fault(json!({"kind": "expired_tokens"})).await;
    new_id(client.add_queue_item(None, &item("Open", "after"), PARENT, LONG).await);
}
