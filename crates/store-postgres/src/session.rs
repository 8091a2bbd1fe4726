use std::collections::HashMap;

use futures_util::future::try_join_all;
use tokio::task::JoinSet;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row, Statement};

use crate::tallies::Seat;
use crate::url::Prepare;

/// One SQL statement: `{s}` stands for the schema.
#[derive(Debug)]
pub(crate) struct Sql {
    pub(crate) text: &'static str,
    /// Of its parameters.
    pub(crate) types: &'static [Type],
}

/// Parameters of a statement, in their order.
pub(crate) type Params<'a> = &'a [&'a (dyn ToSql + Sync)];
/// What a statement gives, or why it does not.
pub(crate) type Result<T> = std::result::Result<T, tokio_postgres::Error>;

/// A connection and its statements. Futures that are polled together are sent together and answered in that
/// order: a transaction costs as many round trips as it has questions that wait for answers.
///
/// **Invariant:** nothing here changes the state of the server's session, so that a pooler may give each
/// transaction another one.
#[derive(Debug)]
pub(crate) struct Session {
    client: Client,
    /// How a transaction begins, up to the number of its seat.
    begin: String,
    /// By their text: as it is sent, and its handle if it is prepared.
    statements: HashMap<&'static str, (String, Option<Statement>)>,
    /// Dropped, it cuts the connection.
    driver: JoinSet<()>,
}

impl Session {
    /// Makes `sqls` ready for use.
    pub(crate) async fn start(
        client: Client,
        driver: JoinSet<()>,
        schema: &str,
        prepare: Prepare,
        sqls: &[&'static Sql],
    ) -> Result<Self> {
        let texts: Vec<String> = sqls.iter().map(|sql| in_schema(sql.text, schema)).collect();
        let prepared = match prepare {
            Prepare::Unnamed => vec![None; sqls.len()],
            Prepare::Named => {
                let each = sqls.iter().zip(&texts);
                let prepared = try_join_all(each.map(|(sql, text)| client.prepare_typed(text, sql.types)));
                prepared.await?.into_iter().map(Some).collect()
            }
        };
        let named = sqls.iter().map(|sql| sql.text);
        let statements = named.zip(texts.into_iter().zip(prepared)).collect();
        let begin = in_schema("BEGIN; SELECT {s}.begin(", schema);
        Ok(Self { client, begin, statements, driver })
    }

    /// Runs a statement of those it was started with.
    pub(crate) async fn rows(&self, sql: &'static Sql, params: Params<'_>) -> Result<Vec<Row>> {
        match self.statements.get(sql.text) {
            Some((_, Some(prepared))) => self.client.query(prepared, params).await,
            Some((text, None)) => self.typed(text, sql, params).await,
            None => {
                debug_assert!(false, "the session was started without {}", sql.text);
                self.typed(sql.text, sql, params).await
            }
        }
    }

    async fn typed(&self, text: &str, sql: &'static Sql, params: Params<'_>) -> Result<Vec<Row>> {
        let typed: Vec<_> = params.iter().copied().zip(sql.types.iter().cloned()).collect();
        self.client.query_typed(text, &typed).await
    }

    /// Begins a transaction with the schema's settings, as the only one of a seat, if it is one's.
    pub(crate) async fn begin(&self, seat: Option<Seat>) -> Result<()> {
        let begin = &self.begin;
        match seat {
            Some(seat) => self.execute(&format!("{begin}{})", seat.number)).await,
            None => self.execute(&format!("{begin}NULL)")).await,
        }
    }

    /// Runs SQL that has no parameters: `COMMIT` and its like.
    pub(crate) async fn execute(&self, sql: &str) -> Result<()> {
        self.client.batch_execute(sql).await
    }

    /// Whether nothing more can be asked of it.
    pub(crate) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Says goodbye to the server.
    pub(crate) async fn close(self) {
        let Self { client, mut driver, .. } = self;
        drop(client);
        // It ends by itself now.
        while driver.join_next().await.is_some() {}
    }
}

/// A text with the schema's name in its places. The name is an identifier that needs no quotes but for
/// reserved words.
pub(crate) fn in_schema(text: &str, schema: &str) -> String {
    text.replace("{s}", &format!("\"{schema}\""))
}
