//! What the file holds, and every transaction on it.

use redb::{
    Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, TableHandle,
    WriteTransaction,
};
use vizard_proto::auth::ticket::CallId;

use super::found::StoreId;
use super::mark::Position;
use super::record::{self, Head};
use super::{Change, DoneRequest, Kept, REMEMBERED_AFTER_EXPIRY};
use crate::control::calls::Call;

type Id = [u8; 16];
type RequestValue = ([u8; 32], Id, u64);

/// Call -> its record.
const CALLS: TableDefinition<Id, &[u8]> = TableDefinition::new("calls");
/// When which call is to be forgotten.
const CALLS_BY_END: TableDefinition<(u64, Id), ()> = TableDefinition::new("calls_by_end");
/// When which call ended.
const ENDED: TableDefinition<(u64, Id), ()> = TableDefinition::new("calls_ended");
/// Call -> what its parties have sent.
const USAGE: TableDefinition<Id, &[u8]> = TableDefinition::new("usage");
/// Request -> hash of its body, call, and when it is to be forgotten.
const REQUESTS: TableDefinition<[u8; 32], RequestValue> = TableDefinition::new("requests");
/// When which request is to be forgotten.
const REQUESTS_BY_END: TableDefinition<(u64, [u8; 32]), ()> =
    TableDefinition::new("requests_by_end");
/// What holds of the store.
const STORE: TableDefinition<&str, &[u8]> = TableDefinition::new("store");

const ID: &str = "id";
const COMMITS: &str = "commits";
const VERSION: &str = "version";
const ENDED_BEFORE: &str = "ended_before";

/// Most entries forgotten in one transaction, so that writers need not wait for long.
const FORGOTTEN_AT_ONCE: usize = 1_000;

/// A change as it is written.
pub(super) enum Record {
    Call { id: Id, value: Vec<u8> },
    Usage { id: Id, value: Vec<u8> },
    Request { key: [u8; 32], request: DoneRequest },
}

impl Record {
    pub(super) fn of(change: &Change<'_>) -> Self {
        match change {
            Change::Call(call) => Self::Call {
                id: call.id.0,
                value: record::write(call),
            },
            Change::Usage(call) => Self::Usage {
                id: call.id.0,
                value: record::write_usage(call),
            },
            Change::Request(key, request) => Self::Request {
                key: key.0,
                request: **request,
            },
        }
    }
}

/// What a file turns out to hold.
pub(super) enum Content {
    /// Nothing yet.
    Empty,
    /// What version 1 wrote: it had no id.
    FirstVersion,
    /// The store of that id and that many commits, written by that version.
    Store(Position, u32),
    /// Tables of somebody else.
    Foreign,
}

/// Looks at what a file holds.
pub(super) fn content(database: &Database) -> Result<Content, redb::Error> {
    let transaction = database.begin_read()?;
    let tables: Vec<String> = transaction
        .list_tables()?
        .map(|table| table.name().to_owned())
        .collect();
    let has = |name: &str| tables.iter().any(|table| table == name);
    if tables.is_empty() {
        return Ok(Content::Empty);
    }
    if has(STORE.name()) {
        let table = transaction.open_table(STORE)?;
        let id = table.get(ID)?.and_then(|id| id.value().try_into().ok());
        let commits = table.get(COMMITS)?.map(|value| number(value.value()));
        let version = table.get(VERSION)?.map(|value| number(value.value()));
        return Ok(match (id, commits, version) {
            (Some(id), Some(commits), Some(version)) => {
                let id = StoreId(id);
                let version = u32::try_from(version).unwrap_or(u32::MAX);
                Content::Store(Position { id, commits }, version)
            }
            _ => Content::Foreign,
        });
    }
    let first = has(CALLS.name()) && has(REQUESTS.name());
    Ok(if first {
        Content::FirstVersion
    } else {
        Content::Foreign
    })
}

/// Gives the store its tables and its id, and rewrites what the first version wrote; how far it
/// has come with that.
pub(super) fn found(
    database: &Database,
    id: StoreId,
    first_version: bool,
) -> Result<Position, redb::Error> {
    let created = transact(database, |transaction| {
        transaction.open_table(CALLS)?;
        transaction.open_table(CALLS_BY_END)?;
        transaction.open_table(ENDED)?;
        transaction.open_table(USAGE)?;
        transaction.open_table(REQUESTS)?;
        transaction.open_table(REQUESTS_BY_END)?;
        if first_version {
            rewrite(transaction)?;
        }
        let mut store = transaction.open_table(STORE)?;
        store.insert(ID, &id.0[..])?;
        store.insert(VERSION, &u64::from(record::VERSION).to_be_bytes()[..])?;
        Ok(())
    });
    created.map(|((), position)| position)
}

fn rewrite(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    let mut records = Vec::new();
    for entry in transaction.open_table(CALLS)?.iter()? {
        let (id, value) = entry?;
        let id = id.value();
        let value = match record::read_first_version(CallId(id), value.value()) {
            (_, Some(call)) => record::write(&call),
            (expires_at, None) => record::unreadable(expires_at),
        };
        records.push(Record::Call { id, value });
    }
    records
        .iter()
        .try_for_each(|record| put(transaction, record))
}

