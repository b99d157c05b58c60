//! A stage for whole calls: the same script played with different addresses for one party.
//!
//! [`Script`] is what happens, in words that name nobody's address. [`Places`] says where party B
//! is. [`play`] puts both before a server and writes down everything that anybody was sent.
#![allow(
    dead_code,
    unused_imports,
    missing_docs,
    unreachable_pub,
    reason = "each test uses a part of it"
)]

pub mod cast;
pub mod control;
pub mod house;
pub mod line;
pub mod places;
pub mod player;
pub mod record;
pub mod requests;
pub mod script;

pub use house::{House, Reaction, Server};
pub use places::Places;
pub use player::play;
pub use record::Record;
pub use script::Script;

use places::Dice;
use vizard_proto::config::Config;

/// Plays the script twice, with B at different places, which `seed` chooses.
pub fn twice<S: Server>(script: &Script, seed: u64, server: impl Fn(House) -> S) -> [Record; 2] {
    let config = house::config(script.house);
    let places = two_places(seed, script, &config);
    let guesses = [&places[0], &places[1]];
    guesses.map(|here| {
        let house = House::new(config.clone(), script.house.gates);
        play(script, here, guesses, server(house))
    })
}

/// Where B is in either run. With gates of their own, workers divide the budget of B's prefix
/// among them, so that which socket is whose worker's must be the same.
pub fn two_places(seed: u64, script: &Script, config: &Config) -> [Places; 2] {
    let mut dice = Dice(seed);
    let hands = u32::try_from(dice.roll() >> 32).expect("32 bits");
    let other_hands = if script.house.gates { hands } else { !hands };
    [hands, other_hands].map(|hands| {
        // That prefixes share a place in the budget's table must stay a rare accident.
        (0..4)
            .map(|_| Places::draw(dice.roll(), hands))
            .find(|places| !script.house.tight_budget || !places.shares_budget(config))
            .expect("prefixes have places of their own")
    })
}
