//! `tripline sandbox`: a simulated Orchestrator, for development and tests.

use std::net::SocketAddr;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::output::{Out, STRONG, Stop, WARN, paint, say};
use super::{INTERRUPTED, YES, client};
use crate::sandbox::{Options, check_fault, run as serve};
use crate::time::{Rate, parse_duration};

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "expected ADDRESS:PORT, such as `127.0.0.1:9000` or `[::1]:9000`".to_owned())
}

/// How the sandbox behaves; everything else is Orchestrator's own.
#[derive(Debug, clap::Args)]
pub(super) struct SandboxArgs {
    /// Where to listen; port 0 is any free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9000", value_parser = address)]
    listen: SocketAddr,
    /// How long a webhook stays off after a failed delivery
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_duration)]
    breaker: Duration,
    /// How long a delivery may take
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_duration)]
    delivery_timeout: Duration,
    /// How long a token is valid
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_duration)]
    token_lifetime: Duration,
    /// What `api-supported-versions` says
    #[arg(long, value_name = "VERSION", default_value = "20.0")]
    api_version: String,
    /// Refuse calls that a token's scopes do not cover
    #[arg(long)]
    enforce_scopes: bool,
    /// The share of deliveries that are lost on the way, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = parse_share)]
    webhook_loss: f64,
    /// The `TenantId` in events
    #[arg(long, value_name = "ID", default_value_t = 1)]
    tenant_id: i64,
    /// A fault from the start, as `POST /sandbox/faults` takes it: '{"kind": "503", "times": 2}'
    #[arg(long = "fault", value_name = "JSON", value_parser = parse_fault)]
    faults: Vec<serde_json::Value>,
    /// Begin without queues, processes and robots
    #[arg(long)]
    empty: bool,
    /// Without the change feed of queue items, as not every Orchestrator has it
    #[arg(long)]
    no_feed: bool,
    /// Without counters of queues
    #[arg(long)]
    no_counters: bool,
    /// Refuse more requests to the lists of items and jobs with 429, as Automation Cloud does beyond 100/min
    #[arg(long, value_name = "RATE", value_parser = Rate::parse)]
    list_rate: Option<Rate>,
}

fn parse_share(text: &str) -> Result<f64, String> {
    let share = text.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "expected a number from 0 to 1".to_owned())
}

fn parse_fault(text: &str) -> Result<serde_json::Value, String> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(|error| format!("this is no JSON: {error}"))?;
    check_fault(&value).map(|()| value)
}

/// Serves until Ctrl-C.
pub(super) fn run(args: &SandboxArgs, out: &mut Out) -> Result<u8, Stop> {
    let options = Options {
        breaker: args.breaker,
        delivery_timeout: args.delivery_timeout,
        token_lifetime: args.token_lifetime,
        api_version: args.api_version.clone(),
        enforce_scopes: args.enforce_scopes,
        webhook_loss: args.webhook_loss,
        tenant_id: args.tenant_id,
        seed: !args.empty,
        feed: !args.no_feed,
        counters: !args.no_counters,
        list_rate: args.list_rate,
        ..Options::default()
    };
    if !args.listen.ip().is_loopback() {
        say(&format!("{}: {} can be reached from other machines, and any client id gets a token", paint(WARN, "warning"), args.listen));
    }
    client::runtime()?.block_on(async {
        let cannot = |error: std::io::Error| Stop::unknown(format!("cannot listen on {}: {error}", args.listen));
        let listener = tokio::net::TcpListener::bind(args.listen).await.map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        let stop = CancellationToken::new();
        let begin = async {
            ask_for(&args.faults, address).await?;
            out.line(&format!("{} for development and tests; it keeps nothing", paint(STRONG, "a simulated Orchestrator")))?;
            out.line(&format!("  url:     http://{address}"))?;
            out.line("  edition: standalone")?;
            out.line(&format!("  faults:  POST http://{address}/sandbox/faults"))?;
            out.flush()?;
            std::future::pending::<Result<u8, Stop>>().await
        };
        tokio::select! {
            () = serve(options, listener, stop.clone()) => Ok(YES),
            refused = begin => refused,
            _ = tokio::signal::ctrl_c() => {
                stop.cancel();
                Ok(INTERRUPTED)
            }
        }
    })
}

/// Asks the sandbox for the faults that were given, so that a misspelt one ends the command with the sandbox's own words.
async fn ask_for(faults: &[serde_json::Value], address: SocketAddr) -> Result<(), Stop> {
    if faults.is_empty() {
        return Ok(());
    }
    let host = if address.ip().is_unspecified() { format!("127.0.0.1:{}", address.port()) } else { address.to_string() };
    let url = format!("http://{host}/sandbox/faults");
    let http = client::http(reqwest::Client::builder(), &url)?;
    for fault in faults {
        let failed = |error: reqwest::Error| Stop::unknown(format!("the sandbox did not answer: {}", client::why(&error)));
        let answer = http.post(&url).json(fault).send().await.map_err(failed)?;
        if !answer.status().is_success() {
            let body: serde_json::Value = answer.json().await.unwrap_or_default();
            let why = body.get("message").and_then(serde_json::Value::as_str).unwrap_or("it is refused");
            return Err(Stop::unknown(format!("--fault {fault}: {why}")));
        }
    }
    Ok(())
}
