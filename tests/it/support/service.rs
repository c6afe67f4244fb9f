//! An HTTP service in this process that answers as it is told and remembers what came.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::listen;

/// A request as it came: its first line and headers, its body.
#[derive(Clone, Debug)]
pub(crate) struct Came {
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Came {
    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// What is done with a request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// Answered with a status, further header lines (each with its line end) and a body.
    Answer(u16, &'static str, String),
    /// The connection is closed.
    Close,
}

impl Reply {
    /// An answer in JSON.
    pub(crate) fn json(status: u16, body: impl Into<String>) -> Self {
        Self::Answer(status, "Content-Type: application/json\r\n", body.into())
    }
}

/// A service that lives until it is dropped.
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    came: Arc<Mutex<Vec<Came>>>,
    _task: JoinSet<()>,
}

impl Service {
    /// Starts one on a port of its own.
    pub(crate) async fn start(answer: impl Fn(&Came) -> Reply + Send + Sync + 'static) -> Self {
        let (came, answer) = (Arc::<Mutex<Vec<Came>>>::default(), Arc::new(answer));
        let seen = Arc::clone(&came);
        let (address, task) = listen(move |stream| serve(stream, Arc::clone(&seen), Arc::clone(&answer))).await;
        Self { address, came, _task: task }
    }

    /// All that came, in order.
    pub(crate) fn came(&self) -> Vec<Came> {
        self.came.lock().expect("whole").clone()
    }

    /// How many came.
    pub(crate) fn count(&self) -> usize {
        self.came.lock().expect("whole").len()
    }

    /// The only request whose line begins so.
    pub(crate) fn only(&self, line: &str) -> Came {
        let all = self.came();
        let found: Vec<&Came> = all.iter().filter(|came| came.head.starts_with(line)).collect();
        let [one] = found.as_slice() else { panic!("`{line}` came {} times, of {all:#?}", found.len()) };
        (*one).clone()
    }
}

async fn serve(stream: TcpStream, seen: Arc<Mutex<Vec<Came>>>, answer: Arc<impl Fn(&Came) -> Reply + Send + Sync>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut came = Came { head: String::new(), body: String::new() };
        while !came.head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut came.head).await? == 0 {
                return Ok(());
            }
        }
        let mut body = vec![0; came.header("content-length").map_or(0, |length| length.parse().expect("a length"))];
        stream.read_exact(&mut body).await?;
        came.body = String::from_utf8_lossy(&body).into_owned();
        let reply = answer(&came);
        seen.lock().expect("whole").push(came);
        match reply {
            Reply::Answer(status, headers, text) => {
                let answer = format!("HTTP/1.1 {status} Said\r\nContent-Length: {}\r\n{headers}\r\n{text}", text.len());
                stream.write_all(answer.as_bytes()).await?;
            }
            Reply::Close => return Ok(()),
        }
    }
}
