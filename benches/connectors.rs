//! What a connector adds to a request: a call of an operation against a server over loopback (rendered, checked, authorised, sent,
//! its answer judged and curated), beside a bare `reqwest` call of the same request to the same server, one in turn with the other.
//!
//! The figure is the ratio of the medians; both run in this process, one request at a time on a kept connection.

#![allow(clippy::print_stdout, clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tripline::calls::{Asked, Calls};
use tripline::clock::Clock;
use tripline::config::Egress;
use tripline::connectors::{Access, Caller, Connectors};
use tripline::expr::At;
use tripline::fault::SourceText;
use tripline::http::client::Client;
use tripline::runs::Who;
use tripline::secret::Secret;
use tripline::time::Timestamp;

const ROUNDS: usize = 4_000;
/// Before anything counts.
const WARM: usize = 400;
/// The most that a call may take in multiples of the bare one.
const LIMIT: f64 = 1.3;
const ANSWER: &str =
    r#"{"data": [{"url": "https://images.example/1", "revised_prompt": "a robot at a desk", "n": 1}], "created": 1763800000}"#;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(measure());
}

async fn measure() {
    let address = serve().await;
    let text = format!(
        "connector: images\nbase_url: http://{address}/v1\nconfig: {{model: big-3}}\nauth: {{bearer: {{env: UNUSED}}}}\noperations:\n  \
         generate:\n    method: POST\n    path: /images/generations\n    input:\n      prompt: {{required: true, max_length: 4000}}\n      \
         size: {{enum: [1024x1024, 1792x1024], default: 1024x1024}}\n    \
         body: {{model: \"${{config.model}}\", prompt: \"${{input.prompt}}\", n: 1, size: \"${{input.size}}\"}}\n    \
         output: {{root: data, fields: {{url: \"${{entry.url}}\"}}}}\n"
    );
    let (connectors, faults) = Connectors::load(&[Arc::new(SourceText { path: "images.yaml".into(), text })], None);
    let connector = connectors.get("images").unwrap_or_else(|| panic!("{:?}", faults.iter().next()));
    let operation = &connector.operations["generate"];
    let token = BTreeMap::from([("bearer", Secret::new("a-token-of-some-length".to_owned()))]);
    let access = Access::new("images".into(), json!({"model": "big-3"}), token, Vec::new());
    let calls = Calls::new(Client::new(&Egress::default()).expect("a client"), Clock::system());
    let bare = reqwest::Client::builder().no_proxy().build().expect("a client");
    let url = format!("http://{address}/v1/images/generations");
    let body = json!({"model": "big-3", "prompt": "a robot at a desk", "n": 1, "size": "1024x1024"});
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..WARM + ROUNDS {
        let begin = Instant::now();
        let said = json!({"prompt": "a robot at a desk"});
        let input = operation.input(said.as_object().expect("a mapping"), access.config(), &At::root("with")).expect("an input");
        let caller = Caller { run: "run".into(), rule: "rule".into(), idempotency_key: Some(round.to_string()), now: Timestamp::EPOCH };
        let request = connector.request(operation, &input, access.config(), &caller).expect("a request");
        let asked = Asked { connector, operation, access: &access, input: &input, timeout: Duration::from_secs(30), who: Who::Action };
        let value = calls.carry_out(&asked, &request).await.result.expect("a value");
        let took = begin.elapsed();
        assert_eq!(value[0]["url"], "https://images.example/1");
        let begin = Instant::now();
        let answer = bare.post(&url).bearer_auth("a-token-of-some-length").json(&body).send().await.expect("an answer");
        let value: Value = answer.json().await.expect("JSON");
        let bare_took = begin.elapsed();
        assert_eq!(value["data"][0]["url"], "https://images.example/1");
        if round >= WARM {
            ours.push(took);
            theirs.push(bare_took);
        }
    }
    let (ours, theirs) = (median(ours), median(theirs));
    let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
    let verdict = if ratio <= LIMIT { "holds" } else { "MISSED" };
    println!("bare reqwest   {theirs:>10.1?}");
    println!("connector call {ours:>10.1?}  {ratio:.2} times bare; limit {LIMIT}: {verdict}");
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort();
    all[all.len() / 2]
}

/// Answers every request with the same body.
async fn serve() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("an address");
    // It serves until the bench ends.
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move { drop(answer(stream).await) });
        }
    });
    address
}

async fn answer(stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{ANSWER}", ANSWER.len());
    loop {
        let (mut length, mut line) = (0, String::new());
        loop {
            line.clear();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        stream.write_all(answer.as_bytes()).await?;
    }
}
