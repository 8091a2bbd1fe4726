//! What a sequence consists of. Indices are taken modulo what there is to choose from when their turn comes.

use std::fmt;
use std::time::Duration;

use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use steadfast_domain::Priority;

use super::Life;
use crate::conformance::subject::LONG;

/// Steps of one sequence, at most.
const STEPS_MAX: usize = 40;

/// Steps in their order.
#[derive(Clone)]
pub(super) struct Sequence(pub(super) Vec<Step>);

/// A line for each step.
impl fmt::Debug for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|step| write!(f, "\n{step:?}"))
    }
}

/// One step.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// A call, and its answer.
    One(Act),
    /// Two calls at once, and their answers.
    Both(Act, Act),
    /// Every brief time passes, and housekeeping is done.
    TimePasses,
    /// The process ends; the next one opens the store.
    Crash,
    /// The same while a call waits for its answer.
    CrashDuring(Act),
    /// The store is closed; the next process opens it.
    Close,
}

/// One call, before it is known to what.
#[derive(Debug, Clone)]
pub(super) enum Act {
    Submit(Vec<Spec>, Option<Token>),
    Claim { by: By, kinds: u8, max: usize, lease: Span },
    Settle { claim: u8, end: Ending },
    Renew { claim: u8, lease: Span },
    Cancel(u8),
    Reopen(u8),
    Pause(bool),
}

/// A job to be submitted.
#[derive(Debug, Clone)]
pub(super) struct Spec {
    pub(super) kind: u8,
    pub(super) priority: Priority,
    pub(super) unique: Option<u8>,
    pub(super) start: Span,
    /// Its deadline is the moment of its submission.
    pub(super) late: bool,
}

/// An idempotency key, and the body it comes with.
#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) name: u8,
    pub(super) body: u8,
}

/// Who claims.
#[derive(Debug, Clone, Copy)]
pub(super) enum By {
    Process,
    Worker,
}

/// How an attempt ends.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ending {
    Completed,
    Retry(Span),
    Dead,
    Cancelled,
    HandBack(Span),
}

/// A time: none, over before anybody looks twice, or longer than any test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Span {
    None,
    Brief,
    Long,
}

impl Span {
    pub(super) fn duration(self) -> Duration {
        match self {
            Self::None => Duration::ZERO,
            Self::Brief => Duration::from_millis(1),
            Self::Long => LONG,
        }
    }
}

/// Kinds that jobs are of.
pub(super) const KINDS: u8 = 2;

pub(super) fn sequences(life: Life) -> BoxedStrategy<Sequence> {
    let every = prop_oneof![
        12 => act().prop_map(Step::One),
        6 => (act(), act()).prop_map(|(a, b)| Step::Both(a, b)),
        2 => Just(Step::TimePasses),
    ];
    match life {
        Life::OneProcess => vec(every, 1..STEPS_MAX).prop_map(Sequence).boxed(),
        Life::Durable => {
            let ends =
                prop_oneof![Just(Step::Crash), change().prop_map(Step::CrashDuring), Just(Step::Close),];
            vec(prop_oneof![18 => every, 1 => ends], 1..STEPS_MAX).prop_map(Sequence).boxed()
        }
    }
}

fn act() -> impl Strategy<Value = Act> {
    let submit = (vec(spec(), 1..4), weighted(0.2, token()));
    let claim = (by(), 1..1_u8 << KINDS, 1..4_usize, lease());
    prop_oneof![
        5 => submit.prop_map(|(jobs, key)| Act::Submit(jobs, key)),
        6 => claim.prop_map(|(by, kinds, max, lease)| Act::Claim { by, kinds, max, lease }),
        1 => (any::<u8>(), lease()).prop_map(|(claim, lease)| Act::Renew { claim, lease }),
        13 => change(),
    ]
}

/// A call of which a later look tells whether it happened.
fn change() -> impl Strategy<Value = Act> {
    let plain = spec().prop_map(|spec| Spec { unique: None, ..spec });
    let submit = (vec(plain, 1..4), weighted(0.2, token()));
    prop_oneof![
        1 => submit.prop_map(|(jobs, key)| Act::Submit(jobs, key)),
        6 => (any::<u8>(), ending()).prop_map(|(claim, end)| Act::Settle { claim, end }),
        3 => any::<u8>().prop_map(Act::Cancel),
        3 => any::<u8>().prop_map(Act::Reopen),
        1 => any::<bool>().prop_map(Act::Pause),
    ]
}

fn token() -> impl Strategy<Value = Token> {
    (0..2_u8, 0..2_u8).prop_map(|(name, body)| Token { name, body })
}

fn spec() -> impl Strategy<Value = Spec> {
    let start = prop_oneof![6 => Just(Span::None), 1 => Just(Span::Brief), 1 => Just(Span::Long)];
    let unique = weighted(0.3, 0..2_u8);
    let late = proptest::bool::weighted(0.1);
    (0..KINDS, 0..4_usize, unique, start, late).prop_map(|(kind, priority, unique, start, late)| Spec {
        kind,
        priority: Priority::ALL[priority],
        unique,
        start,
        late,
    })
}

fn by() -> impl Strategy<Value = By> {
    prop_oneof![Just(By::Process), Just(By::Worker)]
}

fn lease() -> impl Strategy<Value = Span> {
    prop_oneof![3 => Just(Span::Long), 1 => Just(Span::Brief)]
}

fn ending() -> impl Strategy<Value = Ending> {
    let after = || prop_oneof![3 => Just(Span::None), 1 => Just(Span::Brief), 1 => Just(Span::Long)];
    prop_oneof![
        2 => Just(Ending::Completed),
        2 => after().prop_map(Ending::Retry),
        1 => Just(Ending::Dead),
        1 => Just(Ending::Cancelled),
        2 => after().prop_map(Ending::HandBack),
    ]
}
