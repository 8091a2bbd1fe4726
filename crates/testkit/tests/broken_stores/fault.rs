//! Ways in which a store can break its contract.

/// One broken promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Accepts whatever comes.
    CapacityIgnored,
    /// Looks whether there is room, and takes it later.
    CapacityLookedAtFirst,
    /// Keeps the first jobs of a batch whose later ones are refused.
    BatchKeptInPart,
    /// Makes a new job for a repeat.
    KeyForgotten,
    /// Takes any body for a repeat.
    KeyBodyIgnored,
    /// Confuses the endpoints.
    KeyScopeIgnored,
    /// Does not say that it answered with an old job.
    ReplayNotSaid,
    /// Keeps what it answered it had given up.
    GivenUpKept,
    UniqueKeyIgnored,
    /// Keeps unique keys for all queues and tenants together.
    UniqueKeyEverywhere,
    DeadlineIgnored,
    LongestWaitIgnored,
    PriorityIgnored,
    StartIgnored,
    /// Reads and writes payloads as values.
    PayloadReencoded,
    /// Gives an owner what it cannot run.
    KindsIgnored,
    MaximumIgnored,
    /// Gives jobs in another order than they are taken in.
    OrderForgotten,
    /// Gives a job to two, or twice to one.
    JobGivenTwice,
    SharesIgnored,
    PauseIgnored,
    /// Resumes a queue that is declared again.
    PauseUndone,
    SuspectsTogether,
    /// Gives later claims smaller tokens.
    FencesShrink,
    /// Does not count the claimed attempt.
    AttemptNotCounted,
    CheckpointLost,
    CancelNotTold,
    /// Answers heartbeats and lets the lease lapse.
    RenewalIgnored,
    /// Takes results under old tokens.
    FenceIgnored,
    /// Lets workers speak under every claim.
    SpeakerIgnored,
    /// Refuses a repeated settlement.
    RepeatRefused,
    /// Counts an attempt that was handed back.
    HandBackCounted,
    /// Refuses a retry when the queue is full.
    RetryNeedsRoom,
    /// One lost claim fails its whole batch.
    BadItemFailsAll,
    /// Forgets a cancel of a running attempt.
    CancelForgotten,
    /// Knows nothing of a job that has ended, when it is to be cancelled.
    EndedNotFound,
    /// Opens no cancelled job again.
    ReopensDeadOnly,
    /// Says that it opened what it did not.
    ReopenAgreed,
    /// Makes a success `cancelled` because a cancel was requested.
    CancelBeatsSuccess,
    LeaseNeverLapses,
    InterruptionsUnlimited,
    RetentionIgnored,
    /// Keeps `dead` jobs no longer than others.
    DeadNotKept,
    /// Does all the housekeeping at once.
    StepUnbounded,
    NextDueForgotten,
    VersionNotCounted,
    /// Counts a claim as a durable change.
    ClaimCounted,
    /// Keeps the first error only.
    ErrorsForgotten,
    /// Answers reads in an order of its own.
    ReadsReordered,
    BodiesListed,
    ListedOldestFirst,
    StateFilterIgnored,
    /// Ends a list after its first page.
    NextPageForgotten,
    FiguresForgotten,
    /// Shows each queue the figures of one.
    FiguresMixed,
    /// Goes on counting a job whose time has come as `scheduled`.
    DueCountedAsScheduled,
    /// Counts a replay as an acceptance.
    ReplaysCounted,
    /// Counts what is to be tried again as ended.
    RetriesCounted,
    ExpiriesNotCounted,
    ReopeningsNotCounted,
    /// Counts every end under one state.
    EndsMixed,
    NeverHints,
    /// Hints what is not committed.
    HintsTooEarly,
    CloseIgnored,
    /// Is away, once it is closed.
    ClosedIsAway,
}

