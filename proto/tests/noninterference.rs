//! Non-interference: what anybody but B is sent does not depend on where B is.
//!
//! The masking claim as a theorem, checked on generated schedules: play the same schedule twice
//! with different addresses, ports and address families for party B (and other workers serving
//! it); every packet to anybody else, the 5-tuple that it goes to and the step at which it comes
//! are byte for byte the same. So is everything that the control side is told, and everything sent
//! to B itself but B's own address and nonce.
//!
//! Two more contrasts are played: B's connections over UDP are over TCP and the other way round, and what
//! comes out is the same; and B is not there at all, and every answer to anybody else has the same
//! code. (Mask addresses differ then, since B takes none; and B's silence is heard.)
//!
//! A script says what everybody does without naming B's addresses. A may guess them, though: it
//! names B's true addresses of either run as peers. What B itself says about itself in its payload
//! is the same in both runs by construction; nobody can mask that.
//!
//! # Where the theorem ends
//!
//! - **B shares no source prefix (/24, /64) with anybody.** Unauthenticated answers have a budget
//!   per prefix, so a neighbour in the same prefix can use it up and be noticed. The budget's
//!   table has 65,536 places under a secret hash; prefixes that fall on the same place share it
//!   as neighbours do, which tells that somebody else's prefix is busy, not which. Schedules that
//!   use the budget up are played only with addresses that share no place.
//! - **The pattern of B's addresses is the same in both runs:** sockets that share an IP address or
//!   a prefix in one run do so in the other.
//! - **A sends from its own addresses only.** Send indications and `ChannelData` over UDP carry no
//!   signature (RFC 8656 section 21.1), so whoever can forge source addresses can send in B's name
//!   after guessing B's address and port, and would see the packet arrive.
//! - Time is the schedule's: how long the real network or processor takes is not in it.

mod leaks;

use std::cell::RefCell;
use std::thread;

use leaks::{Leak, Leaky};
use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, RngAlgorithm, TestError, TestRng, TestRunner};
use testkit::stage::record::Reached;
use testkit::stage::{Contrast, Record, Script, Server, Subject, contrast};

/// What one case is made of: the script's settings, B's places, and the steps.
type Case = (u64, u64, Vec<u64>);
/// Says how two runs differ.
type Judge = fn(&Record, &Record) -> Option<String>;

#[test]
fn nobody_learns_where_b_is() {
    let reached = prove(Contrast::Places, 1, difference);
    if let Some(reached) = reached {
        assert_reached(&reached);
    }
}

#[test]
fn nobody_learns_how_b_is_connected() {
    if let Some(reached) = prove(Contrast::Transports, 8, difference) {
        for (what, code) in [
            ("by table from b", 0),
            ("by relay from b", 1),
            ("by table to b", 0),
            ("by relay to b", 1),
        ] {
            assert!(reached.count(what, code) > 0, "never reached: {what}");
        }
    }
}

#[test]
fn nobody_learns_whether_b_is_there() {
    if let Some(reached) = prove(Contrast::Presence, 8, Record::difference_of_codes) {
        for (method, codes) in [
            ("permission", [200, 403, 443, 508]),
            ("channel", [200, 403, 443, 400]),
        ] {
            for code in codes {
                let count = reached.count(method, code);
                assert!(count > 0, "never reached: {method} {code}");
            }
        }
    }
}

/// Plays many schedules, a part of the usual number, and panics where one tells two runs apart. What
/// was reached, if they are so many that everything should have been.
#[expect(
    clippy::disallowed_methods,
    reason = "the core has no threads, its test may"
)]
fn prove(contrast: Contrast, part: u64, judge: Judge) -> Option<Reached> {
    let schedules = number("VIZARD_CASES", 10_000) / part;
    let seed = number("VIZARD_SEED", 1);
    let workers =
        u64::try_from(thread::available_parallelism().map_or(1, usize::from)).expect("few");
    let runs: Vec<_> = (0..workers)
        .map(|worker| {
            let cases = schedules.div_ceil(workers);
            let shorten = 5_000;
            thread::spawn(move || {
                search(contrast, [seed + worker, cases, shorten], judge, |server| {
                    server
                })
            })
        })
        .collect();
    let mut reached = Reached::default();
    for run in runs {
        match run.join().expect("it ran") {
            Ok(part) => reached.add(&part),
            Err(found) => panic!("{found}"),
        }
    }
    println!("{reached}");
    (schedules * part >= 5_000).then_some(reached)
}

