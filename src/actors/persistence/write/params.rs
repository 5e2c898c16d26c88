//! The parameters of a statement, in the order of its `$n`. Most are columns: a batch passes many rows as one
//! array for each column, and `unnest` makes rows of them again. This file knows no statement.

use futures_util::TryStreamExt;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Row, Statement, ToStatement};

/// The values of `$1`, `$2` and so on. They are added in the order in which the statement first uses them.
#[derive(Default)]
pub struct Params<'a>(Vec<Box<dyn ToSql + Sync + Send + 'a>>);

impl<'a> Params<'a> {
    /// No parameters, with the capacity for so many.
    pub fn with_capacity(capacity: usize) -> Params<'a> {
        Params(Vec::with_capacity(capacity))
    }

    /// Adds a value as the next parameter.
    pub fn value(mut self, value: impl ToSql + Sync + Send + 'a) -> Params<'a> {
        self.0.push(Box::new(value));
        self
    }

    /// Adds a column as the next parameter, as an array. The number of rows is known, so its memory is allocated
    /// once.
    pub fn column<T: ToSql + Sync + Send + 'a>(self, column: impl ExactSizeIterator<Item = T>) -> Params<'a> {
        self.value(column.collect::<Vec<T>>())
    }

    /// Runs a statement with these parameters; returns how many rows it changed.
    pub async fn execute(self, db: &Client, statement: &(impl ToStatement + Sync + ?Sized)) -> Result<u64, Error> {
        db.execute_raw(statement, self.0).await
    }

    /// Runs a statement with these parameters; returns its rows.
    pub async fn query(self, db: &Client, statement: &Statement) -> Result<Vec<Row>, Error> {
        db.query_raw(statement, self.0).await?.try_collect().await
    }
}

#[cfg(test)]
impl Params<'_> {
    /// Panics unless the statement uses each parameter, and first uses them in their order.
    pub fn assert_fit(&self, sql: &str) {
        let mut used: Vec<usize> = Vec::new();
        for text in sql.split('$').skip(1) {
            let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
            let number = text[..digits].parse().unwrap();
            if !used.contains(&number) {
                used.push(number);
            }
        }
        assert_eq!(used, (1..=self.0.len()).collect::<Vec<_>>(), "{sql}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Params<'static> {
        Params::with_capacity(2).value(1).column([2, 3].into_iter())
    }

    #[test]
    fn parameters_that_are_used_in_order_fit() {
        two().assert_fit("SELECT $1, $2, $1");
        Params::default().assert_fit("SELECT 1");
    }

    #[test]
    #[should_panic(expected = "SELECT $2, $1")]
    fn parameters_in_another_order_do_not_fit() {
        two().assert_fit("SELECT $2, $1");
    }

    #[test]
    #[should_panic(expected = "SELECT $1, $2, $3")]
    fn a_parameter_that_is_not_passed_does_not_fit() {
        two().assert_fit("SELECT $1, $2, $3");
    }

    #[test]
    #[should_panic(expected = "SELECT $1")]
    fn a_parameter_that_is_not_used_does_not_fit() {
        two().assert_fit("SELECT $1");
    }
}
