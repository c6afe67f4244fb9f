//! Which of our own runs made a queue item or a job: `tl:<run>:<step>:<hops>` in its `ParentOperationId`.

use crate::event::{Origin, RunId, Tree, is_plain_name};

/// Where a `ParentOperationId` may stand.
const CARRIERS: &[&str] = &["QueueItem", "Job"];

/// See [`crate::normalize::parse_parent_operation`].
pub(super) fn parse(text: &str) -> Option<Origin> {
    let mut parts = text.strip_prefix("tl:")?.split(':');
    let (run, step, hops) = (parts.next()?, parts.next()?, parts.next()?);
    let run_id: RunId = run.parse().ok()?;
    let plain_hops = !hops.is_empty() && hops.bytes().all(|b| b.is_ascii_digit());
    if parts.next().is_some() || !is_plain_name(step) || !plain_hops {
        return None;
    }
    // A chain longer than we count is as long as we can count: it is over the limit either way.
    Some(Origin { run: run_id.to_string(), step: step.to_owned(), hops: hops.parse().unwrap_or(u8::MAX) })
}

/// The origin that the thing of a change carries.
pub(super) fn of(data: &Tree<'_>) -> Option<Origin> {
    CARRIERS.iter().filter_map(|carrier| data.get(carrier)?.get("ParentOperationId")?.as_str()).find_map(parse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_enqueuer_writes_is_read_back() {
        let run = RunId { replay: 2, ..RunId::of(crate::event::EventId(7), "escalate") };
        let origin = parse(&format!("tl:{run}:review:3")).expect("an origin");
        assert_eq!(origin, Origin { run: run.to_string(), step: "review".to_owned(), hops: 3 });
        assert_eq!(parse(&format!("tl:{run}:1:999")).map(|o| o.hops), Some(u8::MAX));
    }

    #[test]
    fn other_texts_are_no_origin() {
        let run = RunId::of(crate::event::EventId(7), "escalate");
        for text in ["", "tl:", "tl:x:1:1", "abc", &format!("tl:{run}:1"), &format!("tl:{run}:a b:1"), &format!("tl:{run}:1:-1")] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(parse(&format!("tl:{run}:1:1:extra")), None);
    }
}
