//! The same inputs give the same outputs, bit for bit: what is sent, what the hands and the
//! control side are told, in which order, when the relay wants to be woken, and what a snapshot
//! holds after every step.

use std::cell::RefCell;
use std::fmt::Write as _;

use proptest::prelude::*;
use testkit::stage::{Reaction, Script, Server, Subject, Twist, play, subject, two_places};
use vizard_proto::address::Client;
use vizard_proto::contract::Output;
use vizard_proto::time::Timestamp;

/// Writes down everything that the server does.
struct Scribe<'t> {
    server: Server,
    transcript: &'t RefCell<String>,
}

impl Subject for Scribe<'_> {
    fn packet(&mut self, now: Timestamp, from: Client, bytes: &[u8]) -> Reaction {
        let reaction = self.server.packet(now, from, bytes);
        writeln!(self.transcript.borrow_mut(), "{reaction:?}").expect("a string");
        reaction
    }

    fn server(&mut self) -> &mut Server {
        &mut self.server
    }

    fn after_step(&mut self, outputs: &[Output]) {
        let relay = &self.server.relay;
        let mut transcript = self.transcript.borrow_mut();
        writeln!(transcript, "{outputs:?} {:?}", relay.poll_timeout()).expect("a string");
        for worker in [0, 1] {
            relay.changes(worker, |change| {
                writeln!(transcript, "{change:?}").expect("a string");
            });
        }
        writeln!(transcript, "{:?}", relay.snapshot()).expect("a string");
    }
}

fn transcript(script: &Script, places: u64) -> String {
    let config = subject::config(script.rules);
    let places = two_places(places, script, &config);
    let transcript = RefCell::default();
    let scribe = Scribe {
        server: Server::new(config, subject::WORKERS),
        transcript: &transcript,
    };
    play(
        script,
        &places[0],
        [&places[0], &places[1]],
        Twist::none(),
        scribe,
    );
    transcript.into_inner()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_same_inputs_give_the_same_outputs(
        head: u64,
        places: u64,
        steps in proptest::collection::vec(any::<u64>(), 4..40),
    ) {
        let script = Script::read(head, &steps);
        let [one, two] = [0, 1].map(|_| transcript(&script, places));
        prop_assert!(one == two, "{script:#?}");
        prop_assert!(!one.is_empty());
    }
}
