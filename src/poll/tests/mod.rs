//! Sources read from the simulated Orchestrator into a real journal, pass by pass, in a time that the tests move.

mod faults;
mod histories;
#[path = "../../../tests/it/support/lives.rs"]
mod lives;
mod past;
mod ways;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::pass::{Pass, Reader};
use super::{Arguments, Backfills, PAUSE_MAX, Poll, Polled, Statuses, TURN_LOOK, pause, wait_for_turn};
use crate::clock::Clock;
use crate::config::{AuthConfig, Chosen, Edition, Egress, OrchestratorConfig, PollKind, PollSource, SecretFrom, SecretRef};
use crate::event::Event;
use crate::fault::{Place, SourceText};
use crate::http::client::Client;
use crate::journal::{EventQuery, Journal, Options};
use crate::normalize::SourceView;
use crate::orchestrator::Orchestrator;
use crate::rules::FolderRef;
use crate::sandbox;
use crate::secret::Secret;
use crate::time::{Daily, Timestamp};

/// The tenant part of keys.
const TENANT: &str = "http://sandbox.example/";

/// A sandbox, and a journal that sources are read into.
struct Bench {
    clock: Clock,
    base: String,
    http: reqwest::Client,
    dir: TempDir,
    journal: Option<Journal>,
    statuses: Statuses,
    _task: JoinSet<()>,
    _stop: DropGuard,
}

fn options() -> sandbox::Options {
    sandbox::Options { clock: clock(), first_id: Some(1000), ..sandbox::Options::default() }
}

fn clock() -> Clock {
    Clock::manual(Timestamp::parse_lenient("2026-11-22T10:00:00Z").expect("a moment"))
}

impl Bench {
    async fn start(options: sandbox::Options) -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        let stop = CancellationToken::new();
        let guard = stop.clone().drop_guard();
        let clock = options.clock.clone();
        let mut task = JoinSet::new();
        task.spawn(sandbox::run(options, listener, stop));
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        let mut bench = Self {
            clock,
            base,
            http,
            dir: tempfile::tempdir().expect("a folder"),
            journal: None,
            statuses: Statuses::default(),
            _task: task,
            _stop: guard,
        };
        bench.open();
        bench
    }

    /// Opens the journal, as a start does.
    fn open(&mut self) {
        self.journal = None;
        let options = Options { segment_bytes: 4 << 20, clock: self.clock.clone(), boot_id: "boot".to_owned() };
        self.journal = Some(Journal::open(self.dir.path(), options).expect("opens").0);
    }

    fn journal(&self) -> &Journal {
        self.journal.as_ref().expect("open")
    }

    /// Lets time pass.
    fn pass_time(&self, seconds: u64) {
        self.clock.set(self.clock.now().plus(Duration::from_secs(seconds)));
    }

    fn poll(&self) -> Poll {
        Poll {
            journal: self.journal().clone(),
            sources: watch::channel(Arc::default()).1,
            clock: self.clock.clone(),
            statuses: self.statuses.clone(),
            backfills: Backfills::new(self.journal().clone()),
        }
    }

    fn source(&self, kind: PollKind) -> Polled {
        let text = Arc::new(SourceText { path: "tripline.yaml".into(), text: String::new() });
        let secret = SecretRef { from: SecretFrom::Env("X".into()), place: Place { source: text, line: 1, column: 1, length: 0 } };
        let config = OrchestratorConfig {
            name: "prod".into(),
            url: self.base.clone(),
            edition: Edition::Standalone,
            tenant: Some("Default".into()),
            auth: AuthConfig::Token(secret),
            folder: Some(FolderRef::Path("Finance".into())),
            list_rate: None,
        };
        let http = Client::new(&Egress::default()).expect("a client");
        Polled {
            config: PollSource {
                name: "poll".into(),
                kind,
                orchestrator: "prod".into(),
                folders: Chosen::These(vec![FolderRef::Path("Finance".into())]),
                queues: Chosen::All,
                every: Duration::from_secs(10),
                at: None,
                look_back: Duration::from_secs(3600),
                reconciles: None,
                webhook_within: Duration::from_secs(120),
            },
            orchestrator: Orchestrator::new(config, Secret::new("sandbox-pat".into()), http, self.clock.clone()),
            view: SourceView { name: "poll".into(), tenant_url: Some(TENANT.into()) },
            eye: None,
            arguments: Arguments::default(),
        }
    }

    async fn call(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let request = self.http.request(method.parse().expect("a method"), format!("{}{path}", self.base));
        let request = request.bearer_auth("sandbox-pat").header("X-UIPATH-OrganizationUnitId", "2");
        let request = if body.is_null() { request } else { request.json(body) };
        let answer = request.send().await.expect("an answer");
        (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
    }

    async fn get(&self, path: &str) -> Value {
        let (status, body) = self.call("GET", path, &Value::Null).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.call("POST", path, &body).await;
        assert!(status < 300, "{path} {body}: {status} {answer}");
        answer
    }

    async fn fault(&self, fault: Value) {
        self.post("/sandbox/faults", fault).await;
    }

    async fn add(&self, queue: &str, reference: &str) -> i64 {
        let item = json!({"itemData": {"Name": queue, "Reference": reference, "SpecificContent": {"Invoice": reference}}});
        self.post("/odata/Queues/UiPathODataSvc.AddQueueItem", item).await["Id"].as_i64().expect("an id")
    }

    async fn take(&self, queue: &str, reference: &str) -> Option<i64> {
        let start = json!({"transactionData": {"Name": queue, "Reference": reference, "ReferenceFilterOption": "Equals"}});
        let (_, started) = self.call("POST", "/odata/Queues/UiPathODataSvc.StartTransaction", &start).await;
        started["Id"].as_i64()
    }

    async fn end(&self, id: i64, result: Value) {
        self.post(&format!("/odata/Queues({id})/UiPathODataSvc.SetTransactionResult"), json!({"transactionResult": result})).await;
    }

    /// Adds an item, has it taken and end well; its id.
    async fn live(&self, queue: &str, reference: &str) -> i64 {
        let id = self.add(queue, reference).await;
        assert_eq!(self.take(queue, reference).await, Some(id));
        self.end(id, json!({"IsSuccessful": true, "Output": {"Total": 7}})).await;
        id
    }

    async fn start_job(&self) -> i64 {
        let info = json!({"startInfo": {"ReleaseName": "InvoiceProcessing", "InputArguments": "{\"in\": 1}"}});
        let started = self.post("/odata/Jobs/UiPath.Server.Configuration.OData.StartJobs", info).await;
        started["value"][0]["Id"].as_i64().expect("an id")
    }

    async fn move_job(&self, id: i64, state: &str) {
        self.post(&format!("/sandbox/jobs/{id}"), json!({"state": state, "output": {"out": 2}})).await;
    }

    fn events(&self) -> Vec<Event> {
        let mut query = EventQuery { limit: usize::MAX, ..EventQuery::default() };
        let mut events = Vec::new();
        loop {
            let page = self.journal().events(&query).expect("reads");
            events.splice(0..0, page.items);
            match page.next {
                None => return events,
                next => query.before = next,
            }
        }
    }

    /// Types of the events of each thing, in the order of the journal.
    fn told(&self) -> BTreeMap<i64, Vec<String>> {
        let mut told: BTreeMap<i64, Vec<String>> = BTreeMap::new();
        for event in self.events() {
            let id = ["QueueItem", "Job"].iter().find_map(|name| event.data()[name]["Id"].as_i64()).expect("an id");
            told.entry(id).or_default().push(event.event_type().rsplit('.').next().unwrap_or_default().to_owned());
        }
        told
    }

    /// Requests to Orchestrator so far, by the last part of their paths.
    async fn requests(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for request in self.get("/sandbox/requests").await["items"].as_array().expect("a list") {
            let path = request["path"].as_str().unwrap_or_default();
            *counts.entry(path.rsplit(['/', '.']).next().unwrap_or_default().to_owned()).or_insert(0) += 1;
        }
        counts
    }

    async fn forget_requests(&self) {
        self.call("DELETE", "/sandbox/requests", &Value::Null).await;
    }
}

