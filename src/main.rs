//! The `vizard` command.

fn main() {}
