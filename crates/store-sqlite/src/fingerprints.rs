use hashbrown::HashTable;
use sha2::{Digest, Sha256};

/// Finds rows by a name that only the rows spell out: each entry is 64 bits of a name's SHA-256 and a job,
/// so that a name of any length costs 16 bytes and the table's slack. Two names may share the bits: what
/// is found is a candidate, to be held against its row.
#[derive(Debug, Default)]
pub(crate) struct Fingerprints(HashTable<(u64, u64)>);

/// 64 bits of the SHA-256 of these parts, told apart by their lengths. Stored, so it must never change; a
/// cryptographic hash, so that no client can aim at one bucket.
pub(crate) fn fingerprint(parts: &[&[u8]]) -> u64 {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u32).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

impl Fingerprints {
    /// Adds a name's job.
    pub(crate) fn insert(&mut self, hash: u64, job: u64) {
        self.0.insert_unique(hash, (hash, job), |(hash, _)| *hash);
    }

    /// Takes a name's job out, if it is there.
    pub(crate) fn remove(&mut self, hash: u64, job: u64) {
        if let Ok(entry) = self.0.find_entry(hash, |entry| *entry == (hash, job)) {
            entry.remove();
        }
    }

    /// Jobs whose name may be the one with this hash.
    pub(crate) fn candidates(&self, hash: u64) -> Vec<u64> {
        self.0.iter_hash(hash).filter(|entry| entry.0 == hash).map(|(_, job)| *job).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_share_a_hash_are_all_candidates() {
        let mut table = Fingerprints::default();
        for (hash, job) in [(7, 1), (7, 2), (8, 3)] {
            table.insert(hash, job);
        }
        let mut found = table.candidates(7);
        found.sort_unstable();
        assert_eq!(found, [1, 2]);
        table.remove(7, 1);
        table.remove(7, 1);
        assert_eq!(table.candidates(7), [2]);
    }

    #[test]
    fn parts_are_told_apart() {
        assert_ne!(fingerprint(&[b"ab", b"c"]), fingerprint(&[b"a", b"bc"]));
    }
}
