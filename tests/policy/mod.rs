//! The policy: the truth table in full for two parties, by random groups for more.

mod cases;
mod monotone;
mod random;
mod table;
mod words;
