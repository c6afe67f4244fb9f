//! Secrets in texts that come back: a service may repeat what it was sent.

use serde_json::Value;

use super::client::{Answer, EXCERPT_MAX};
use super::encode::percent;

/// A secret that is shorter is not looked for: it would make holes everywhere.
pub const SECRET_MIN: usize = 4;

/// The longest message of a failure, in characters.
pub const MESSAGE_MAX: usize = 3 * EXCERPT_MAX;

/// The forms in which an answer may repeat a secret: as it is, as a form body carries it, as JSON writes it.
fn forms<'a>(secrets: &'a [&'a str]) -> impl Iterator<Item = String> + 'a {
    secrets.iter().filter(|secret| secret.len() >= SECRET_MIN).flat_map(|secret| {
        let json = Value::from(*secret).to_string();
        [(*secret).to_owned(), percent(secret), json.trim_matches('"').to_owned()]
    })
}

/// Replaces secrets in a text.
#[must_use]
pub fn mask_text(text: &str, secrets: &[&str]) -> String {
    let mut masked = text.to_owned();
    for form in forms(secrets) {
        if masked.contains(&form) {
            masked = masked.replace(&form, "***");
        }
    }
    masked
}

/// Replaces secrets in a message, and cuts it.
#[must_use]
pub fn mask(message: &str, secrets: &[&str]) -> String {
    let mut masked = mask_text(message, secrets);
    if masked.chars().count() > MESSAGE_MAX {
        masked = masked.chars().take(MESSAGE_MAX).collect();
        masked.push('…');
    }
    masked
}

/// Replaces secrets in a body before anything is quoted from it: an excerpt could end in the middle of one.
pub fn mask_body(answer: &mut Answer, secrets: &[&str]) {
    for form in forms(secrets) {
        if answer.body.windows(form.len()).any(|window| window == form.as_bytes()) {
            answer.body = String::from_utf8_lossy(&answer.body).replace(&form, "***").into_bytes().into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_found_in_every_form_in_which_they_come_back() {
        assert_eq!(mask("id=canary/1&x=canary%2F1", &["canary/1"]), "id=***&x=***");
        assert_eq!(mask("abc", &["", "a", "abc"]), "abc");
        assert_eq!(mask(r#"a\"b\\c"#, &[r#"a"b\c"#]), "***");
        assert!(mask(&"y".repeat(10_000), &[]).chars().count() <= MESSAGE_MAX + 1);
        let mut answer = Answer { status: 400, headers: Vec::new(), body: "x canary/1 \u{e9}".into() };
        mask_body(&mut answer, &["canary/1"]);
        assert_eq!(&answer.body[..], "x *** \u{e9}".as_bytes());
    }
}
