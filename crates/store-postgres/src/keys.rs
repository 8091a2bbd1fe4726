use std::collections::HashMap;

use sha2::{Digest, Sha256};
use steadfast_queue::store::{IdempotencyKey, KeyScope};
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::error::Failure;
use crate::session::{Session, Sql};

/// What the submission with a key was answered with.
#[derive(Debug, Clone)]
pub(crate) struct Answered {
    /// Of its request's body.
    pub(crate) fingerprint: Vec<u8>,
    /// Every job, in its order; one may be gone.
    pub(crate) jobs: Vec<Uuid>,
}

/// 128 bits of the SHA-256 of these parts, told apart by their lengths. Two names with one hash would be taken
/// for one: finding such a pair takes 2^64 attempts. Stored, so it must never change.
pub(crate) fn hash(parts: &[&[u8]]) -> Uuid {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u32).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().first_chunk().map_or(Uuid::nil(), |bytes| Uuid::from_bytes(*bytes))
}

/// The row of an idempotency key.
pub(crate) fn key_hash(key: &IdempotencyKey) -> Uuid {
    let scope: u8 = match key.scope {
        KeyScope::Submit => 0,
        KeyScope::Batch => 1,
    };
    hash(&[key.tenant.as_str().as_bytes(), &[scope], key.token.as_str().as_bytes()])
}

/// Finds the keys that are stored.
pub(crate) async fn find(session: &Session, hashes: &[Uuid]) -> Result<HashMap<Uuid, Answered>, Failure> {
    if hashes.is_empty() {
        return Ok(HashMap::new());
    }
    let mut found = HashMap::new();
    for row in session.rows(&FIND, &[&hashes]).await? {
        found.insert(
            row.try_get(0)?,
            Answered { fingerprint: row.try_get(1)?, jobs: unpack(row.try_get(2)?) },
        );
    }
    Ok(found)
}

/// The rows of keys that were used for the first time.
#[derive(Debug, Default)]
pub(crate) struct NewKeys {
    hashes: Vec<Uuid>,
    fingerprints: Vec<Vec<u8>>,
    answers: Vec<Vec<u8>>,
    stored: Vec<i32>,
}

impl NewKeys {
    /// A key whose submission made `made` of the jobs it was answered with.
    pub(crate) fn push(&mut self, hash: Uuid, answered: &Answered, made: usize) {
        self.hashes.push(hash);
        self.fingerprints.push(answered.fingerprint.clone());
        self.answers.push(answered.jobs.iter().flat_map(|job| *job.as_bytes()).collect());
        self.stored.push(made as i32);
    }

    /// Inserts them. One that another transaction has inserted meanwhile fails this one, which then finds it.
    pub(crate) async fn write(&self, session: &Session) -> Result<(), Failure> {
        if !self.hashes.is_empty() {
            let columns = (&self.hashes, &self.fingerprints, &self.answers, &self.stored);
            session.rows(&INSERT, &[columns.0, columns.1, columns.2, columns.3]).await?;
        }
        Ok(())
    }
}

fn unpack(bytes: &[u8]) -> Vec<Uuid> {
    bytes.as_chunks().0.iter().map(|job| Uuid::from_bytes(*job)).collect()
}

pub(crate) static FIND: Sql = Sql {
    text: "SELECT hash, fingerprint, answer FROM {s}.keys WHERE hash = ANY($1)",
    types: &[Type::UUID_ARRAY],
};

pub(crate) static INSERT: Sql = Sql {
    text: "INSERT INTO {s}.keys (hash, fingerprint, answer, stored) \
           SELECT * FROM unnest($1, $2, $3, $4) AS n(hash, fingerprint, answer, stored) ORDER BY n.hash",
    types: &[Type::UUID_ARRAY, Type::BYTEA_ARRAY, Type::BYTEA_ARRAY, Type::INT4_ARRAY],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_told_apart() {
        assert_ne!(hash(&[b"ab", b"c"]), hash(&[b"a", b"bc"]));
    }
}
