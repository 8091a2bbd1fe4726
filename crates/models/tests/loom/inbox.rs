//! The lanes before the SQLite writer. In each model the threads that put, withdraw, hand back and close run
//! against the one that takes; loom finds the order in which a wake-up is lost, as a deadlock, or a command is.

use std::mem;

use loom::sync::Arc;
use loom::thread;

use crate::sync::{Condvar, Mutex};

#[path = "../../../store-sqlite/src/inbox/lanes.rs"]
#[allow(dead_code, reason = "time stands still in a model")]
mod lanes;

use lanes::{Lanes, Patience, Taken};

type Numbers = Lanes<u32, u32>;

/// The next batch, at most one command of each lane as a bounded batch has it.
fn take(lanes: &Numbers) -> Taken<Vec<u32>> {
    lanes.take(Patience::Endless, |waiting| {
        let mut batch = mem::take(&mut waiting.handed_back);
        batch.extend(waiting.lanes.iter_mut().filter_map(|lane| lane.pop_front()).map(|(_, number)| number));
        batch
    })
}

/// Everything until the end, sorted.
fn take_all(lanes: &Numbers) -> Vec<u32> {
    let mut all = Vec::new();
    while let Taken::Batch(batch) = take(lanes) {
        assert!(!batch.is_empty(), "woken for nothing");
        all.extend(batch);
    }
    all.sort_unstable();
    all
}

fn in_thread<T: 'static>(
    lanes: &Arc<Numbers>,
    work: impl FnOnce(&Numbers) -> T + 'static,
) -> thread::JoinHandle<T> {
    let lanes = Arc::clone(lanes);
    thread::spawn(move || work(&lanes))
}

#[test]
fn a_waiting_taker_gets_what_is_put_and_handed_back() {
    loom::model(|| {
        let lanes = Arc::new(Numbers::new());
        let puts = in_thread(&lanes, |lanes| lanes.put(0, 1).is_some());
        let hands_back = in_thread(&lanes, |lanes| lanes.hand_back([2]));
        let mut got = Vec::new();
        while got.len() < 2 {
            let Taken::Batch(batch) = take(&lanes) else { panic!("not closed, and patient") };
            got.extend(batch);
        }
        got.sort_unstable();
        assert_eq!(got, [1, 2]);
        assert!(puts.join().expect("puts"));
        hands_back.join().expect("hands back");
    });
}

#[test]
fn what_was_let_in_before_the_close_is_served_before_the_end() {
    loom::model(|| {
        let lanes = Arc::new(Numbers::new());
        let puts = in_thread(&lanes, |lanes| [lanes.put(1, 1), lanes.put(1, 2)].map(|put| put.is_some()));
        let closes = in_thread(&lanes, Numbers::close);
        let got = take_all(&lanes);
        closes.join().expect("closes");
        let let_in = puts.join().expect("puts");
        let expected = [1, 2].into_iter().zip(let_in).filter_map(|(number, let_in)| let_in.then_some(number));
        assert_eq!(got, expected.collect::<Vec<_>>());
    });
}

#[test]
fn a_command_is_withdrawn_or_taken_and_never_both() {
    loom::model(|| {
        let lanes = Arc::new(Numbers::new());
        let changes_its_mind = in_thread(&lanes, |lanes| {
            let ticket = lanes.put(2, 1).expect("open");
            let withdrawn = lanes.withdraw(2, ticket);
            lanes.close();
            withdrawn
        });
        let got = take_all(&lanes);
        let withdrawn = changes_its_mind.join().expect("changes its mind");
        assert_eq!(got.into_iter().chain(withdrawn).collect::<Vec<_>>(), [1]);
    });
}

#[test]
fn what_the_writer_leaves_behind_is_cleared_or_refused() {
    loom::model(|| {
        // A caller hears of it by the drop of what it put.
        let (lanes, command) = (Arc::new(Lanes::<Arc<()>, u32>::new()), Arc::new(()));
        let puts = thread::spawn({
            let (lanes, command) = (Arc::clone(&lanes), Arc::clone(&command));
            move || lanes.put(0, command).is_some()
        });
        lanes.close();
        drop(lanes.clear());
        puts.join().expect("puts");
        assert_eq!(Arc::strong_count(&command), 1, "nothing is left in the lanes");
    });
}
