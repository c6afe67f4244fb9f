//! An endpoint behind TLS for `localhost`, with certificates made for these tests and for nothing else.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The root that signed those that are not of a stranger.
pub(crate) const ROOT: &str = include_str!("../../fixtures/tls/root.pem");
/// For `localhost`, until 2120.
pub(crate) const GOOD: &str = include_str!("../../fixtures/tls/good.pem");
/// The same, until 2021.
pub(crate) const EXPIRED: &str = include_str!("../../fixtures/tls/expired.pem");
/// Signed by itself, as `openssl req -x509` makes it.
pub(crate) const SELF_SIGNED: &str = include_str!("../../fixtures/tls/self-signed.pem");
/// The key of all three.
const KEY: &str = include_str!("../../fixtures/tls/key.pem");

/// Answers 200 to every request that comes through TLS. Its thread ends with the process.
pub(crate) struct TlsEndpoint {
    pub(crate) port: u16,
    config: Arc<Mutex<Arc<ServerConfig>>>,
    requests: Arc<AtomicUsize>,
}

fn config(certificate: &str) -> Arc<ServerConfig> {
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).expect("a key");
    Arc::new(ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).expect("they fit"))
}

impl TlsEndpoint {
    pub(crate) fn start(certificate: &str) -> Self {
        // The second installation in one process is refused, and that is fine.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let port = listener.local_addr().expect("an address").port();
        let (config, requests) = (Arc::new(Mutex::new(config(certificate))), Arc::<AtomicUsize>::default());
        let (used, count) = (Arc::clone(&config), Arc::clone(&requests));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let config = used.lock().expect("whole").clone();
                let connection = rustls::ServerConnection::new(config).expect("a connection");
                let mut tls = rustls::StreamOwned::new(connection, stream);
                let mut block = [0; 4096];
                // A client that does not trust us ends here.
                if tls.read(&mut block).is_ok_and(|read| read > 0) {
                    count.fetch_add(1, Ordering::SeqCst);
                    // How a connection ends is the daemon's business.
                    drop(tls.write_all(b"HTTP/1.1 200 Said\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"));
                }
            }
        });
        Self { port, config, requests }
    }

    /// Shows another certificate from now on.
    pub(crate) fn now(&self, certificate: &str) {
        *self.config.lock().expect("whole") = config(certificate);
    }

    /// How many requests came.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// A server of plain HTTP that answers whatever comes as such servers answer TLS; its port.
pub(crate) fn no_tls() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
        }
    });
    port
}
