//! The chain of events and runs behind an event, for people who have to find the loop.

use std::sync::Arc;

use crate::event::{Event, EventId, HOPS_MAX, RunId};
use crate::runs::{Cause, too_many_hops};

/// How many events and steps are shown; a chain that is longer was cut by `HOPS_MAX` long before.
const LINKS_MAX: usize = 2 * HOPS_MAX as usize + 4;

/// The cause of a run whose event is the last of too long a chain, the chain shown newest first.
pub(super) fn cause(event: &Event, find: &dyn Fn(EventId) -> Option<Arc<Event>>) -> Cause {
    let mut cause = too_many_hops(event.hops());
    let mut chain = vec![format!("{} {}", event.event_type(), event.id)];
    let mut origin = event.change.origin.clone();
    while let Some(link) = origin
        && chain.len() <= LINKS_MAX
    {
        chain.push(format!("step `{}` of run {}", link.step, link.run));
        let before = link.run.parse::<RunId>().ok().and_then(|run| find(run.event));
        match &before {
            Some(before) => chain.push(format!("{} {}", before.event_type(), before.id)),
            None => chain.push("an event that is not in the journal any more".to_owned()),
        }
        origin = before.and_then(|before| before.change.origin.clone());
    }
    cause.message = format!("{}: {}", cause.message, chain.join(" ← "));
    cause
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::event::Origin;

    fn event(id: u128, caused_by: Option<u128>, hops: u8) -> Arc<Event> {
        let mut event = Event::from_json(&json!({"type": "order.echo", "data": {}})).expect("an event");
        event.id = EventId(id);
        event.change.origin =
            caused_by.map(|before| Origin { run: RunId::of(EventId(before), "echo").to_string(), step: "again".to_owned(), hops });
        Arc::new(event)
    }

    #[test]
    fn a_loop_is_shown_back_to_where_it_began() {
        let events: BTreeMap<_, _> = (0..=9_u8)
            .map(|n| {
                let id = u128::from(n) + 100;
                (EventId(id), event(id, (n > 0).then(|| id - 1), n))
            })
            .collect();
        let last = events.values().last().expect("events").clone();
        let cause = cause(&last, &|id| events.get(&id).cloned());
        assert_eq!(cause.code, "loop");
        assert!(cause.message.contains("hop 9") && cause.message.contains("at most 8"), "{}", cause.message);
        assert!(cause.message.contains(&EventId(109).to_string()), "{}", cause.message);
        assert!(cause.message.contains("step `again` of run"), "{}", cause.message);
    }

    #[test]
    fn a_chain_is_followed_only_so_far_and_only_while_it_is_known() {
        let ring = event(1, Some(1), 9);
        let shown = cause(&ring, &|_| Some(ring.clone())).message;
        assert!(shown.matches('←').count() <= LINKS_MAX + 1, "{shown}");
        let lost = cause(&ring, &|_| None).message;
        assert!(lost.ends_with("an event that is not in the journal any more"), "{lost}");
    }
}
