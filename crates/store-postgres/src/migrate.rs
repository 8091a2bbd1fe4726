use futures_util::future::join4;
use steadfast_domain::JobId;
use tokio_postgres::Client;

use crate::error::OpenError;
use crate::row::job_id;
use crate::session::in_schema;
use crate::url::PostgresUrl;

/// Each brings a schema from the version of its place to the next.
const MIGRATIONS: &[&str] = &[include_str!("migrations/0001.sql")];

/// The oldest server that this program works with, as `server_version_num` has it.
const SERVER_VERSION_MIN: i32 = 140_000;
/// A migration may have to wait for another process's.
const BEGIN: &str = "BEGIN; SET LOCAL lock_timeout = '60s'; SET LOCAL statement_timeout = 0; \
     SET LOCAL synchronous_commit = on";

/// Whether the server keeps what it commits.
pub(crate) async fn check(client: &Client, url: &PostgresUrl) -> Result<(), OpenError> {
    let sql = |source| OpenError::Sql { url: url.clone(), source };
    let rows = client
        .query_typed(
            "SELECT current_setting('server_version_num')::int, current_setting('server_version'), \
             current_setting('fsync'), current_setting('full_page_writes'), \
             current_setting('server_encoding')",
            &[],
        )
        .await
        .map_err(sql)?;
    let Some(row) = rows.first() else { return Ok(()) };
    if row.try_get::<_, i32>(0).map_err(sql)? < SERVER_VERSION_MIN {
        return Err(OpenError::TooOld { url: url.clone(), found: row.try_get(1).map_err(sql)? });
    }
    for (column, setting, needed) in [(2, "fsync", "on"), (3, "full_page_writes", "on")] {
        let found: String = row.try_get(column).map_err(sql)?;
        if found != needed {
            return Err(OpenError::Unsafe { url: url.clone(), setting, found, needed });
        }
    }
    let encoding: String = row.try_get(4).map_err(sql)?;
    if encoding != "UTF8" {
        return Err(OpenError::Encoding { url: url.clone(), found: encoding });
    }
    Ok(())
}

/// Makes the schema, or brings it up to date. Processes that start together do so one after another.
pub(crate) async fn run(client: &Client, url: &PostgresUrl, lock: i64) -> Result<(), OpenError> {
    let sql = |source| OpenError::Sql { url: url.clone(), source };
    let migrated = migrate(client, url, lock).await;
    let end = if migrated.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let ended = client.batch_execute(end).await.map_err(sql);
    migrated.and(ended)
}

/// The newest job that is stored.
pub(crate) async fn newest(client: &Client, url: &PostgresUrl) -> Result<Option<JobId>, OpenError> {
    let sql = |source| OpenError::Sql { url: url.clone(), source };
    let text = in_schema("SELECT id FROM {s}.jobs ORDER BY id DESC LIMIT 1", &url.parts().schema);
    let rows = client.query_typed(&text, &[]).await.map_err(sql)?;
    rows.first().map(|row| Ok(job_id(row.try_get(0).map_err(sql)?))).transpose()
}

async fn migrate(client: &Client, url: &PostgresUrl, lock: i64) -> Result<(), OpenError> {
    let sql = |source| OpenError::Sql { url: url.clone(), source };
    let schema = &url.parts().schema;
    let execute = |text: String| async move { client.batch_execute(&text).await };
    let (begun, locked, made, versions) = join4(
        execute(BEGIN.to_owned()),
        execute(format!("SELECT pg_advisory_xact_lock({lock})")),
        // Where it is there, no right to make schemas is needed.
        execute(format!(
            "DO $$ BEGIN IF to_regnamespace('\"{schema}\"') IS NULL THEN CREATE SCHEMA \"{schema}\"; END IF; \
             END $$"
        )),
        execute(in_schema(
            "CREATE TABLE IF NOT EXISTS {s}.schema_version (version integer NOT NULL)",
            schema,
        )),
    )
    .await;
    begun.and(locked).and(made).and(versions).map_err(sql)?;
    let rows = client
        .query_typed(&in_schema("SELECT version FROM {s}.schema_version", schema), &[])
        .await
        .map_err(sql)?;
    let found: i32 = rows.first().map_or(Ok(0), |row| row.try_get(0)).map_err(sql)?;
    let known = MIGRATIONS.len() as i32;
    if found > known {
        return Err(OpenError::NewerSchema { url: url.clone(), schema: schema.clone(), found, known });
    }
    for migration in &MIGRATIONS[found as usize..] {
        client.batch_execute(&in_schema(migration, schema)).await.map_err(sql)?;
    }
    if found < known {
        let text = "DELETE FROM {s}.schema_version; INSERT INTO {s}.schema_version VALUES ";
        client.batch_execute(&format!("{}({known})", in_schema(text, schema))).await.map_err(sql)?;
    }
    Ok(())
}
