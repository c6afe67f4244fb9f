//! The schemes: known answers that the services publish, and what is near them.

use proptest::prelude::*;

use super::*;
use crate::headers::{HeaderList, Headers};
use crate::time::Timestamp;

fn named(values: &[&str]) -> Vec<NamedSecret> {
    let one = |value: &&str| NamedSecret { name: (*value).into(), value: Secret::new((*value).to_owned()) };
    values.iter().map(one).collect()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

/// One delivery that is known to be genuine: scheme, secret, headers, body, and when it was sent.
struct Known {
    scheme: Scheme,
    secret: &'static str,
    headers: HeaderList,
    body: &'static [u8],
    sent: i64,
}

const SLACK_BODY: &[u8] = b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";

/// What the services' documents and test suites publish; for Stripe and Shopify, which publish none, answers of another library.
fn published() -> Vec<Known> {
    vec![
        Known {
            scheme: Scheme::StandardWebhooks,
            secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            headers: HeaderList::of(&[
                ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
                ("webhook-timestamp", "1614265330"),
                ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
            ]),
            body: br#"{"test": 2432232314}"#,
            sent: 1_614_265_330,
        },
        Known {
            scheme: Scheme::GitHub,
            secret: "It's a Secret to Everybody",
            headers: HeaderList::of(&[("X-Hub-Signature-256", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17")]),
            body: b"Hello, World!",
            sent: 0,
        },
        Known {
            scheme: Scheme::Slack,
            secret: "8f742231b10e8888abcd99yyyzzz85a5",
            headers: HeaderList::of(&[
                ("X-Slack-Request-Timestamp", "1531420618"),
                ("X-Slack-Signature", "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"),
            ]),
            body: SLACK_BODY,
            sent: 1_531_420_618,
        },
        Known {
            scheme: Scheme::CloudElements,
            secret: "MySecretEventSignatureKey",
            headers: HeaderList::of(&[("Elements-Webhook-Signature", "sha256=jHdbRx5EZAsOfTwAPJOGkNUzQMVVdu5VJlxcsk+G6jQ=")]),
            body: b"<INSERT_EVENT_NOTIFICATION_RESPONSE_BODY>",
            sent: 0,
        },
        Known {
            scheme: Scheme::Stripe,
            secret: "whsec_0123456789abcdef",
            headers: HeaderList::of(&[(
                "Stripe-Signature",
                "t=1492774577,v1=2d94bb35564f714fe3073feb2ca8b59ca9784ca96eac44597039a4db58b5e4cf,v0=6ffbb59b2300aae63f272406069a9788598b792a944a07aba816edb039989a39",
            )]),
            body: br#"{"id":"evt_1","type":"invoice.paid"}"#,
            sent: 1_492_774_577,
        },
        Known {
            scheme: Scheme::Shopify,
            secret: "hush-0123456789abcdef",
            headers: HeaderList::of(&[("X-Shopify-Hmac-SHA256", "qhmJ+faBCQzZhWHjQKzCB5lleTeleTF36LYtJ3PN1gc=")]),
            body: br#"{"id":820982911946154508}"#,
            sent: 0,
        },
        Known {
            scheme: Scheme::Custom(Box::new(custom(Algorithm::Sha512, Encoding::Base64Url))),
            secret: "custom-0123456789abcdef",
            headers: HeaderList::of(&[
                ("X-Time", "2023-11-14T22:13:20Z"),
                ("X-Sig", "sig:U3M22M7tYermVHSZNghCd5pC8tCHz2GbcbCeyX4ZhQH9BqcWsyd34-fk1CUBBRU-AG4DpWvPiLasw8d_Htcdug"),
            ]),
            body: b"{}",
            sent: 1_700_000_000,
        },
    ]
}

fn custom(algorithm: Algorithm, encoding: Encoding) -> CustomScheme {
    CustomScheme {
        header: "x-sig".to_owned(),
        algorithm,
        encoding,
        prefix: "sig:".to_owned(),
        content: Content::parse("${headers.x-time}/${body}").expect("a template"),
        timestamp: Some(("x-time".to_owned(), Duration::from_secs(60))),
    }
}

fn verify(known: &Known, headers: &HeaderList, body: &[u8], secrets: &[&str], now: i64) -> Verdict {
    known.scheme.verify(headers, body, &named(secrets), at(now))
}

/// The same headers with one value changed.
fn with(headers: &HeaderList, name: &str, change: impl Fn(&str) -> String) -> HeaderList {
    let one = |(own, value): &(String, String)| {
        let value = if own.eq_ignore_ascii_case(name) { change(value) } else { value.clone() };
        (own.clone(), value)
    };
    HeaderList(headers.0.iter().map(one).collect())
}

#[test]
fn one_of_several_signatures_of_a_scheme_of_ones_own_is_enough() {
    let known = published().pop().expect("the last one is custom");
    let other = "sig:AAAA7M7tYermVHSZNghCd5pC8tCHz2GbcbCeyX4ZhQH9BqcWsyd34-fk1CUBBRU-AG4DpWvPiLasw8d_Htcdug";
    for (value, verdict) in [
        (format!("{other}, GOOD"), Verdict::Genuine(0)),
        (format!("GOOD,{other}"), Verdict::Genuine(0)),
        (format!("GOOD,v9={other}"), Verdict::Genuine(0)),
        (format!("{other},{other}"), Verdict::Mismatch),
        (vec![other; CANDIDATES_MAX].join(",") + ",GOOD", Verdict::Mismatch),
    ] {
        let headers = with(&known.headers, "x-sig", |good| value.replace("GOOD", good));
        assert_eq!(verify(&known, &headers, known.body, &[known.secret], known.sent), verdict, "{value}");
    }
    for value in ["", ",", "v9=x,v8=y"] {
        let headers = with(&known.headers, "x-sig", |_| value.to_owned());
        assert!(matches!(verify(&known, &headers, known.body, &[known.secret], known.sent), Verdict::Malformed(_)), "{value}");
    }
}

#[test]
fn published_answers_verify_and_nothing_near_them_does() {
    for known in published() {
        let name = known.scheme.name();
        assert_eq!(known.scheme.check_head(&known.headers), Ok(()), "{name}");
        // Any of several secrets, and the index says which.
        let others = ["c29tZSBvdGhlciBzZWNyZXQ=", known.secret, "bm90aGVyIG90aGVyIHNlY3JldA=="];
        assert_eq!(verify(&known, &known.headers, known.body, &others, known.sent), Verdict::Genuine(1), "{name}");
        assert_eq!(verify(&known, &known.headers, known.body, &[others[0], others[2]], known.sent), Verdict::Mismatch, "{name}");
        assert_eq!(verify(&known, &known.headers, known.body, &[], known.sent), Verdict::Mismatch, "{name}");
        let flipped: Vec<u8> = known.body.iter().enumerate().map(|(at, byte)| if at == 1 { byte ^ 1 } else { *byte }).collect();
        for body in [flipped.as_slice(), b"", &[known.body, b"\n"].concat()] {
            assert_eq!(verify(&known, &known.headers, body, &[known.secret], known.sent), Verdict::Mismatch, "{name}");
        }
        // Every header that takes part is needed, and only once.
        for (at, (header, _)) in known.headers.0.iter().enumerate() {
            let mut without = known.headers.clone();
            let one = without.0.remove(at);
            assert_eq!(known.scheme.check_head(&without), Err(Lack::Missing(header.to_ascii_lowercase())), "{name}");
            assert!(matches!(verify(&known, &without, known.body, &[known.secret], known.sent), Verdict::Malformed(_)), "{name}");
            without.0.extend([one.clone(), one]);
            assert_eq!(known.scheme.check_head(&without), Err(Lack::Twice(header.to_ascii_lowercase())), "{name}");
            let binary = with(&known.headers, header, |_| "é".to_owned());
            assert_eq!(known.scheme.check_head(&binary), Err(Lack::NotText), "{name}");
        }
        // A scheme that signs a time is strict about it; whoever changes the time has no signature any more.
        let late = verify(&known, &known.headers, known.body, &[known.secret], known.sent + 301);
        let early = verify(&known, &known.headers, known.body, &[known.secret], known.sent - 301);
        if known.sent > 0 {
            assert!(matches!((late, early), (Verdict::Stale(_), Verdict::Stale(_))), "{name}: {late:?} {early:?}");
            let moved = with(&known.headers, "webhook-timestamp", |_| (known.sent + 300).to_string());
            let moved = with(&moved, "x-slack-request-timestamp", |_| (known.sent + 300).to_string());
            let moved = with(&moved, "x-time", |_| (known.sent + 300).to_string());
            let moved = with(&moved, "stripe-signature", |value| value.replace("t=1492774577", "t=1492774877"));
            assert_eq!(verify(&known, &moved, known.body, &[known.secret], known.sent + 301), Verdict::Mismatch, "{name}");
            // A bad signature is called bad, however old it is.
            assert_eq!(verify(&known, &known.headers, b"x", &[known.secret], known.sent + 301), Verdict::Mismatch, "{name}");
        } else {
            assert_eq!((late, early), (Verdict::Genuine(0), Verdict::Genuine(0)), "{name}");
        }
    }
}

#[test]
fn shapes_that_are_no_signature_are_named() {
    let table: &[(&str, &str, &str)] = &[
        ("github", "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17", "no `sha256=` before it"),
        ("github", "sha256=", "empty"),
        ("github", "sha256=757107", "too few hexadecimal digits"),
        ("github", "sha256=dXEH6g6yUJ/CESIczphLijdXC21xhsIsRvQ3nIsEPhc=", "base64 where hexadecimal digits are expected"),
        ("github", "sha256=7571 7ea", "no hexadecimal digits"),
        ("cloud-elements", "jHdbRx5EZAsOfTwAPJOGkNUzQMVVdu5VJlxcsk+G6jQ=", "no `sha256=` before it"),
        (
            "cloud-elements",
            "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
            "hexadecimal digits where base64 is expected",
        ),
        ("shopify", "zzzz", "base64 of too few bytes"),
        ("shopify", "jHdbRx5EZAsOfTwAPJOGkNUzQMVVdu5VJlxcsk-G6jQ=", "base64 of another alphabet, or cut off"),
        ("shopify", "not base64!", "no base64"),
        ("stripe", "v1=00", "no time in it (`t=…`)"),
        ("stripe", "t=1,t=2,v1=00", "two times in it (`t=…`)"),
        ("stripe", "t=1,v0=00", "no signature of version `v1` (`v1=…`)"),
        ("stripe", "t=1,v1=00", "too few hexadecimal digits"),
        ("slack", "v1=00", "not of version `v0` (`v0=…`)"),
        ("standard-webhooks", "v2,xxx", "no signature of version `v1`"),
        (
            "standard-webhooks",
            "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==",
            "an asymmetric signature (`v1a,…`) only; a symmetric one (`v1,…`) is needed",
        ),
    ];
    for (name, value, shape) in table {
        let scheme = Scheme::of(name).expect("a scheme");
        let known = published().into_iter().find(|known| known.scheme == scheme).expect("published");
        let header = scheme_header(&known);
        let headers = with(&known.headers, &header, |_| (*value).to_owned());
        assert_eq!(verify(&known, &headers, known.body, &[known.secret], known.sent), Verdict::Malformed(shape), "{name} {value}");
    }
}

/// The header that carries the signature.
fn scheme_header(known: &Known) -> String {
    known
        .headers
        .0
        .iter()
        .map(|(name, _)| name.clone())
        .find(|name| name.to_ascii_lowercase().contains("sig") || name.contains("Hmac"))
        .expect("one")
}

#[test]
fn times_that_are_no_seconds_are_named() {
    for (text, verdict) in [
        ("-1", Verdict::Malformed("the timestamp is no whole number")),
        ("soon", Verdict::Malformed("the timestamp is no whole number")),
        ("99999999999999999999", Verdict::Malformed("the timestamp has too many digits")),
    ] {
        let known = published().remove(2);
        let headers = with(&known.headers, "x-slack-request-timestamp", |_| text.to_owned());
        assert_eq!(verify(&known, &headers, known.body, &[known.secret], known.sent), verdict, "{text}");
    }
    // Milliseconds that are signed.
    let mac = Algorithm::Sha256.mac(b"secret", &[b"m.1700000000000.", b"{}"]);
    let value = format!("v1,{}", Encoding::Base64.write(&mac));
    let signed = HeaderList::of(&[("webhook-id", "m"), ("webhook-timestamp", "1700000000000"), ("webhook-signature", &value)]);
    let verdict = Scheme::StandardWebhooks.verify(&signed, b"{}", &named(&["c2VjcmV0"]), at(1_700_000_000));
    assert_eq!(verdict, Verdict::Stale("the timestamp looks like milliseconds; seconds are expected"));
}

#[test]
fn one_of_a_list_is_enough_and_a_long_list_is_cut() {
    let bad = "v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let known = published().remove(0);
    let good = known.headers.text("webhook-signature").expect("signed").to_owned();
    let judge = |list: String| {
        let headers = with(&known.headers, "webhook-signature", |_| list.clone());
        verify(&known, &headers, known.body, &[known.secret], known.sent)
    };
    assert_eq!(judge(format!("v1a,x {bad}  {good}")), Verdict::Genuine(0));
    assert_eq!(judge(format!("v1,short {good}")), Verdict::Genuine(0));
    assert_eq!(judge(format!("{}{good}", format!("{bad} ").repeat(CANDIDATES_MAX - 1))), Verdict::Genuine(0));
    assert_eq!(judge(format!("{}{good}", format!("{bad} ").repeat(CANDIDATES_MAX))), Verdict::Mismatch);
    assert_eq!(judge(format!("{}{good}", format!("{bad} ").repeat(10_000))), Verdict::Mismatch);
    let known = published().remove(4);
    let value = known.headers.text("stripe-signature").expect("signed").to_owned();
    let zeros = format!(",v1={}", "0".repeat(64));
    let judge = |list: String| {
        let headers = with(&known.headers, "stripe-signature", |_| list.clone());
        verify(&known, &headers, known.body, &[known.secret], known.sent)
    };
    let (time, rest) = value.split_once(',').expect("a list");
    assert_eq!(judge(format!("{time}{zeros}, {rest}")), Verdict::Genuine(0));
    assert_eq!(judge(format!("{time}{},{rest}", zeros.repeat(10_000))), Verdict::Mismatch);
}

#[test]
fn older_names_of_standard_webhooks_are_read_and_never_mixed() {
    let known = published().remove(0);
    let renamed = HeaderList(known.headers.0.iter().map(|(n, v)| (n.replace("webhook-", "svix-"), v.clone())).collect());
    assert_eq!(known.scheme.check_head(&renamed), Ok(()));
    assert_eq!(verify(&known, &renamed, known.body, &[known.secret], known.sent), Verdict::Genuine(0));
    let mut mixed = known.headers.clone();
    mixed.0[0].0 = "svix-id".to_owned();
    assert_eq!(known.scheme.check_head(&mixed), Err(Lack::Missing("webhook-id".to_owned())));
}

#[test]
fn secrets_of_standard_webhooks_are_base64() {
    for good in ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_c2VjcmV0"] {
        assert_eq!(check_secret(&Scheme::StandardWebhooks, good), Ok(()), "{good}");
    }
    for bad in ["whsec_", "", "whsec_a b", "my-own-words!"] {
        assert!(check_secret(&Scheme::StandardWebhooks, bad).is_err(), "{bad}");
    }
    assert_eq!(check_secret(&Scheme::Stripe, "whsec_a b"), Ok(()), "Stripe's are texts");
}

#[test]
fn every_scheme_has_its_name() {
    for name in Scheme::NAMES.iter().filter(|name| **name != "custom") {
        assert_eq!(Scheme::of(name).map(|scheme| scheme.name()), Some(*name));
    }
    assert_eq!((Scheme::of("custom"), Scheme::of("GitHub")), (None, None));
}

fn schemes() -> Vec<Scheme> {
    let mut all: Vec<Scheme> = Scheme::NAMES.iter().filter_map(|name| Scheme::of(name)).collect();
    for algorithm in [Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha512] {
        for encoding in [Encoding::Hex, Encoding::Base64, Encoding::Base64Url] {
            all.push(Scheme::Custom(Box::new(custom(algorithm, encoding))));
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_is_signed_verifies_with_its_own_secret_only(
        body in prop::collection::vec(any::<u8>(), 0..200),
        keys in prop::collection::btree_set(prop::collection::vec(any::<u8>(), 6..40), 2..5),
        pick in any::<prop::sample::Index>(),
        late in -59i64..60,
    ) {
        use base64::Engine;
        let keys: Vec<String> = keys.iter().map(|key| base64::engine::general_purpose::STANDARD.encode(key)).collect();
        let all = named(&keys.iter().map(String::as_str).collect::<Vec<_>>());
        let index = pick.index(all.len());
        for scheme in schemes() {
            let sent = at(1_700_000_000);
            let send = SendAs { id: "msg_1", now: sent, headers: &HeaderList::default() };
            let signed = HeaderList(sign(&scheme, &body, &all[index].value, &send).expect("signed"));
            let now = at(1_700_000_000 + late);
            prop_assert_eq!(scheme.check_head(&signed), Ok(()));
            prop_assert_eq!(scheme.verify(&signed, &body, &all, now), Verdict::Genuine(index), "{}", scheme.name());
            let others: Vec<_> = all.iter().filter(|secret| secret.name != all[index].name).cloned().collect();
            prop_assert_eq!(scheme.verify(&signed, &body, &others, now), Verdict::Mismatch, "{}", scheme.name());
        }
    }
}