/// Each fault with the property that must notice it.
pub(crate) const FAULTS: &[(Fault, &str)] = &[
    (Fault::CapacityIgnored, "sixty_submits_at_once_into_room_for_seven_jobs_make_seven"),
    (Fault::CapacityIgnored, "sixty_submits_at_once_into_room_for_seven_payloads_make_seven"),
    (Fault::CapacityIgnored, "a_queue_has_its_own_limits"),
    (Fault::CapacityIgnored, "reopening_needs_room"),
    (Fault::CapacityLookedAtFirst, "sixty_submits_at_once_into_room_for_seven_jobs_make_seven"),
    (Fault::BatchKeptInPart, "a_batch_that_does_not_fit_leaves_nothing_behind"),
    (Fault::BatchKeptInPart, "a_refused_batch_takes_no_unique_key"),
    (Fault::KeyForgotten, "a_repeat_is_answered_with_the_same_job_as_it_is_now"),
    (Fault::KeyForgotten, "a_repeated_batch_is_answered_whole"),
    (Fault::KeyForgotten, "two_hundred_submits_at_once_with_one_key_make_one_job"),
    (Fault::KeyBodyIgnored, "a_key_with_another_body_is_refused"),
    (Fault::KeyScopeIgnored, "a_key_belongs_to_its_endpoint_and_tenant"),
    (Fault::ReplayNotSaid, "a_repeat_is_answered_with_the_same_job_as_it_is_now"),
    (Fault::UniqueKeyIgnored, "a_live_job_answers_for_its_unique_key"),
    (Fault::UniqueKeyIgnored, "submits_at_once_with_one_unique_key_make_one_job"),
    (Fault::DeadlineIgnored, "a_job_past_its_deadline_is_never_taken"),
    (Fault::LongestWaitIgnored, "a_job_that_waited_too_long_expires_in_a_paused_queue_too"),
    (Fault::PriorityIgnored, "the_more_urgent_go_first"),
    (Fault::StartIgnored, "a_job_for_later_is_scheduled"),
    (Fault::PayloadReencoded, "json_comes_back_byte_for_byte"),
    (Fault::KindsIgnored, "a_claim_takes_no_kind_and_no_queue_it_does_not_want"),
    (Fault::MaximumIgnored, "a_claim_takes_no_more_than_its_maximum"),
    (Fault::SharesIgnored, "shares_come_first_and_then_ready_order"),
    (Fault::PauseIgnored, "a_paused_queue_gives_nothing"),
    (Fault::PauseUndone, "declaring_again_never_touches_the_pause"),
    (Fault::SuspectsTogether, "an_owner_runs_one_suspect_at_a_time"),
    (Fault::SuspectsTogether, "a_suspect_is_alone_for_its_time_and_no_longer"),
    (Fault::SuspectsTogether, "a_suspect_on_its_last_chance_is_alone_from_start_to_end"),
    (Fault::FencesShrink, "fencing_tokens_grow"),
    (Fault::AttemptNotCounted, "a_claimed_job_reads_as_its_attempt"),
    (Fault::CheckpointLost, "a_checkpoint_outlives_its_lost_claim"),
    (Fault::CancelNotTold, "the_holder_of_a_claim_is_told"),
    (Fault::RenewalIgnored, "a_renewed_lease_outlives_its_first_end"),
    (Fault::FenceIgnored, "a_result_after_the_hand_back_is_refused"),
    (Fault::FenceIgnored, "a_lapsed_claim_may_not_speak"),
    (Fault::SpeakerIgnored, "a_worker_has_no_say_in_what_a_process_runs"),
    (Fault::RepeatRefused, "a_repeated_settlement_is_answered_as_the_first"),
    (Fault::HandBackCounted, "attempts_are_counted_and_refunded"),
    (Fault::RetryNeedsRoom, "accepted_work_needs_no_new_room"),
    (Fault::BadItemFailsAll, "one_bad_item_never_fails_another"),
    (Fault::CancelForgotten, "a_requested_cancel_decides_every_end_but_success"),
    (Fault::CancelBeatsSuccess, "a_requested_cancel_decides_every_end_but_success"),
    (Fault::LeaseNeverLapses, "a_lapsed_lease_is_an_interruption_and_no_attempt"),
    (Fault::InterruptionsUnlimited, "a_job_interrupted_too_often_is_dead"),
    (Fault::RetentionIgnored, "too_many_ended_jobs_go_oldest_first_and_dead_last"),
    (Fault::RetentionIgnored, "a_key_lives_as_long_as_its_job"),
    (Fault::DeadNotKept, "dead_jobs_are_kept_for_a_time_of_their_own"),
    (Fault::StepUnbounded, "housekeeping_goes_in_bounded_steps"),
    (Fault::NextDueForgotten, "housekeeping_says_when_it_is_needed_next"),
    (Fault::VersionNotCounted, "each_durable_change_counts_one"),
    (Fault::VersionNotCounted, "from_every_state_every_event_does_what_the_table_says"),
    (Fault::ReadsReordered, "a_read_shows_every_answered_change"),
    (Fault::BodiesListed, "a_listed_job_has_no_bodies"),
    (Fault::ListedOldestFirst, "pages_go_from_the_newest_to_the_oldest"),
    (Fault::StateFilterIgnored, "every_state_is_listed_as_it_reads"),
    (Fault::NextPageForgotten, "a_rare_job_is_found_over_many_pages"),
    (Fault::ReplaysCounted, "each_accepted_job_is_counted_once"),
    (Fault::RetriesCounted, "an_attempt_without_an_end_counts_nothing"),
    (Fault::ExpiriesNotCounted, "each_end_is_counted_once_by_its_kind_and_state"),
    (Fault::EndsMixed, "each_end_is_counted_once_by_its_kind_and_state"),
    (Fault::ReopeningsNotCounted, "each_reopening_is_counted"),
    (Fault::ReopeningsNotCounted, "what_lives_is_what_was_counted"),
    (Fault::NeverHints, "every_change_is_hinted"),
    (Fault::HintsTooEarly, "a_hint_comes_after_its_commit"),
    (Fault::CloseIgnored, "a_closed_store_refuses_every_call"),
    (Fault::GivenUpKept, "a_submission_given_up_left_nothing"),
    (Fault::UniqueKeyEverywhere, "a_unique_key_belongs_to_its_queue_and_tenant"),
    (Fault::OrderForgotten, "one_class_is_first_in_first_out"),
    (Fault::OrderForgotten, "what_is_handed_back_keeps_its_place"),
    (Fault::OrderForgotten, "what_was_interrupted_keeps_its_place"),
    (Fault::OrderForgotten, "ready_order_is_due_time_plus_penalty_then_id"),
    (Fault::JobGivenTwice, "claims_at_once_give_each_job_to_one"),
    (Fault::EndedNotFound, "what_has_ended_stays_as_it_ended"),
    (Fault::ReopensDeadOnly, "a_job_cancelled_while_waiting_may_be_reopened"),
    (Fault::ReopenAgreed, "only_dead_and_cancelled_jobs_are_reopened"),
    (Fault::ClaimCounted, "what_is_not_durable_has_no_version"),
    (Fault::ErrorsForgotten, "errors_and_history_keep_the_newest"),
    (Fault::FiguresMixed, "figures_are_kept_apart_by_queue"),
    (Fault::DueCountedAsScheduled, "a_due_job_is_counted_as_queued"),
    (Fault::ClosedIsAway, "calls_under_way_at_the_close_are_answered"),
];