/// Ends every call that goes on, at `now`.
pub(super) fn end_all(database: &Database, now: u64) -> Result<(), redb::Error> {
    let living: Vec<Call> = calls(database, None, usize::MAX)?
        .into_iter()
        .filter_map(|kept| kept.call.filter(|call| call.end.is_none()))
        .collect();
    let transaction = database.begin_write()?;
    for mut call in living {
        call.lose(now);
        put(&transaction, &Record::of(&Change::Call(&call)))?;
    }
    Ok(transaction.commit()?)
}

/// Writes `records`; how far the store has come with that.
pub(super) fn write<'a>(
    database: &Database,
    records: impl Iterator<Item = &'a Record>,
) -> Result<Position, redb::Error> {
    transact(database, |transaction| {
        for record in records {
            put(transaction, record)?;
        }
        Ok(())
    })
    .map(|((), position)| position)
}

/// Forgets what is over at `now`: how much, and how far the store has come with that.
pub(super) fn forget(
    database: &Database,
    now: u64,
) -> Result<(usize, Option<Position>), redb::Error> {
    if !anything_to_forget(database, now)? {
        return Ok((0, None));
    }
    let (count, position) = transact(database, |transaction| {
        Ok(forget_calls(transaction, now)? + forget_requests(transaction, now)?)
    })?;
    Ok((count, Some(position)))
}

/// The call of that name.
pub(super) fn call(database: &Database, id: CallId) -> Result<Option<Call>, redb::Error> {
    let transaction = database.begin_read()?;
    let Some(value) = transaction.open_table(CALLS)?.get(id.0)? else {
        return Ok(None);
    };
    Ok(kept(&transaction, id, value.value())?.call)
}

/// See [`Store::calls`](super::Store::calls).
pub(super) fn calls(
    database: &Database,
    after: Option<CallId>,
    most: usize,
) -> Result<Vec<Kept>, redb::Error> {
    use std::ops::Bound::{Excluded, Unbounded};
    let transaction = database.begin_read()?;
    let table = transaction.open_table(CALLS)?;
    let from = after.map_or(Unbounded, |id| Excluded(id.0));
    let mut found = Vec::new();
    for entry in table.range::<Id>((from, Unbounded))?.take(most) {
        let (id, value) = entry?;
        found.push(kept(&transaction, CallId(id.value()), value.value())?);
    }
    Ok(found)
}

/// See [`Store::ended`](super::Store::ended).
pub(super) fn ended(
    database: &Database,
    after: Option<(u64, CallId)>,
    most: usize,
) -> Result<Vec<Kept>, redb::Error> {
    use std::ops::Bound::{Excluded, Unbounded};
    let transaction = database.begin_read()?;
    let (index, table) = (
        transaction.open_table(ENDED)?,
        transaction.open_table(CALLS)?,
    );
    let from = after.map_or(Unbounded, |(at, id)| Excluded((at, id.0)));
    let mut found = Vec::new();
    for entry in index.range::<(u64, Id)>((from, Unbounded))?.take(most) {
        let (_, id) = entry?.0.value();
        if let Some(value) = table.get(id)? {
            found.push(kept(&transaction, CallId(id), value.value())?);
        }
    }
    Ok(found)
}

/// The request with that key.
pub(super) fn request(
    database: &Database,
    key: &[u8; 32],
) -> Result<Option<DoneRequest>, redb::Error> {
    let table = database.begin_read()?.open_table(REQUESTS)?;
    let value = table.get(key)?;
    Ok(value.map(|value| {
        let (body, call, until) = value.value();
        DoneRequest {
            body,
            call: CallId(call),
            until,
        }
    }))
}

/// See [`Store::ended_before`](super::Store::ended_before).
pub(super) fn ended_before(database: &Database) -> Result<u64, redb::Error> {
    let table = database.begin_read()?.open_table(STORE)?;
    Ok(table.get(ENDED_BEFORE)?.map_or(0, |v| number(v.value())))
}

/// Carries out `act` and counts the commit.
fn transact<T>(
    database: &Database,
    act: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>,
) -> Result<(T, Position), redb::Error> {
    let transaction = database.begin_write()?;
    let done = act(&transaction)?;
    let position = {
        let mut store = transaction.open_table(STORE)?;
        let commits = store.get(COMMITS)?.map_or(0, |value| number(value.value())) + 1;
        store.insert(COMMITS, &commits.to_be_bytes()[..])?;
        let id = store.get(ID)?.and_then(|id| id.value().try_into().ok());
        Position {
            id: StoreId(id.unwrap_or_default()),
            commits,
        }
    };
    transaction.commit()?;
    Ok((done, position))
}