/// A pass that must succeed.
async fn good(reader: &mut Reader<'_>) -> Pass {
    let pass = reader.pass().await;
    assert_eq!(pass.failure, None);
    assert!(!pass.ended);
    pass
}

#[test]
fn the_pause_follows_what_happens() {
    let every = Duration::from_secs(10);
    assert_eq!(pause(every, 0, 0, None, 0.5), every);
    assert_eq!(pause(every, 3, 0, None, 0.5), Duration::from_millis(2500));
    assert_eq!(pause(Duration::from_secs(1), 3, 0, None, 0.5), Duration::from_millis(500));
    assert_eq!(pause(every, 0, 1, None, 1.0), every);
    assert_eq!(pause(every, 0, 3, None, 1.0), Duration::from_secs(40));
    assert_eq!(pause(every, 0, 30, None, 1.0), PAUSE_MAX);
    assert_eq!(pause(every, 0, 1, Some(Duration::from_secs(77)), 0.0), Duration::from_secs(77));
    assert!(pause(every, 0, 1, None, 0.0) >= every / 2);
}

/// Whether a turn is waited for: false when there is none to wait for after so many looks at the clock.
async fn waits(clock: &Clock, known: Option<Timestamp>, looks: u32) -> bool {
    let at = Daily::parse("06:00 Europe/Berlin").expect("a time of day");
    tokio::time::timeout(TURN_LOOK * looks + Duration::from_millis(1), wait_for_turn(clock, Some(at), known)).await.is_err()
}

#[tokio::test(start_paused = true)]
async fn a_turn_is_waited_for_by_the_clock_on_the_wall_and_made_up_for() {
    let moment = |text: &str| Timestamp::parse_lenient(text).expect("a moment");
    // 06:00 in Berlin, in winter.
    let turn = moment("2026-11-23T05:00:00Z");
    let clock = Clock::manual(moment("2026-11-22T05:00:01Z"));
    let known = Some(clock.now());
    assert!(!waits(&clock, None, 0).await, "what was never read is read at once");
    assert!(!waits(&clock, Some(clock.now().minus(Duration::from_secs(2))), 0).await, "the turn was missed while nobody looked");
    assert!(waits(&clock, known, 3000).await, "the clock decides, not how long was slept");
    clock.set(turn.minus(Duration::from_millis(1)));
    assert!(waits(&clock, known, 1).await);
    clock.set(turn);
    assert!(!waits(&clock, known, 0).await);
    assert!(waits(&clock, Some(turn), 3000).await, "once for each turn");
    // The clock is set while somebody waits: forward over the turn it is seen at the next look, back it is waited for again.
    let clock = Clock::manual(moment("2026-11-22T12:00:00Z"));
    let known = Some(clock.now());
    let waiting = waits(&clock, known, 2);
    let set = async {
        tokio::time::sleep(TURN_LOOK / 2).await;
        clock.set(turn.plus(Duration::from_secs(3600)));
    };
    assert!(!tokio::join!(waiting, set).0);
    clock.jump(turn.minus(Duration::from_secs(60)));
    assert!(waits(&clock, known, 10).await);
}