#[test]
fn every_leak_is_found() {
    for leak in Leak::ALL {
        let (contrast, judge) = leak.shows_in();
        let found = search(contrast, [1, 400, 0], judge, |server| {
            Leaky::new(server, leak)
        });
        let found = found.err().unwrap_or_default();
        assert!(found.contains("B's address showed"), "{leak:?}: {found}");
    }
}

/// Looks for a schedule that tells two runs apart: with this seed, this many cases, and this many
/// tries to shorten what it finds.
fn search<S: Subject>(
    contrast: Contrast,
    [seed, cases, shorten]: [u64; 3],
    judge: Judge,
    server: impl Fn(Server) -> S,
) -> Result<Reached, String> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    let mut runner = TestRunner::new_with_rng(
        Cases {
            cases: u32::try_from(cases).expect("a number of cases"),
            failure_persistence: None,
            max_shrink_iters: u32::try_from(shorten).expect("a number of tries"),
            ..Cases::default()
        },
        TestRng::from_seed(RngAlgorithm::ChaCha, &bytes),
    );
    let total = RefCell::new(Reached::default());
    let steps = proptest::collection::vec(any::<u64>(), 4..40);
    let outcome = runner.run(&(any::<u64>(), any::<u64>(), steps), |case| {
        let reached = compare(contrast, &case, judge, &server).map_err(TestCaseError::fail)?;
        total.borrow_mut().add(&reached);
        Ok(())
    });
    match outcome {
        Ok(()) => Ok(total.into_inner()),
        Err(TestError::Fail(why, case)) => {
            let script = Script::read(case.0, &case.2);
            Err(format!("seed {seed}: {why}\n{case:?} is\n{script:#?}"))
        }
        Err(other) => Err(other.to_string()),
    }
}

/// Plays the case twice.
fn compare<S: Subject>(
    kind: Contrast,
    case: &Case,
    judge: Judge,
    server: impl Fn(Server) -> S,
) -> Result<Reached, String> {
    let (head, places, steps) = case;
    let script = Script::read(*head, steps);
    let [one, two] = contrast(kind, &script, *places, server);
    match judge(&one, &two) {
        Some(difference) => Err(format!("B's address showed.\n{difference}")),
        None => Ok(one.reached),
    }
}

/// What others were sent first, since that is what matters; then all the rest.
fn difference(one: &Record, two: &Record) -> Option<String> {
    one.leak(two).or_else(|| one.divergence(two))
}

/// A check of schedules in which nothing happens would be worth nothing.
fn assert_reached(reached: &Reached) {
    let answers: [(&str, &[u16]); 5] = [
        ("binding", &[200, 403]),
        (
            "allocate",
            &[200, 400, 401, 420, 437, 438, 440, 442, 486, 508],
        ),
        ("refresh", &[200, 400, 401, 405, 420, 437, 438, 441, 443]),
        (
            "permission",
            &[200, 400, 401, 403, 420, 437, 438, 441, 443, 508],
        ),
        (
            "channel",
            &[200, 400, 401, 403, 420, 437, 438, 441, 443, 508],
        ),
    ];
    let ways = [
        "by table from b",
        "by table to b",
        "by relay from b",
        "by relay to b",
        "without b",
    ];
    let others = [
        "not_turn",
        "malformed_stun",
        "malformed_channel_data",
        "answer_budget",
        "unexpected",
        "no_allocation",
        "no_channel",
        "no_permission",
        "foreign_peer",
        "not_permitted_by_peer",
        "over_rate",
        "binding_refused",
        "address error",
        "command refused",
        "deleted",
        "expired",
        "ticket expired",
        "revoked",
        "disconnected",
        "evicted",
        "restart",
        "guess",
        "cut off",
        "other families",
        "clock set",
        "move",
        "roam",
    ];
    let ways = ways.map(|way| (way, 0));
    let indications = [
        ("by table from b", 1),
        ("by table to b", 1),
        ("by relay from b", 1),
        ("by relay to b", 1),
        ("move", 1),
        ("roam", 1),
    ];
    let answers = answers
        .iter()
        .flat_map(|(method, codes)| codes.iter().map(|code| (*method, *code)));
    let wanted = answers
        .chain(ways)
        .chain(indications)
        .chain(others.map(|other| (other, 0)));
    for (what, code) in wanted {
        assert!(
            reached.count(what, code) > 0,
            "never reached: {what} {code}"
        );
    }
}

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |value| value.parse().expect("a number"))
}
