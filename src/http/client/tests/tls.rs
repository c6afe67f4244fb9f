//! TLS against a server with certificates of a root of its own. The keys below belong to nothing else.

use std::io::{Read, Write};
use std::net::TcpListener;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::*;

/// The root.
const ROOT: &str = "\
-----BEGIN CERTIFICATE-----
MIIBbjCCAROgAwIBAgIBETAKBggqhkjOPQQDAjAdMRswGQYDVQQDDBJUcmlwbGlu
ZSB0ZXN0IHJvb3QwIBcNMjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBaMB0x
GzAZBgNVBAMMElRyaXBsaW5lIHRlc3Qgcm9vdDBZMBMGByqGSM49AgEGCCqGSM49
AwEHA0IABOm2LTKqCLgu+vML07gcyr3RrB42fGpqrer5mXlX35mYWw6HfWFELD6X
0XQ8XWlZuLD0bRmZjejmGBwHoM7DwDajQjBAMA8GA1UdEwEB/wQFMAMBAf8wDgYD
VR0PAQH/BAQDAgIEMB0GA1UdDgQWBBQInL4yAZ4VwyCGQr3z17Ue8CvieDAKBggq
hkjOPQQDAgNJADBGAiEA9Ozz4T9hKCH9FsyRofMMoz0sLogd5ZIZSdBdpDWSRhkC
IQDyi83oHWvWOKnOuj8VWEGzb8iDwyOd5Q7dmJOpTs04dQ==
-----END CERTIFICATE-----
";
/// For `tls.example`, until 2120.
const GOOD: &str = "\
-----BEGIN CERTIFICATE-----
MIIBnjCCAUSgAwIBAgIBEjAKBggqhkjOPQQDAjAdMRswGQYDVQQDDBJUcmlwbGlu
ZSB0ZXN0IHJvb3QwIBcNMjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBaMBYx
FDASBgNVBAMMC3Rscy5leGFtcGxlMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE
OWQPwaamWS/dAVMVCAzCqWKBJ6weSGAhI2L9WcwJZ07Hdi+ta3ESgcTLUafAdnBS
EKFPsTPl/lvjXKkplMvzTKN6MHgwFgYDVR0RBA8wDYILdGxzLmV4YW1wbGUwEwYD
VR0lBAwwCgYIKwYBBQUHAwEwCQYDVR0TBAIwADAdBgNVHQ4EFgQUsZllk7GBw6Wr
qGSZ5ZIh8eOTPhMwHwYDVR0jBBgwFoAUCJy+MgGeFcMghkK989e1HvAr4ngwCgYI
KoZIzj0EAwIDSAAwRQIhAN7xZrEKMPFDEBxs8dOO0o4vrVl5pcdu9grf0QSdR4Vy
AiAeQCyAUejALP1j7Gd0fhKGSekAI7MmVOp2tGVpd2UWDg==
-----END CERTIFICATE-----
";
/// The same, until 2021.
const EXPIRED: &str = "\
-----BEGIN CERTIFICATE-----
MIIBnTCCAUKgAwIBAgIBEzAKBggqhkjOPQQDAjAdMRswGQYDVQQDDBJUcmlwbGlu
ZSB0ZXN0IHJvb3QwHhcNMjAwMTAxMDAwMDAwWhcNMjEwMTAxMDAwMDAwWjAWMRQw
EgYDVQQDDAt0bHMuZXhhbXBsZTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABDlk
D8Gmplkv3QFTFQgMwqligSesHkhgISNi/VnMCWdOx3YvrWtxEoHEy1GnwHZwUhCh
T7Ez5f5b41ypKZTL80yjejB4MBYGA1UdEQQPMA2CC3Rscy5leGFtcGxlMBMGA1Ud
JQQMMAoGCCsGAQUFBwMBMAkGA1UdEwQCMAAwHQYDVR0OBBYEFLGZZZOxgcOlq6hk
meWSIfHjkz4TMB8GA1UdIwQYMBaAFAicvjIBnhXDIIZCvfPXtR7wK+J4MAoGCCqG
SM49BAMCA0kAMEYCIQCl1psAUKwjKlHZTn77r8exbfXPFWND6YIFlprgWocqtwIh
APvJn5EcOLyMKMGF0ek3vD9rguSrAG4j3jgdz5ii8E5R
-----END CERTIFICATE-----
";
/// The key of both.
const KEY: &str = "\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgw0a7fo9pYu2FYnoW
5tWjOVHyTJIS6sZJhc2U+Q8EioihRANCAAQ5ZA/BpqZZL90BUxUIDMKpYoEnrB5I
YCEjYv1ZzAlnTsd2L61rcRKBxMtRp8B2cFIQoU+xM+X+W+NcqSmUy/NM
-----END PRIVATE KEY-----
";

/// A server on a thread of its own: plain blocking sockets are enough for one answer per connection.
fn serve(certificate: &str) -> u16 {
    drop(rustls::crypto::ring::default_provider().install_default());
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
    let config = Arc::new(rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let connection = rustls::ServerConnection::new(config.clone()).unwrap();
            let mut tls = rustls::StreamOwned::new(connection, stream);
            let mut block = [0; 4096];
            // A client that does not trust us ends here.
            if tls.read(&mut block).is_ok_and(|n| n > 0) {
                tls.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
            }
        }
    });
    port
}

/// A server that talks plain HTTP.
fn no_tls() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        }
    });
    port
}

fn trusting(root: Option<&str>) -> Client {
    let folder = tempfile::tempdir().unwrap();
    let ca = root.map(|root| {
        let path = folder.path().join("company.pem");
        std::fs::write(&path, format!("# our root\n{root}")).unwrap();
        path
    });
    let names = table(&[("tls.example", &[&["127.0.0.1"]]), ("other.example", &[&["127.0.0.1"]])]);
    Client::with_look_up(&Egress { ca, ..Egress::default() }, names).unwrap()
}

#[tokio::test]
async fn certificates_are_checked_and_failures_say_what_to_do() {
    let (good, expired) = (serve(GOOD), serve(EXPIRED));
    let plain = no_tls();
    for (host, port, root, says) in [
        ("tls.example", good, Some(ROOT), None),
        ("tls.example", good, None, Some("`egress.ca`")),
        ("other.example", good, Some(ROOT), Some("for another name")),
        ("tls.example", expired, Some(ROOT), Some("has expired")),
        ("tls.example", plain, Some(ROOT), Some("no TLS with `tls.example:")),
    ] {
        let said = trusting(root).send(post(format!("https://{host}:{port}/"))).await;
        match (said, says) {
            (Ok(answer), None) => assert_eq!((answer.status, answer.body.as_ref()), (200, b"ok".as_slice())),
            (Err(failure), Some(says)) => {
                assert_eq!(failure.class, Class::Connect, "{failure}");
                assert!(failure.message.contains(says), "`{says}` in: {failure}");
            }
            (said, _) => panic!("{host} with {root:?}: {said:?}"),
        }
    }
}
