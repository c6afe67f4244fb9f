//! A scripted peer over plain TCP: says exactly the bytes that a test wants to be said, also those that no server
//! library would send, and keeps what it heard.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Heard {
    pub method: String,
    /// Path and query as sent.
    pub target: String,
    /// Lower-case names.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Heard {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// What the peer does with a request.
#[derive(Clone, Debug)]
pub enum Say {
    /// These bytes; the connection stays.
    Bytes(Vec<u8>),
    /// These bytes, then the end.
    Close(Vec<u8>),
    /// A reset in place of an answer.
    Reset,
    /// These bytes, then one more each few milliseconds, without end.
    Drip(Vec<u8>),
    /// These bytes, then as many as the other side takes.
    Flood(Vec<u8>),
    /// Nothing, ever.
    Silence,
}

/// An answer with a length.
pub fn answer(status: u16, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Say {
    let body = body.as_ref();
    let mut bytes = format!("HTTP/1.1 {status} X\r\n").into_bytes();
    for (name, value) in headers {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    if status != 204 {
        bytes.extend_from_slice(format!("content-length: {}\r\n", body.len()).as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    Say::Bytes(bytes)
}

/// A JSON answer.
pub fn json(status: u16, body: &serde_json::Value) -> Say {
    answer(status, &[("content-type", "application/json; odata.metadata=minimal"), ("api-supported-versions", "20.0")], body.to_string())
}

/// Answers a request; the number says how many came before.
type Script = Arc<dyn Fn(&Heard, usize) -> Say + Send + Sync>;

/// The peer; its tasks end with it.
pub struct Peer {
    pub url: String,
    heard: Arc<Mutex<Vec<Heard>>>,
    _tasks: JoinSet<()>,
}

impl Peer {
    /// Listens on a free port of the loopback; `script` answers each request, with how many came before it.
    pub async fn start(script: impl Fn(&Heard, usize) -> Say + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let heard = Arc::new(Mutex::new(Vec::new()));
        let script: Script = Arc::new(script);
        let mut tasks = JoinSet::new();
        let seen = heard.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, seen.clone(), script.clone()));
            }
        });
        Self { url, heard, _tasks: tasks }
    }

    /// All requests so far.
    pub fn heard(&self) -> Vec<Heard> {
        self.heard.lock().expect("no panic while locked").clone()
    }

    /// Waits for the first request; simulated time stands still meanwhile.
    pub async fn reached(&self) {
        let (over, held) = std::sync::mpsc::channel::<()>();
        let held = tokio::task::spawn_blocking(move || held.recv().is_err());
        let begun = std::time::Instant::now();
        while self.heard().is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(20), "nobody asks");
            tokio::task::yield_now().await;
        }
        drop(over);
        held.await.expect("ends");
    }

    /// How many requests had a path that ends so.
    pub fn count(&self, end: &str) -> usize {
        self.heard().iter().filter(|heard| heard.path().ends_with(end)).count()
    }
}

async fn serve(mut stream: TcpStream, heard: Arc<Mutex<Vec<Heard>>>, script: Script) {
    let mut buffer = Vec::new();
    while let Some(request) = request(&mut stream, &mut buffer).await {
        let before = {
            let mut all = heard.lock().expect("no panic while locked");
            all.push(request.clone());
            all.len() - 1
        };
        let (bytes, then) = match script(&request, before) {
            Say::Bytes(bytes) => (bytes, None),
            Say::Close(bytes) => (bytes, Some(Then::End)),
            Say::Reset => {
                stream.set_zero_linger().expect("a socket");
                return;
            }
            Say::Drip(bytes) => (bytes, Some(Then::More(1, Duration::from_millis(5)))),
            Say::Flood(bytes) => (bytes, Some(Then::More(1 << 16, Duration::ZERO))),
            Say::Silence => std::future::pending().await,
        };
        if stream.write_all(&bytes).await.is_err() {
            return;
        }
        match then {
            None => {}
            Some(Then::End) => return,
            Some(Then::More(size, pause)) => {
                let block = vec![b'x'; size];
                while stream.write_all(&block).await.is_ok() {
                    tokio::time::sleep(pause).await;
                }
                return;
            }
        }
    }
}

enum Then {
    End,
    More(usize, Duration),
}

async fn request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Heard> {
    let end = loop {
        if let Some(at) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            break at;
        }
        read_more(stream, buffer).await?;
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    buffer.drain(..end + 4);
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ').map(str::to_owned);
    let (method, target) = (first.next()?, first.next()?);
    let headers: Vec<(String, String)> =
        lines.filter_map(|l| l.split_once(':')).map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_owned())).collect();
    let length = headers.iter().find(|(n, _)| n == "content-length").and_then(|(_, v)| v.parse().ok()).unwrap_or(0);
    while buffer.len() < length {
        read_more(stream, buffer).await?;
    }
    let body = buffer.drain(..length).collect();
    Some(Heard { method, target, headers, body })
}

async fn read_more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    let mut block = [0_u8; 4 << 10];
    match stream.read(&mut block).await {
        Ok(n) if n > 0 => {
            buffer.extend_from_slice(&block[..n]);
            Some(())
        }
        _ => None,
    }
}
