//! Any text is read or refused with places inside it.

use crate::event::fuzz::{near_text, over_inputs};
use crate::fault::{Faults, Place, SourceText};
use crate::yaml::parse;
use std::path::PathBuf;
use std::sync::Arc;

const SEEDS: &[&str] = &[
    "rule: a\nevents: queueItem.*\nmatch:\n  Queue: {Name: [a, 'b', \"c\", null, 1e3, 0x1f]}\nwhen: |\n  content.A > 1 &&\n  has(x)\n---\nrule: b\nsteps:\n  - wait: 10m # why\n",
    "a: &x [1, 2]\nb: *x\n<<: {c: d}\n",
    "- no\n- on\n- 0123\n- ~\n- 2024-01-01\n- !!str 5\n- ? k\n  : v\n",
    "text: >-\n  folded\n  twice\n\n  over\nflow: {a: [b, {c: d}], 'e': \"f\\u00e9\\n\"}\n",
    "\u{feff}a: 1\r\nb: \"é\u{2028}\"\r\n",
];

/// That every place is one in the text.
pub(crate) fn places_are_inside(faults: &Faults) {
    for fault in faults.iter() {
        assert!(!fault.message.is_empty());
        let Some(place) = &fault.place else { continue };
        if place.line == 0 {
            continue;
        }
        // A fault about what is missing may stand behind the last line.
        // In YAML a lone carriage return ends a line, for most editors it does not: a place is right in either count.
        let text = &place.source.text;
        let as_yaml = text.replace("\r\n", "\n").replace('\r', "\n");
        assert!(is_inside(place, text) || is_inside(place, &as_yaml), "{} in {text:?}", fault.one_line());
    }
}

fn is_inside(place: &Place, text: &str) -> bool {
    let lines: Vec<&str> = text.split('\n').collect();
    let columns = lines.get(place.line as usize - 1).map_or(0, |line| line.chars().count());
    place.line as usize <= lines.len() + 1 && place.column as usize <= columns + 2
}

#[test]
fn any_text_is_read_or_refused_with_places() {
    over_inputs!(|input: &[u8]| {
        let source = Arc::new(SourceText { path: PathBuf::from("r.yaml"), text: near_text(SEEDS, input) });
        match parse(&source) {
            Ok(nodes) => nodes.iter().for_each(|node| drop(node.to_json())),
            Err(faults) => {
                assert!(faults.any_error());
                places_are_inside(&faults);
            }
        }
    });
}
