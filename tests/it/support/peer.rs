//! The simulated Orchestrator of the project on a port of its own; everything goes over HTTP.

use serde_json::Value;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::http;

/// A sandbox that runs until it is dropped.
pub(crate) struct Sandbox {
    pub(crate) url: String,
    http: reqwest::Client,
    stop: CancellationToken,
    _task: JoinSet<()>,
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Starts one with its usual seed: folders Shared and Finance, queues Invoices, Payments, Invoices-Review and Open.
pub(crate) async fn start_sandbox() -> Sandbox {
    start_sandbox_as(tripline::sandbox::Options::default()).await
}

/// Starts one that behaves as `options` say.
pub(crate) async fn start_sandbox_as(options: tripline::sandbox::Options) -> Sandbox {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let stop = CancellationToken::new();
    let mut task = JoinSet::new();
    task.spawn(tripline::sandbox::run(options, listener, stop.clone()));
    Sandbox { url, http: http(), stop, _task: task }
}

impl Sandbox {
    /// Asks it; the JSON of the answer.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let request = self.http.get(format!("{}{path}", self.url)).bearer_auth("sandbox-pat").header("X-UIPATH-OrganizationUnitId", "2");
        request.send().await.expect("an answer").json().await.expect("json")
    }

    /// Posts JSON to it.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let request = self.http.post(format!("{}{path}", self.url)).bearer_auth("sandbox-pat").header("X-UIPATH-OrganizationUnitId", "2");
        let answer = request.json(body).send().await.expect("an answer");
        (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
    }

    /// Asks it anything in the folder Finance; status and JSON of the answer.
    pub(crate) async fn call(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let request = self.http.request(method.parse().expect("a method"), format!("{}{path}", self.url));
        let request = request.bearer_auth("sandbox-pat").header("X-UIPATH-OrganizationUnitId", "2");
        let request = if body.is_null() { request } else { request.json(body) };
        let answer = request.send().await.expect("an answer");
        (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
    }

    /// Has it behave again.
    pub(crate) async fn clear_faults(&self) {
        let request = self.http.delete(format!("{}/sandbox/faults", self.url)).bearer_auth("sandbox-pat");
        assert!(request.send().await.expect("an answer").status().is_success());
    }

    /// Puts JSON.
    pub(crate) async fn put(&self, path: &str, body: &Value) {
        let request = self.http.put(format!("{}{path}", self.url)).bearer_auth("sandbox-pat");
        let answer = request.json(body).send().await.expect("an answer");
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
    }

    /// References of all items of a queue, page by page.
    pub(crate) async fn references(&self, queue: &str) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            let path =
                format!("/odata/QueueItems?$filter=QueueDefinition/Name%20eq%20%27{queue}%27&$orderby=Id&$top=100&$skip={}", all.len());
            let page = self.get(&path).await;
            let items = page["value"].as_array().unwrap_or_else(|| panic!("no list: {page}")).clone();
            all.extend(items.iter().filter_map(|item| item["Reference"].as_str().map(str::to_owned)));
            if items.len() < 100 {
                return all;
            }
        }
    }

    /// Requests that reached the sink `name`.
    pub(crate) async fn sink(&self, name: &str) -> Vec<Value> {
        self.get(&format!("/sandbox/sinks/{name}")).await["items"].as_array().cloned().unwrap_or_default()
    }

    /// Has it misbehave.
    pub(crate) async fn fault(&self, fault: Value) {
        let (status, answer) = self.post("/sandbox/faults", &fault).await;
        assert!(status < 300, "{status} {answer}");
    }
}
