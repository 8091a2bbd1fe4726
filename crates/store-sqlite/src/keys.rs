use rusqlite::types::ValueRef;
use rusqlite::{OptionalExtension, Result};
use steadfast_domain::IdempotencyToken;
use steadfast_queue::store::{IdempotencyKey, KeyScope};

use crate::fingerprints::{Fingerprints, fingerprint};
use crate::memory::Memory;
use crate::statements::Statements;

/// Idempotency keys: for each stored one, its hash and the first job its submission made.
///
/// No index over random keys is kept on disk (docs/adr/0006-idempotency-keys.md). The rows lie in the order
/// of their jobs, and are read into memory after the store has opened: a stretch at a time while the writer
/// has nothing to do, and the rest at once when the first submission with a key arrives.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    hashes: Fingerprints,
    /// The job whose key was read last, while there are more.
    read_to: u64,
    complete: bool,
}

/// Keys read at a time.
const CHUNK: usize = 10_000;

impl Keys {
    pub(crate) fn insert(&mut self, hash: u64, job: u64) {
        self.hashes.insert(hash, job);
    }

    pub(crate) fn remove(&mut self, hash: u64, job: u64) {
        self.hashes.remove(hash, job);
    }

    /// Takes the removal of a key back. One that has not been read yet will be.
    pub(crate) fn restore(&mut self, hash: u64, job: u64) {
        if self.complete || job <= self.read_to {
            self.hashes.insert(hash, job);
        }
    }

    /// Whether every stored key is known.
    pub(crate) fn is_complete(&self) -> bool {
        self.complete
    }

    /// Reads some more of the stored keys.
    pub(crate) fn load_some(&mut self, statements: &mut Statements<'_>) -> Result<()> {
        let mut rows = statements.keys_after.query((self.read_to as i64, CHUNK as i64))?;
        let mut read = 0;
        while let Some(row) = rows.next()? {
            self.read_to = row.get::<_, i64>(0)? as u64;
            self.hashes.insert(row.get::<_, i64>(1)? as u64, self.read_to);
            read += 1;
        }
        self.complete = read < CHUNK;
        Ok(())
    }
}

/// The hash under which a key is found.
pub(crate) fn key_hash(key: &IdempotencyKey) -> u64 {
    fingerprint(&[key.tenant.as_str().as_bytes(), &[scope_number(key.scope)], key.token.as_str().as_bytes()])
}

/// How a scope is stored.
pub(crate) fn scope_number(scope: KeyScope) -> u8 {
    match scope {
        KeyScope::Submit => 0,
        KeyScope::Batch => 1,
    }
}

/// What the submission with a key was answered with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answered {
    /// Of its request's body.
    pub(crate) fingerprint: [u8; 32],
    /// Every job, in its order; one may be gone.
    pub(crate) jobs: Vec<u64>,
}

/// Looks a key up, exactly: in memory by its hash, then in the rows.
pub(crate) fn find(
    memory: &mut Memory,
    statements: &mut Statements<'_>,
    key: &IdempotencyKey,
    hash: u64,
) -> Result<Option<Answered>> {
    while !memory.keys().is_complete() {
        memory.keys_mut().load_some(statements)?;
    }
    for first in memory.keys().hashes.candidates(hash) {
        let answer: Option<Vec<u8>> =
            statements.key_answer.query_row([first as i64], |row| row.get(0)).optional()?.flatten();
        let jobs = answer.map_or_else(|| vec![first], |bytes| unpack(&bytes));
        // Any job that the submission made names its key, and the first may be gone.
        for job in &jobs {
            if let Some(fingerprint) = fingerprint_if_made_under(statements, *job, key)? {
                return Ok(Some(Answered { fingerprint, jobs }));
            }
        }
    }
    Ok(None)
}

fn fingerprint_if_made_under(
    statements: &mut Statements<'_>,
    job: u64,
    key: &IdempotencyKey,
) -> Result<Option<[u8; 32]>> {
    let is = |value: ValueRef<'_>, text: &str| value == ValueRef::Text(text.as_bytes());
    let found = statements.job_key.query_row([job as i64], |row| {
        let same = is(row.get_ref(0)?, key.tenant.as_str())
            && is(row.get_ref(1)?, IdempotencyToken::as_str(&key.token))
            && row.get::<_, Option<u8>>(2)? == Some(scope_number(key.scope));
        if same { row.get(3) } else { Ok(None) }
    });
    Ok(found.optional()?.flatten())
}

/// Row numbers as one column.
pub(crate) fn pack(jobs: &[u64]) -> Vec<u8> {
    jobs.iter().flat_map(|job| job.to_be_bytes()).collect()
}

/// Row numbers out of one column.
pub(crate) fn unpack(bytes: &[u8]) -> Vec<u64> {
    bytes.as_chunks().0.iter().map(|job| u64::from_be_bytes(*job)).collect()
}
