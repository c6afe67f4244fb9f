//! Room for recursion. The parser and the evaluator of `cel` recurse; small expressions fit any stack, the others
//! (a handful in a rule set, if any) run on a thread of their own with a big one.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Enough for [`super::OPERATORS_MAX`] and [`super::DEPTH_MAX`] together, without optimisation, with a wide margin. Only what is
/// touched costs memory.
const STACK_BYTES: usize = 256 << 20;

thread_local! {
    static ROOMY: Cell<bool> = const { Cell::new(false) };
}

/// Why there is no result: the thread could not be made, or the library failed.
pub(super) struct Broken;

/// Runs `work`, on a big stack when it is `deep`. A panic of the library is an answer, not an end.
pub(super) fn run<T: Send>(deep: bool, work: impl FnOnce() -> T + Send) -> Result<T, Broken> {
    let guarded = move || catch_unwind(AssertUnwindSafe(work)).map_err(|_| Broken);
    if !deep || ROOMY.get() {
        return guarded();
    }
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES).name("expr".to_owned());
        let begun = thread.spawn_scoped(scope, move || {
            ROOMY.set(true);
            guarded()
        });
        begun.map_err(|_| Broken)?.join().unwrap_or(Err(Broken))
    })
}
