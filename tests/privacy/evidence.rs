//! Everything that came out of a life, and what was found in it.

use std::path::Path;

use super::notation::{Canary, What};
use super::search::{Finder, Hit};
use crate::daemon::files;

/// Where something came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlet {
    Stdout,
    Log,
    Metrics,
    /// Answers and problems of the API.
    Answer,
    CommandLine,
    State,
}

/// Some bytes that came out.
pub struct Piece {
    pub outlet: Outlet,
    /// Which request, command or file.
    pub name: String,
    pub bytes: Vec<u8>,
}

/// All of it.
#[derive(Default)]
pub struct Evidence {
    pub pieces: Vec<Piece>,
}

impl Evidence {
    pub fn add(&mut self, outlet: Outlet, name: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.pieces.push(Piece {
            outlet,
            name: name.into(),
            bytes: bytes.into(),
        });
    }

    /// All files of a state directory, with their names.
    pub fn add_state(&mut self, folder: &Path) {
        for (path, bytes) in files(folder) {
            let name = path.strip_prefix(folder).unwrap_or(&path);
            let name = name.display().to_string();
            self.add(Outlet::State, format!("name of {name}"), name.as_bytes());
            self.add(Outlet::State, name, without_emptiness(&bytes));
        }
    }

    /// All bytes of one outlet.
    pub fn of(&self, outlet: Outlet) -> Vec<u8> {
        let pieces = self.pieces.iter().filter(|piece| piece.outlet == outlet);
        pieces.flat_map(|piece| piece.bytes.clone()).collect()
    }

    /// Every canary that is where it may not be.
    pub fn findings(&self, canaries: &[Canary]) -> Vec<Finding> {
        let finder = Finder::new(canaries);
        let mut findings = Vec::new();
        for piece in &self.pieces {
            for hit in finder.search(&piece.bytes) {
                if !(canaries[hit.canary].allowed)(piece) {
                    findings.push(Finding::new(piece, &canaries[hit.canary], hit));
                }
            }
        }
        findings
    }
}

/// The same with every long run of zeros cut short: most of a store is empty, and no canary has so
/// many.
fn without_emptiness(bytes: &[u8]) -> Vec<u8> {
    let mut zeros = 0;
    let mut kept = bytes.to_vec();
    kept.retain(|byte| {
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
        zeros <= 64
    });
    kept
}

/// A canary that came out; its fields are for who reads them in a test's failure.
#[derive(Debug)]
#[expect(dead_code, reason = "printed by Debug")]
pub struct Finding {
    pub outlet: Outlet,
    pub piece: String,
    pub canary: String,
    pub hit: Hit,
}

impl Finding {
    fn new(piece: &Piece, canary: &Canary, hit: Hit) -> Self {
        let what = match &canary.what {
            What::Address(ip) => ip.to_string(),
            What::Text(text) => text.clone(),
            What::Bytes(bytes) => format!("{bytes:?}"),
        };
        Self {
            outlet: piece.outlet,
            piece: piece.name.clone(),
            canary: format!("{} {what}", canary.name),
            hit,
        }
    }
}
