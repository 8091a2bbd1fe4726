use std::collections::HashMap;
use std::sync::Arc;

use steadfast_domain::{IdempotencyToken, JobId, Tenant};

use crate::store::{IdempotencyKey, KeyScope, Refusal};

/// Idempotency keys, each as long as a job that its submission made is stored.
#[derive(Debug, Default)]
pub(super) struct Keys(HashMap<Arc<KeyName>, Keyed>);

/// What tells one key from another.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct KeyName {
    tenant: Tenant,
    scope: KeyScope,
    token: IdempotencyToken,
}

#[derive(Debug)]
struct Keyed {
    fingerprint: [u8; 32],
    /// Every job the submission was answered with, in its order.
    answer: Arc<[JobId]>,
    /// How many of those it made are still stored.
    stored: usize,
}

impl KeyName {
    pub(super) fn of(key: &IdempotencyKey) -> Self {
        Self { tenant: key.tenant.clone(), scope: key.scope, token: key.token.clone() }
    }
}

impl Keys {
    /// What the submission with this key was answered with, if there was one.
    pub(super) fn replay(&self, key: &IdempotencyKey) -> Result<Option<Arc<[JobId]>>, Refusal> {
        match self.0.get(&KeyName::of(key)) {
            None => Ok(None),
            Some(keyed) if keyed.fingerprint != key.fingerprint => Err(Refusal::KeyMismatch),
            Some(keyed) => Ok(Some(Arc::clone(&keyed.answer))),
        }
    }

    /// Keeps a key whose submission made `made` jobs, at least 1.
    pub(super) fn keep(
        &mut self,
        name: Arc<KeyName>,
        fingerprint: [u8; 32],
        answer: Arc<[JobId]>,
        made: usize,
    ) {
        self.0.insert(name, Keyed { fingerprint, answer, stored: made });
    }

    /// One of the jobs that a key's submission made is gone.
    pub(super) fn release(&mut self, name: &Arc<KeyName>) {
        if let Some(keyed) = self.0.get_mut(name) {
            keyed.stored -= 1;
            if keyed.stored == 0 {
                self.0.remove(name);
            }
        }
    }
}
