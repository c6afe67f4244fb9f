//! What one evaluation has used up. Functions of `cel` get no context, so the account lies in the thread; it is
//! opened by the evaluation that runs in it and read when that ends.

use std::cell::Cell;

use cel::ExecutionError;

use super::{BUILT_MAX, STEPS_MAX};

#[derive(Clone, Copy, Default)]
struct Account {
    steps: u64,
    built: u64,
    over: Option<&'static str>,
}

thread_local! {
    static ACCOUNT: Cell<Account> = const { Cell::new(Account { steps: 0, built: 0, over: None }) };
}

/// Begins an evaluation.
pub(super) fn open() {
    ACCOUNT.set(Account::default());
}

/// The limit that was met, if one was: it counts even where `||` swallowed the error.
pub(super) fn over() -> Option<&'static str> {
    ACCOUNT.get().over
}

/// Takes `count` steps.
pub(super) fn step(count: u64) -> Result<(), ExecutionError> {
    charge(|account| {
        account.steps = account.steps.saturating_add(count);
        (account.steps > STEPS_MAX).then_some("1000000 steps in one evaluation")
    })
}

/// Builds `bytes` of text or list.
pub(super) fn build(bytes: usize) -> Result<(), ExecutionError> {
    charge(|account| {
        account.built = account.built.saturating_add(bytes as u64);
        (account.built > BUILT_MAX).then_some("16 MiB built in one evaluation")
    })
}

fn charge(take: impl FnOnce(&mut Account) -> Option<&'static str>) -> Result<(), ExecutionError> {
    let mut account = ACCOUNT.get();
    let over = account.over.or_else(|| take(&mut account));
    account.over = over;
    ACCOUNT.set(account);
    match over {
        Some(limit) => Err(ExecutionError::function_error("limit", limit)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_name_the_limits() {
        open();
        assert!(step(STEPS_MAX).is_ok() && step(1).is_err());
        assert!(over().expect("over").contains(&STEPS_MAX.to_string()));
        open();
        assert!(build(usize::try_from(BUILT_MAX).expect("fits")).is_ok() && build(1).is_err());
        assert!(over().expect("over").contains(&format!("{} MiB", BUILT_MAX >> 20)));
    }
}
