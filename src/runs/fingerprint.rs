//! What runs that failed for the same reason have in common: the fingerprint of a cause.

use sha2::{Digest, Sha256};

use super::{Cause, Run};

/// The longest message of a fingerprint, in characters.
const MESSAGE_MAX: usize = 200;
/// In place of ids, numbers and stamps.
const ANY: char = '#';

/// The cause of a run without what is different from run to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// 12 hex digits, the same for the same parts.
    pub id: String,
    /// The step where it stands; empty before the first.
    pub step: String,
    /// Scheme, host and port of its last request; empty where none left.
    pub target: String,
    /// The cause's code, and the class of the last failure where that says more: `gave_up/server`.
    pub class: String,
    /// The message without ids and numbers.
    pub message: String,
}

impl Run {
    /// The fingerprint of its cause, where it has one and a person could do something about it.
    #[must_use]
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        let cause = self.cause.as_ref()?;
        let view = self.unfinished();
        let last = view.and_then(|view| view.attempts.last());
        let step = view.map(|view| view.id.clone()).unwrap_or_default();
        let target = last.map(|attempt| target(&attempt.request)).unwrap_or_default();
        let class = match last.and_then(|attempt| attempt.class) {
            Some(class) if class.as_str() != cause.code => format!("{}/{}", cause.code, class.as_str()),
            _ => cause.code.clone(),
        };
        let message = message(cause);
        let mut hash = Sha256::new();
        for part in [&*self.planned.rule, &step, &target, &class, &message] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        let id = hash.finalize()[..6].iter().map(|byte| format!("{byte:02x}")).collect();
        Some(Fingerprint { id, step, target, class, message })
    }
}

/// Of `POST https://host:1/path` the scheme, host and port.
fn target(request: &str) -> String {
    let url = request.split_once(' ').map_or(request, |(_, url)| url);
    match url.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", rest.split(['/', '?', '#']).next().unwrap_or_default()),
        None => url.split(' ').next().unwrap_or_default().to_owned(),
    }
}

/// How often it was tried says nothing of why: of a run that was given up the last failure counts.
fn message(cause: &Cause) -> String {
    let text = cause.message.split_once("the last one: ").map_or(cause.message.as_str(), |(_, last)| last);
    without_ids(text)
}

/// Every word with a digit in it becomes `#`.
fn without_ids(text: &str) -> String {
    let mut plain = String::new();
    let mut word = String::new();
    let mut length = 0;
    let end = |word: &mut String, plain: &mut String| {
        if word.bytes().any(|byte| byte.is_ascii_digit()) {
            // A row of them is one.
            if !plain.ends_with(ANY) {
                plain.push(ANY);
            }
        } else {
            plain.push_str(word);
        }
        word.clear();
    };
    for c in text.chars() {
        length += 1;
        if length > 4 * MESSAGE_MAX {
            break;
        }
        if c.is_alphanumeric() || matches!(c, '-' | '_') {
            word.push(c);
        } else {
            end(&mut word, &mut plain);
            plain.push(if c.is_whitespace() { ' ' } else { c });
        }
    }
    end(&mut word, &mut plain);
    plain.chars().take(MESSAGE_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventId;
    use crate::runs::{Attempt, Class, Fact, NewRun, RunState};
    use crate::time::Timestamp;

    fn dead(event: u128, rule: &str, request: &str, class: Class, code: &str, text: &str) -> Run {
        let now = Timestamp::from_millis(5_000);
        let planned = NewRun::plain(EventId(event), rule, now);
        let mut run = Run::new(planned);
        let attempt = Attempt {
            number: 1,
            started: now,
            ended: now,
            request: request.to_owned(),
            status: Some(400),
            class: Some(class),
            error: None,
            bytes: 0,
            recorded: None,
        };
        run.apply(&Fact::Attempted { step: 0, id: Some("item".to_owned()), kind: "enqueue".to_owned(), attempt, unknown: false });
        let cause = Some(Cause { code: code.to_owned(), message: text.to_owned() });
        run.apply(&Fact::Settled { state: RunState::Dead, cause, would: Vec::new(), at: now });
        run
    }

    fn print(run: &Run) -> Fingerprint {
        run.fingerprint().expect("a cause")
    }

    const URL: &str = "POST https://host:8/odata/Queues";

    #[test]
    fn ids_numbers_and_stamps_do_not_tell_causes_apart() {
        let one = dead(1, "r", URL, Class::Refused, "refused", "item `INV-1` of 2026-11-22T10:00:00Z: field Amount is 12.5 (trace 9a3-b)");
        let two = dead(2, "r", URL, Class::Refused, "refused", "item `INV-977` of 2026-12-01T00:00:09Z: field Amount is 7.25 (trace 1-c4)");
        assert_eq!(print(&one), print(&two));
        assert_eq!(print(&one).message, "item `#` of #:#:#: field Amount is #.# (trace #)");
        assert_eq!(print(&one).target, "https://host:8");
        let first = dead(1, "r", URL, Class::Server, "gave_up", "gave up after 1 attempt (`attempts: 1`); the last one: it is down");
        let later = dead(1, "r", URL, Class::Server, "gave_up", "gave up after 9 attempts (`give_up_after: 1d`); the last one: it is down");
        assert_eq!(print(&first), print(&later));
        assert_eq!(print(&first).class, "gave_up/server");
    }

    #[test]
    fn rule_target_class_and_words_tell_causes_apart() {
        let base = print(&dead(1, "r", URL, Class::Refused, "refused", "no")).id;
        for other in [
            dead(1, "s", URL, Class::Refused, "refused", "no"),
            dead(1, "r", "POST https://other/odata/Queues", Class::Refused, "refused", "no"),
            dead(1, "r", URL, Class::Server, "gave_up", "no"),
            dead(1, "r", URL, Class::Refused, "refused", "yes"),
        ] {
            assert_ne!(print(&other).id, base);
        }
        assert_eq!(print(&dead(9, "r", "POST https://host:8/else?x=1", Class::Refused, "refused", "no")).id, base);
        assert!(base.len() == 12 && base.chars().all(|c| c.is_ascii_hexdigit()));
    }

    #[test]
    fn a_message_without_end_is_cut() {
        assert!(without_ids(&"word ".repeat(100_000)).chars().count() <= MESSAGE_MAX);
        assert!(without_ids(&"x".repeat(1_000_000)).len() <= MESSAGE_MAX);
    }
}
