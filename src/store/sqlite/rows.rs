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

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::Execute as _;

    #[test]
    fn numbers_of_rows_that_are_near_each_other_are_one_text() {
        let text = |rows: usize| {
            let rows: Vec<i64> = (0..).take(rows).collect();
            let mut statement = QueryBuilder::new("SELECT * FROM (");
            push_rows(&mut statement, 2, &rows, |values, row| {
                values.push_bind(*row).push_bind(*row);
            });
            statement.push(")");
            statement.build().sql().as_str().to_owned()
        };
        assert_eq!(text(33), text(ROWS_MAX));
        assert_ne!(text(32), text(33));
        assert_eq!(text(1).matches('?').count(), 2);
    }

    #[tokio::test]
    async fn blank_rows_are_blank() {
        use sqlx::Connection as _;

        let mut connection = sqlx::SqliteConnection::connect("sqlite::memory:")
            .await
            .unwrap();
        let mut statement = QueryBuilder::new("SELECT v.column1, v.column2 FROM (");
        push_rows(&mut statement, 2, &[1_i64, 2, 3], |values, row| {
            values.push_bind(*row).push_bind(10 * *row);
        });
        statement.push(") AS v");
        let rows: Vec<(Option<i64>, Option<i64>)> = statement
            .build_query_as()
            .fetch_all(&mut connection)
            .await
            .unwrap();
        let expected = [
            (Some(1), Some(10)),
            (Some(2), Some(20)),
            (Some(3), Some(30)),
            (None, None),
        ];
        assert_eq!(rows, expected);
    }
}
