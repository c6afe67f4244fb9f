//! What checking each scheme costs beside a bare HMAC over the same bytes.
//!
//! Every figure is the best of several rounds in this process, one after the other, so that both sides of a ratio see the
//! same machine.

#![allow(clippy::print_stdout, clippy::disallowed_methods)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Sha256, Sha512};
use tripline::headers::HeaderList;
use tripline::secret::Secret;
use tripline::signature::{Algorithm, Content, CustomScheme, Encoding, NamedSecret, Scheme, SendAs, TOLERANCE, Verdict, sign};
use tripline::time::Timestamp;

const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_millis(20);
const KEY: &str = "c29tZSBzZWNyZXQgb2Ygc29tZSBsZW5ndGg=";

fn main() {
    let now = Timestamp::from_millis(1_700_000_000_000);
    let custom = CustomScheme {
        header: "x-sig".to_owned(),
        algorithm: Algorithm::Sha512,
        encoding: Encoding::Base64Url,
        prefix: "v1=".to_owned(),
        content: Content::parse("${headers.x-time}.${body}").expect("a template"),
        timestamp: Some(("x-time".to_owned(), TOLERANCE)),
    };
    let mut schemes: Vec<Scheme> = Scheme::NAMES.iter().filter_map(|name| Scheme::of(name)).collect();
    schemes.push(Scheme::Custom(Box::new(custom)));
    let secrets = [NamedSecret { name: "one".into(), value: Secret::new(KEY.to_owned()) }];
    println!("{:>18} {:>8} {:>12} {:>12} {:>7}", "scheme", "bytes", "verified", "bare HMAC", "ratio");
    for length in [256, 2_048, 65_536] {
        let body: Vec<u8> = (0..length).map(|n: usize| (n % 251) as u8).collect();
        for scheme in &schemes {
            let send = SendAs { id: "msg_1", now, headers: &HeaderList::default() };
            let headers = HeaderList(sign(scheme, &body, &secrets[0].value, &send).expect("signed"));
            let is_512 = matches!(scheme, Scheme::Custom(_));
            // One round of each in turn.
            let (mut ours, mut bare) = (Duration::MAX, Duration::MAX);
            for _ in 0..ROUNDS {
                ours = ours.min(each(|| assert_eq!(scheme.verify(&headers, black_box(&body), &secrets, now), Verdict::Genuine(0))));
                bare = bare.min(each(|| if is_512 { bare_512(&body) } else { bare_256(&body) }));
            }
            println!("{:>18} {length:>8} {ours:>12.2?} {bare:>12.2?} {:>7.2}", scheme.name(), ours.as_secs_f64() / bare.as_secs_f64());
        }
    }
}

fn bare_256(body: &[u8]) {
    let mut mac = Hmac::<Sha256>::new_from_slice(KEY.as_bytes()).expect("any length");
    mac.update(black_box(body));
    black_box(mac.finalize().into_bytes());
}

fn bare_512(body: &[u8]) {
    let mut mac = Hmac::<Sha512>::new_from_slice(KEY.as_bytes()).expect("any length");
    mac.update(black_box(body));
    black_box(mac.finalize().into_bytes());
}

/// The time of one call.
fn each(mut call: impl FnMut()) -> Duration {
    let (begin, mut count) = (Instant::now(), 0_u32);
    while begin.elapsed() < ROUND {
        for _ in 0..8 {
            call();
        }
        count += 8;
    }
    begin.elapsed() / count
}
