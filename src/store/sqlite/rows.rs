//! Rows as parameters of a statement that stays prepared.

use sqlx::query_builder::Separated;
use sqlx::{QueryBuilder, Sqlite as Db};

/// Rows of one statement: 64 of 17 columns stay well below `SQLite`'s 32,766 parameters, and longer ones are not met again
/// often enough to be worth their memory.
pub(super) const ROWS_MAX: usize = 64;

/// How many these are with the blank ones.
pub(super) fn padded(rows: usize) -> usize {
    rows.next_power_of_two()
}

/// Adds `VALUES` of so many columns, with blank rows up to the next power of two: so there are few texts, and each is
/// parsed once and not for every batch. The statement has to leave out those whose first column is null.
pub(super) fn push_rows<'a, T>(
    statement: &mut QueryBuilder<Db>,
    columns: usize,
    rows: &'a [T],
    push: impl Fn(&mut Separated<'_, Db, &'static str>, &'a T),
) {
    let and_blank = rows.iter().map(Some).chain(std::iter::repeat(None));
    statement.push_values(
        and_blank.take(padded(rows.len())),
        |mut values, row| match row {
            Some(row) => push(&mut values, row),
            None => {
                for _ in 0..columns {
                    values.push_bind(None::<i64>);
                }
            }
        },
    );
}