/// Those that random work comes across.
pub(crate) const SEEN_BY_THE_MODEL: &[Fault] = &[
    Fault::CapacityIgnored,
    Fault::CapacityLookedAtFirst,
    Fault::BatchKeptInPart,
    Fault::KeyForgotten,
    Fault::KeyBodyIgnored,
    Fault::KeyScopeIgnored,
    Fault::ReplayNotSaid,
    Fault::UniqueKeyIgnored,
    Fault::UniqueKeyEverywhere,
    Fault::DeadlineIgnored,
    Fault::PriorityIgnored,
    Fault::StartIgnored,
    Fault::KindsIgnored,
    Fault::MaximumIgnored,
    Fault::OrderForgotten,
    Fault::JobGivenTwice,
    Fault::PauseIgnored,
    Fault::SuspectsTogether,
    Fault::FencesShrink,
    Fault::AttemptNotCounted,
    Fault::CancelNotTold,
    Fault::RenewalIgnored,
    Fault::FenceIgnored,
    Fault::RepeatRefused,
    Fault::HandBackCounted,
    Fault::RetryNeedsRoom,
    Fault::CancelForgotten,
    Fault::EndedNotFound,
    Fault::ReopensDeadOnly,
    Fault::ReopenAgreed,
    Fault::CancelBeatsSuccess,
    Fault::LeaseNeverLapses,
    Fault::InterruptionsUnlimited,
    Fault::VersionNotCounted,
    Fault::ClaimCounted,
    Fault::ReadsReordered,
    Fault::FiguresForgotten,
    Fault::DueCountedAsScheduled,
];
