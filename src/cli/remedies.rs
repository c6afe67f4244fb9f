//! What a person does about a fault that names no remedy of its own.

use crate::fault::Fault;

/// What is wrong, and how to mend it: the fault's own help, else what its message says is expected, else what helps with all of
/// its kind.
pub(super) fn told(fault: &Fault) -> (&str, Option<&str>) {
    if let Some(help) = &fault.help {
        return (&fault.message, Some(help));
    }
    match fault.message.rfind("; expected ") {
        Some(at) => (&fault.message[..at], Some(&fault.message[at + 2..])),
        None => (&fault.message, of_kind(fault.code)),
    }
}

fn of_kind(code: &str) -> Option<&'static str> {
    Some(match code {
        "address" => "write ADDRESS:PORT, such as `127.0.0.1:8080` or `[::1]:8080`",
        "at" => "write a time and a zone: `'06:00 Europe/Berlin'`",
        "bad-event" => "write the event as `tripline events show` prints it; `type` and `data` are enough",
        "bad-moment" => "write a duration such as `10m`, a date or a timestamp",
        "bad-name" => "choose another name, of letters, digits, `_` and `-`",
        "bad-type" => "write a type such as `queueItem.transactionFailed`, a family such as `queueItem.*`, or \"*\"",
        "bad-url" => "write https://HOST/PATH; in a path and a query, a space is `%20`",
        "content-key" => "give the key a name: it becomes a field of SpecificContent",
        "content-size" => "put less into the item, and the rest where the robot can fetch it",
        "duplicate-header" | "duplicate-status" => "keep one of them",
        "duplicate-id" | "duplicate-test" => "rename one of them",
        "duration" => "write a number with a unit: `90s`, `10m`, `2h`, `30d`",
        "egress" => "mend `egress` in the configuration",
        "empty" => "write a value, or remove the key",
        "environment" => "mend or unset the variable; it overrides the file",
        "expression" => "expressions are CEL, such as `content.Amount > 1000`; their names and functions are listed in docs/rules.md",
        "file-too-large" => "split it into several files",
        "file-unreadable" => "let the user who runs this read it, or name another one",
        "header-name" => "choose another header, or remove it; a header's name has letters, digits and `-`",
        "header-value" => "remove line breaks and control characters",
        "json" | "no-openapi" => "name a file with one OpenAPI 3 description, as JSON or YAML",
        "log" => "write a level such as `info`, or `info,tripline::intake=debug`",
        "network" => "write a network such as `10.20.0.0/16`, or one address",
        "no-connectors" => "write `connector:` with `base_url` and `operations`, or remove the file",
        "no-rules" => "write `rule:` with `events` and `steps`, or remove the file",
        "out-of-range" => "choose a value within these limits",
        "pattern" => "write a regular expression without look-around and back references",
        "prefix" => "write the few characters that stand before the signature, such as `sha256=`",
        "rate" => "write a number and a unit: `100/min`, `10/s`",
        "reference-length" => "choose a shorter reference: Orchestrator takes 128 characters",
        "relative-url" => "write https://HOST/PATH",
        "rule-name" => "choose a short name, such as `escalate-failed-invoice`",
        "sample" => "mend the path, which is relative to the rule's file, or the file",
        "secret-encoding" => "let the file hold the secret as text, and nothing else",
        "secret-long" => "choose a shorter one",
        "secret-too-long" => "name the file that holds the secret and nothing else",
        "size" => "write a number with a unit: `64KiB`, `32MiB`, `10GiB`",
        "too-deep" => "nest less",
        "too-many" => "use fewer, or divide them",
        "unknown-name" => "use `event`, `data`, `item`, `content`, `queue`, `job`, `steps`, `vars`, `rule`, `run` or `now`",
        "unknown-input" => "remove it, or declare it in the connector's file under `input`",
        "wrong-type" => "write a value of the kind that is expected here",
        "yaml" => {
            "look at this line and the one before: an open quote or bracket, a missing `: `, or too many or too few spaces at the beginning"
        }
        "bad-value" => "change it as said here; `tripline schema` prints what may stand where",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_faults_own_help_goes_before_what_is_expected_and_that_before_its_kinds() {
        let of = |message: &str| Fault::general("size", message);
        let told = |fault: &Fault| {
            let (message, help) = told(fault);
            (message.to_owned(), help.map(str::to_owned))
        };
        let both = |message: &str, help: &str| (message.to_owned(), Some(help.to_owned()));
        assert_eq!(told(&of("`a` is off; expected 1 to 2").help("do this")), both("`a` is off; expected 1 to 2", "do this"));
        assert_eq!(told(&of("`a` is off; expected 1 to 2")), both("`a` is off", "expected 1 to 2"));
        assert_eq!(told(&of("`a` is off")), both("`a` is off", "write a number with a unit: `64KiB`, `32MiB`, `10GiB`"));
    }

    #[test]
    fn every_kind_of_fault_that_is_made_without_a_remedy_has_one() {
        // Codes stand as the first text of a call that makes a fault without help.
        let mut without = Vec::new();
        let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
                if entry.is_dir() {
                    folders.push(entry);
                    continue;
                }
                let text = std::fs::read_to_string(&entry).expect("text");
                let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
                for start in ["faults.error(", "decoder.error(", "self.error("] {
                    let calls = text.split(start).skip(1).filter_map(|rest| rest.trim_start().strip_prefix('"'));
                    let codes = calls
                        .filter_map(|rest| rest.split_once('"').map(|(code, rest)| (code, rest.split(';').next().unwrap_or_default())));
                    let open = codes.filter(|(code, call)| !call.contains("expected ") && of_kind(code).is_none());
                    without.extend(open.map(|(code, _)| format!("{code} in {}", entry.display())));
                }
            }
        }
        assert_eq!(without, Vec::<String>::new());
    }
}
