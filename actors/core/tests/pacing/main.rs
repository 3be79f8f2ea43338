//! The pacer: what it promises for any sequence of events, and a fleet's answers and budgets in the simulated air.

mod budgets;
mod fleet;
mod promises;
mod shell;