fn put(transaction: &WriteTransaction, record: &Record) -> Result<(), redb::Error> {
    match record {
        Record::Call { id, value } => put_call(transaction, *id, value),
        Record::Usage { id, value } => {
            transaction
                .open_table(USAGE)?
                .insert(*id, value.as_slice())?;
            Ok(())
        }
        Record::Request { key, request } => put_request(transaction, key, request),
    }
}

fn put_call(transaction: &WriteTransaction, id: Id, value: &[u8]) -> Result<(), redb::Error> {
    let head = Head::of(value);
    let earlier = {
        let mut calls = transaction.open_table(CALLS)?;
        let earlier = calls.insert(id, value)?;
        earlier.map(|earlier| Head::of(earlier.value()))
    };
    let forget_at = |head: Option<Head>| head.map(|head| forget_at(head.expires_at));
    let (was, is) = (forget_at(earlier.flatten()), forget_at(head));
    if was != is {
        let mut by_end = transaction.open_table(CALLS_BY_END)?;
        if let Some(at) = was {
            by_end.remove((at, id))?;
        }
        if let Some(at) = is {
            by_end.insert((at, id), ())?;
        }
    }
    if let Some(at) = head.and_then(|head| head.ended_at) {
        transaction.open_table(ENDED)?.insert((at, id), ())?;
    }
    Ok(())
}

fn put_request(
    transaction: &WriteTransaction,
    key: &[u8; 32],
    request: &DoneRequest,
) -> Result<(), redb::Error> {
    let mut requests = transaction.open_table(REQUESTS)?;
    let mut by_end = transaction.open_table(REQUESTS_BY_END)?;
    let value = (request.body, request.call.0, request.until);
    if let Some(earlier) = requests.insert(key, value)? {
        by_end.remove((earlier.value().2, *key))?;
    }
    by_end.insert((request.until, *key), ())?;
    Ok(())
}

fn forget_at(expires_at: u64) -> u64 {
    expires_at.saturating_add(REMEMBERED_AFTER_EXPIRY)
}

fn kept(transaction: &ReadTransaction, id: CallId, value: &[u8]) -> Result<Kept, redb::Error> {
    let mut call = record::read(id, value);
    if let Some(call) = &mut call
        && let Some(usage) = transaction.open_table(USAGE)?.get(id.0)?
    {
        record::add_usage(call, usage.value());
    }
    Ok(Kept {
        id,
        expires_at: Head::of(value).map_or(u64::MAX, |head| head.expires_at),
        call,
    })
}

fn anything_to_forget(database: &Database, now: u64) -> Result<bool, redb::Error> {
    let transaction = database.begin_read()?;
    let calls = transaction.open_table(CALLS_BY_END)?;
    let requests = transaction.open_table(REQUESTS_BY_END)?;
    let call = calls.first()?.is_some_and(|(key, _)| key.value().0 <= now);
    let request = requests
        .first()?
        .is_some_and(|(key, _)| key.value().0 <= now);
    Ok(call || request)
}

/// Forgets calls, and notes the latest of their expiries: their tickets must not come back.
fn forget_calls(transaction: &WriteTransaction, now: u64) -> Result<usize, redb::Error> {
    let due = due(transaction, CALLS_BY_END, now)?;
    let mut latest = 0;
    {
        let mut calls = transaction.open_table(CALLS)?;
        let mut by_end = transaction.open_table(CALLS_BY_END)?;
        let mut ended = transaction.open_table(ENDED)?;
        let mut usage = transaction.open_table(USAGE)?;
        for (at, id) in &due {
            by_end.remove((*at, *id))?;
            usage.remove(*id)?;
            let Some(head) = calls.remove(*id)?.and_then(|value| Head::of(value.value())) else {
                continue;
            };
            latest = latest.max(head.expires_at);
            if let Some(at) = head.ended_at {
                ended.remove((at, *id))?;
            }
        }
    }
    let mut store = transaction.open_table(STORE)?;
    let before = store.get(ENDED_BEFORE)?.map_or(0, |v| number(v.value()));
    if latest > before {
        store.insert(ENDED_BEFORE, &latest.to_be_bytes()[..])?;
    }
    Ok(due.len())
}

fn forget_requests(transaction: &WriteTransaction, now: u64) -> Result<usize, redb::Error> {
    let due = due(transaction, REQUESTS_BY_END, now)?;
    let mut requests = transaction.open_table(REQUESTS)?;
    let mut by_end = transaction.open_table(REQUESTS_BY_END)?;
    for (at, key) in &due {
        by_end.remove((*at, *key))?;
        requests.remove(*key)?;
    }
    Ok(due.len())
}

fn due<const N: usize>(
    transaction: &WriteTransaction,
    by_end: TableDefinition<'static, (u64, [u8; N]), ()>,
    now: u64,
) -> Result<Vec<(u64, [u8; N])>, redb::Error> {
    let table = transaction.open_table(by_end)?;
    let over = table.range(..(now.saturating_add(1), [0; N]))?;
    let keys = over.take(FORGOTTEN_AT_ONCE);
    keys.map(|entry| Ok(entry?.0.value())).collect()
}

fn number(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_be_bytes)
}
