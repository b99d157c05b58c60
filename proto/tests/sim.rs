//! Whole calls between clients behind NATs, hours of them in milliseconds, beside a small model
//! that says what must come of every packet: loss, reordering, duplicates, NAT rebinding, clients
//! that sleep, leave and crash, revocation and expiry at any moment, several parties and devices,
//! UDP and TCP, and a relay that is replaced by another process in between.

mod agent;
mod checker;
mod model;
mod network;
mod plan;
mod run;

use plan::Plan;
use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, RngAlgorithm, TestError, TestRng, TestRunner};
use testkit::stage::record::Reached;

#[test]
fn the_relay_does_what_the_model_says() {
    let mut reached = Reached::default();
    simulate(150, |plan| reached.add(&run::play(plan, true).1));
    println!("{reached}");
    for (what, code) in REACHED {
        assert!(
            reached.count(what, code) > 0,
            "never reached: {what} {code}"
        );
    }
}

/// A simulation in which nothing goes wrong shows nothing.
const REACHED: [(&str, u16); 26] = [
    ("clock set", 0),
    ("leap", 0),
    ("evicted", 0),
    ("cut off", 0),
    ("allocate", 200),
    ("allocate", 401),
    ("allocate", 437),
    ("allocate", 438),
    ("allocate", 486),
    ("refresh", 200),
    ("refresh", 401),
    ("refresh", 437),
    ("refresh", 438),
    ("refresh", 441),
    ("delete", 200),
    ("permission", 200),
    ("permission", 437),
    ("permission", 443),
    ("channel", 200),
    ("channel", 443),
    ("arrived", 0),
    ("arrived", 1),
    ("no_allocation", 0),
    ("no_channel", 0),
    ("no_permission", 0),
    ("not_permitted_by_peer", 0),
];

#[test]
fn clients_do_not_notice_a_restart() {
    simulate(30, |plan| {
        let [with, without] = [true, false].map(|restarts| run::play(plan, restarts).0);
        assert!(with == without);
    });
}

/// Plays so many plans, and shortens one that goes wrong.
fn simulate(cases: u32, judge: impl FnMut(&Plan)) {
    let seed = number("VIZARD_SEED", 1);
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    let mut runner = TestRunner::new_with_rng(
        Cases {
            cases: cases
                * u32::try_from(number("VIZARD_CASES", 10_000).div_ceil(10_000)).expect("a number"),
            failure_persistence: None,
            ..Cases::default()
        },
        TestRng::from_seed(RngAlgorithm::ChaCha, &bytes),
    );
    let judge = std::cell::RefCell::new(judge);
    let words = proptest::collection::vec(any::<u64>(), 0..24);
    let outcome = runner.run(&(any::<u64>(), words), |(seed, words)| {
        judge.borrow_mut()(&Plan::read(seed, &words));
        Ok(())
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(why, (head, words))) => {
            let plan = Plan::read(head, &words);
            panic!("seed {seed}: {why}\n{plan:#?}");
        }
        Err(other) => panic!("{other}"),
    }
}

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |value| value.parse().expect("a number"))
}
