//! Calls' names: UUIDs of version 7, which sort by the time when they were made.

use std::fmt;

use uuid::Uuid;
use vizard_proto::auth::ticket::CallId;

/// A new name, behind all that this process made before.
pub fn new() -> CallId {
    CallId(Uuid::now_v7().into_bytes())
}

/// A call's name as the API writes it: a UUID.
pub fn written(id: CallId) -> impl fmt::Display {
    Uuid::from_bytes(id.0).hyphenated()
}

/// The call that the API means by `text`.
pub fn read(text: &str) -> Option<CallId> {
    // One way to write each name: upper case, braces or a missing hyphen is another name.
    let id = Uuid::try_parse(text).ok()?;
    (id.hyphenated().to_string() == text).then(|| CallId(id.into_bytes()))
}
