/// Where a test may kill the process: each step around commit, claim, settle and hand-back, in the order
/// in which a job meets them. `before_commit` is inside the transaction, `after_commit` before the caller
/// is told.
///
/// Two more make a commit fail with its outcome unknown when set to `return`: `sqlite::commit::fails`, where
/// it did not happen, and `sqlite::commit::unknown`, where it did. With `sqlite::commit::unsynced` no commit
/// waits for its sync, so that a test can show that it would notice.
pub const FAILPOINTS: &[&str] = &[
    "sqlite::submit::before_commit",
    "sqlite::commit::before",
    "sqlite::commit::after",
    "sqlite::answer::before",
    "sqlite::submit::after_commit",
    "sqlite::claim::before_commit",
    "sqlite::claim::after_commit",
    "sqlite::settle::before_commit",
    "sqlite::settle::after_commit",
    "sqlite::hand_back::before_commit",
    "sqlite::hand_back::after_commit",
    "sqlite::open::before_recovery",
    "sqlite::close::before_checkpoint",
];
