//! The pacer: what it promises for any sequence of events, and a fleet's answers and budgets in the simulated air.

#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "in a test a panic is a failure, and what is not looked for does not matter"
)]

mod budgets;
mod fleet;
mod learning;
mod optimum;
mod promises;
mod shell;
mod silence;
