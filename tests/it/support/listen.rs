//! A port of its own that servers of tests stand on.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Takes connections on a port of its own, each served by itself, until what is given back is dropped.
pub(crate) async fn listen<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> (SocketAddr, JoinSet<()>)
where
    F: Future<Output = std::io::Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("an address");
    let mut task = JoinSet::new();
    task.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.expect("accepted");
            let served = serve(stream);
            // How a connection ends is the daemon's business.
            connections.spawn(async move { drop(served.await) });
            while connections.try_join_next().is_some() {}
        }
    });
    (address, task)
}
