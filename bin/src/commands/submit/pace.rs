use steadfast_domain::limits;

/// How many jobs the next batch is to have.
///
/// A batch is accepted whole or not at all, so one that is as large as the whole queue might never fit beside what
/// others submit. Sizes therefore follow what was accepted, as TCP's window does what arrives (RFC 5681, section
/// 3.1): a quarter more after each batch, half after a refusal for lack of room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    jobs: usize,
    most: usize,
}

const FIRST: usize = 100;

impl Pace {
    pub(super) const fn new() -> Self {
        Self { jobs: FIRST, most: limits::BATCH_JOBS_MAX }
    }

    /// For the next batch: at least one.
    pub(super) const fn jobs(self) -> usize {
        self.jobs
    }

    /// A batch was accepted.
    pub(super) fn accepted(&mut self) {
        self.jobs = (self.jobs + self.jobs / 4 + 1).min(self.most);
    }

    /// There was no room for a batch of so many now.
    pub(super) fn full(&mut self, jobs: usize) {
        self.jobs = (jobs / 2).max(1);
    }

    /// A batch of so many will never be accepted: it is larger than the queue, or a job in it is at fault.
    pub(super) fn never(&mut self, jobs: usize) {
        self.most = (jobs / 2).max(1);
        self.jobs = self.jobs.min(self.most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_grow_by_a_quarter_to_the_limit_and_halve_for_room() {
        let mut pace = Pace::new();
        pace.accepted();
        assert_eq!(pace.jobs(), 126);
        (0..20).for_each(|_| pace.accepted());
        assert_eq!(pace.jobs(), limits::BATCH_JOBS_MAX);
        pace.full(700);
        assert_eq!(pace.jobs(), 350);
        pace.full(1);
        assert_eq!(pace.jobs(), 1);
        pace.accepted();
        assert_eq!(pace.jobs(), 2);
    }

    #[test]
    fn what_will_never_do_is_not_tried_again() {
        let mut pace = Pace::new();
        pace.never(60);
        assert_eq!(pace.jobs(), 30);
        (0..20).for_each(|_| pace.accepted());
        assert_eq!(pace.jobs(), 30);
    }
}
