//! An HTTP endpoint that does as it is told: it answers, hangs, throttles or says something nasty.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::listen;

/// What it does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Manner {
    /// Answers with a status, further header lines (each with its line end) and a body.
    Answer(u16, &'static str, &'static str),
    /// Takes the request and says nothing.
    Hang,
    /// Says these bytes and closes.
    Bytes(&'static str),
    /// Answers 200 with a body that never ends.
    Endless,
}

#[derive(Debug)]
struct Shared {
    manner: Manner,
    /// When each body was answered first, and how many requests came in all.
    answered: BTreeMap<String, Instant>,
    requests: usize,
    /// Bytes of endless bodies that were taken from it.
    poured: u64,
}

/// An endpoint that lives until it is dropped.
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    _task: JoinSet<()>,
}

impl Endpoint {
    /// Starts one on a port of its own.
    pub(crate) async fn start(manner: Manner) -> Self {
        let shared = Arc::new(Mutex::new(Shared { manner, answered: BTreeMap::new(), requests: 0, poured: 0 }));
        let served = Arc::clone(&shared);
        let (address, task) = listen(move |stream| serve(stream, Arc::clone(&served))).await;
        Self { address, shared, _task: task }
    }

    /// Changes what it does with requests that come from now on.
    pub(crate) fn now(&self, manner: Manner) {
        self.shared.lock().expect("whole").manner = manner;
    }

    /// When each body was answered well for the first time.
    pub(crate) fn answered(&self) -> BTreeMap<String, Instant> {
        self.shared.lock().expect("whole").answered.clone()
    }

    /// How many requests came.
    pub(crate) fn requests(&self) -> usize {
        self.shared.lock().expect("whole").requests
    }

    /// How many bytes of endless bodies were taken.
    pub(crate) fn poured(&self) -> u64 {
        self.shared.lock().expect("whole").poured
    }
}

async fn serve(stream: TcpStream, shared: Arc<Mutex<Shared>>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut length, mut line) = (0, String::new());
        loop {
            line.clear();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let head = line.trim_end().to_ascii_lowercase();
            if let Some(value) = head.strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
            if head.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        let manner = {
            let mut shared = shared.lock().expect("whole");
            shared.requests += 1;
            if let Manner::Answer(200..=299, ..) = shared.manner {
                shared.answered.entry(String::from_utf8_lossy(&body).into_owned()).or_insert_with(Instant::now);
            }
            shared.manner.clone()
        };
        match manner {
            Manner::Hang => std::future::pending().await,
            Manner::Bytes(text) => {
                stream.write_all(text.as_bytes()).await?;
                return stream.shutdown().await;
            }
            Manner::Endless => {
                stream.write_all(b"HTTP/1.1 200 Said\r\nConnection: close\r\n\r\n").await?;
                loop {
                    stream.write_all(&[b'x'; 16 << 10]).await?;
                    shared.lock().expect("whole").poured += 16 << 10;
                }
            }
            Manner::Answer(status, headers, text) => {
                let answer = format!("HTTP/1.1 {status} Said\r\nContent-Length: {}\r\n{headers}\r\n{text}", text.len());
                stream.write_all(answer.as_bytes()).await?;
            }
        }
    }
}
