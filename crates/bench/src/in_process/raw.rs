use std::time::SystemTime;

use std::sync::Arc;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Row, Statement};
use uuid::Uuid;

use super::{CLAIM, Jobs};
use crate::error::BenchError;

/// Connections that submit: more did not help.
const SUBMITTING: usize = 2;
/// Jobs of one `INSERT`.
const BATCH_MAX: usize = 1_024;
/// Submits that wait for one.
const WAITING_MAX: usize = 16_384;

const CREATE: &str = "CREATE TABLE jobs (id uuid PRIMARY KEY, queue text NOT NULL, kind text NOT NULL, \
    payload text NOT NULL, priority smallint NOT NULL, run_at bigint NOT NULL, created_at bigint NOT NULL, \
    state smallint NOT NULL, attempt integer NOT NULL, started_at bigint, finished_at bigint); \
    CREATE INDEX ready ON jobs (queue, priority, run_at, id) WHERE state = 0";
const INSERT: &str = "INSERT INTO jobs (id, queue, kind, payload, priority, run_at, created_at, state, attempt) \
    SELECT id, 'default', 'echo', payload, 2, $3, $3, 0, 0 FROM unnest($1::uuid[], $2::text[]) AS n(id, payload)";
// By an array, so that no plan reads the whole table for the join, whatever the statistics say.
const CLAIM_READY: &str = "UPDATE jobs SET state = 1, attempt = attempt + 1, started_at = $2 \
    WHERE id = ANY(ARRAY(SELECT id FROM jobs WHERE queue = 'default' AND state = 0 AND run_at <= $2 \
    ORDER BY priority, run_at, id LIMIT $1 FOR UPDATE SKIP LOCKED)) RETURNING id, payload";
const COMPLETE: &str = "UPDATE jobs SET state = 2, finished_at = $2 WHERE id = ANY($1)";

/// The ceiling: what PostgreSQL does of it with one table, one partial index and a statement each, in batches,
/// and with none of the promises beyond "it is committed".
#[derive(Debug)]
pub(crate) struct Raw {
    submits: mpsc::Sender<Caller>,
    claiming: Connection,
    settling: Connection,
    /// Dropped, they are cut.
    serving: Mutex<JoinSet<()>>,
}

/// Who waits for a submit.
type Caller = oneshot::Sender<Result<(), BenchError>>;

/// A connection and its one statement.
#[derive(Debug)]
struct Connection {
    client: Client,
    statement: Statement,
}

impl Raw {
    /// In a new schema of the database with this URL; each job has this payload.
    pub(crate) async fn open(url: &str, schema: &str, payload: &str) -> Result<Self, BenchError> {
        let mut serving = JoinSet::new();
        let client = connect(url, schema, &mut serving).await?;
        client.batch_execute(&format!("CREATE SCHEMA {schema}; {CREATE}")).await.map_err(failed)?;
        let (submits, receiver) = mpsc::channel(WAITING_MAX);
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..SUBMITTING {
            let connection = Connection::open(url, schema, INSERT, &mut serving).await?;
            serving.spawn(submit_on(connection, Arc::clone(&receiver), payload.to_owned()));
        }
        let claiming = Connection::open(url, schema, CLAIM_READY, &mut serving).await?;
        let settling = Connection::open(url, schema, COMPLETE, &mut serving).await?;
        Ok(Self { submits, claiming, settling, serving: Mutex::new(serving) })
    }
}

impl Jobs for Raw {
    type Claim = Uuid;

    async fn submit(&self) -> Result<(), BenchError> {
        let (sender, answer) = oneshot::channel();
        let gone = || BenchError::invalid("a submit", "the connections have ended");
        self.submits.send(sender).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    async fn claim(&self) -> Result<Vec<Uuid>, BenchError> {
        let rows = self.claiming.rows(&[&(CLAIM as i64), &now_ms()]).await?;
        rows.iter().map(|row| row.try_get(0).map_err(failed)).collect()
    }

    async fn settle(&self, claims: Vec<Uuid>) -> Result<(), BenchError> {
        self.settling.rows(&[&claims, &now_ms()]).await.map(|_| ())
    }

    async fn close(&self) -> Result<(), BenchError> {
        self.serving.lock().await.shutdown().await;
        Ok(())
    }
}

impl Connection {
    async fn open(
        url: &str,
        schema: &str,
        statement: &str,
        serving: &mut JoinSet<()>,
    ) -> Result<Self, BenchError> {
        let client = connect(url, schema, serving).await?;
        let statement = client.prepare(statement).await.map_err(failed)?;
        Ok(Self { client, statement })
    }

    /// Each statement is a transaction.
    async fn rows(&self, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, BenchError> {
        self.client.query(&self.statement, parameters).await.map_err(failed)
    }
}

async fn connect(url: &str, schema: &str, serving: &mut JoinSet<()>) -> Result<Client, BenchError> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.map_err(failed)?;
    serving.spawn(async {
        // Whoever uses it is told why.
        let _ = connection.await;
    });
    client.batch_execute(&format!("SET search_path TO {schema}")).await.map_err(failed)?;
    Ok(client)
}

/// Inserts whatever waits, again and again.
async fn submit_on(connection: Connection, receiver: Arc<Mutex<mpsc::Receiver<Caller>>>, payload: String) {
    loop {
        let mut callers = Vec::new();
        if receiver.lock().await.recv_many(&mut callers, BATCH_MAX).await == 0 {
            return;
        }
        let ids: Vec<Uuid> = callers.iter().map(|_| Uuid::now_v7()).collect();
        let payloads = vec![payload.as_str(); callers.len()];
        let inserted = connection.rows(&[&ids, &payloads, &now_ms()]).await;
        for caller in callers {
            // One that does not wait any more has failed already.
            let _ = caller.send(match &inserted {
                Ok(_) => Ok(()),
                Err(error) => Err(BenchError::invalid("a submit", error.to_string())),
            });
        }
    }
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis() as i64
}

fn failed(error: tokio_postgres::Error) -> BenchError {
    let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    BenchError::invalid("raw PostgreSQL", format!("{error}: {cause}"))
}
