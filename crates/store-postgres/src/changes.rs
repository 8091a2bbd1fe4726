use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;

use futures_util::future::join_all;
use steadfast_domain::Timestamp;
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::alike::{self, AlikeJobs};
use crate::effects::Effects;
use crate::error::Failure;
use crate::jobs::{self, ChangedJobs, NewJobs, WaitingJobs};
use crate::keys::NewKeys;
use crate::room::Spread;
use crate::session::{Params, Session, Sql};
use crate::tallies::{Seat, Tallies};

/// All that one transaction writes. It goes out at once, with the commit behind it.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) alike: AlikeJobs,
    pub(crate) new: NewJobs,
    pub(crate) changed: ChangedJobs,
    pub(crate) waiting: WaitingJobs,
    /// Jobs that wait no more.
    pub(crate) not_waiting: Vec<Uuid>,
    /// Jobs whose claim has ended.
    pub(crate) not_claimed: Vec<Uuid>,
    /// Running attempts that are asked to stop.
    pub(crate) cancel_requested: Vec<Uuid>,
    pub(crate) keys: NewKeys,
    /// Unique keys of jobs that live from now on.
    pub(crate) uniques: BTreeMap<Uuid, Uuid>,
    /// Unique keys of jobs that have ended.
    pub(crate) not_unique: Vec<Uuid>,
    pub(crate) spread: Spread,
    pub(crate) tallies: Tallies,
    /// Whether [`Group::last`](crate::writer::Group::last) or `decide` has writes of its own.
    pub(crate) has_more: bool,
    pub(crate) effects: Effects,
}

type Write<'a> = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send + 'a>>;

impl Changes {
    /// Whether nothing is written.
    pub(crate) fn is_empty(&self) -> bool {
        self.tallies.is_empty() && self.cancel_requested.is_empty() && !self.has_more
    }

    /// Sends everything, in an order in which unique rows go before they come. `turn` names the transaction in the
    /// row of its seat, for whoever does not hear how it ended.
    pub(crate) async fn write(
        &self,
        session: &Session,
        seat: Seat,
        now: Timestamp,
        turn: i64,
    ) -> Result<(), Failure> {
        if self.is_empty() {
            return Ok(());
        }
        let (uniques, unique_jobs): (Vec<Uuid>, Vec<Uuid>) = self.uniques.iter().unzip();
        let insert_uniques: [&(dyn tokio_postgres::types::ToSql + Sync); 2] = [&uniques, &unique_jobs];
        let writes: Vec<Write<'_>> = vec![
            Box::pin(self.keys.write(session)),
            Box::pin(by_ids(session, &DELETE_UNIQUES, &self.not_unique)),
            Box::pin(if_any(session, &INSERT_UNIQUES, uniques.is_empty(), &insert_uniques)),
            Box::pin(self.alike.write(session, now)),
            Box::pin(self.new.write(session, now)),
            Box::pin(self.changed.write(session)),
            Box::pin(by_ids(session, &jobs::DELETE_WAITING, &self.not_waiting)),
            Box::pin(by_ids(session, &jobs::DELETE_CLAIMS, &self.not_claimed)),
            Box::pin(by_ids(session, &REQUEST_CANCEL, &self.cancel_requested)),
            Box::pin(self.waiting.write(session)),
            Box::pin(self.spread.write(session)),
            Box::pin(async { Ok(self.tallies.write(session, seat, now, turn).await?) }),
        ];
        // The first that failed is the cause; those after it failed with it.
        join_all(writes).await.into_iter().collect()
    }
}

async fn by_ids(session: &Session, sql: &'static Sql, ids: &[Uuid]) -> Result<(), Failure> {
    if_any(session, sql, ids.is_empty(), &[&ids]).await
}

async fn if_any(
    session: &Session,
    sql: &'static Sql,
    is_empty: bool,
    params: Params<'_>,
) -> Result<(), Failure> {
    if !is_empty {
        session.rows(sql, params).await?;
    }
    Ok(())
}

/// What [`Changes::write`] sends.
pub(crate) const WRITES: &[&Sql] = &[
    &crate::keys::INSERT,
    &DELETE_UNIQUES,
    &INSERT_UNIQUES,
    &alike::INSERT,
    &jobs::INSERT_JOBS,
    &jobs::UPDATE_JOBS,
    &jobs::DELETE_WAITING,
    &jobs::DELETE_CLAIMS,
    &REQUEST_CANCEL,
    &jobs::INSERT_WAITING,
    &crate::room::SPREAD,
    &crate::tallies::WRITE,
];

static INSERT_UNIQUES: Sql = Sql {
    text: "INSERT INTO {s}.uniques (hash, job) SELECT * FROM unnest($1, $2)",
    types: &[Type::UUID_ARRAY, Type::UUID_ARRAY],
};

static DELETE_UNIQUES: Sql =
    Sql { text: "DELETE FROM {s}.uniques WHERE hash = ANY($1)", types: &[Type::UUID_ARRAY] };

static REQUEST_CANCEL: Sql = Sql {
    text: "UPDATE {s}.claims SET cancel_requested = true WHERE job = ANY($1)",
    types: &[Type::UUID_ARRAY],
};
