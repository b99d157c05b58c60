//! Lists of calls.

use vizard_proto::auth::ticket::CallId;

use super::Switchboard;
use crate::control::calls::{Call, Phase};
use crate::control::problem::Problem;
use crate::control::store::Kept;

/// Calls read from the store at a time.
const PAGE: usize = 50;

/// After which call a page begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cursor {
    /// After the call of that name, in the order of names.
    Name(CallId),
    /// After the call that ended then, in the order of ends.
    End(u64, CallId),
}

impl Cursor {
    /// The cursor after `call` in a list of `phase`.
    pub fn after(call: &Call, phase: Option<Phase>) -> Self {
        match (phase, call.end) {
            (Some(Phase::Ended), Some(end)) => Self::End(end.at, call.id),
            _ => Self::Name(call.id),
        }
    }
}

impl Switchboard {
    /// Shows `take` the calls of a list (in `phase`), one after the other, until it has enough.
    pub fn list(
        &self,
        phase: Option<Phase>,
        after: Option<Cursor>,
        most: usize,
        take: impl FnMut(Call) -> bool,
    ) -> Result<(), Problem> {
        match (phase, after) {
            (Some(Phase::Ended), after) => {
                let after = match after {
                    Some(Cursor::End(at, id)) => Some((at, id)),
                    _ => None,
                };
                self.list_ended(after, take)
            }
            (phase, after) => {
                let after = match after {
                    Some(Cursor::Name(id)) => Some(id),
                    _ => None,
                };
                match phase {
                    Some(phase) => {
                        let page = self.registry().page(phase, after, most);
                        show(page, take);
                        Ok(())
                    }
                    None => self.list_all(after, take),
                }
            }
        }
    }

    /// All calls that the store knows, as the registry knows them.
    fn list_all(
        &self,
        mut after: Option<CallId>,
        mut take: impl FnMut(Call) -> bool,
    ) -> Result<(), Problem> {
        loop {
            let page = self.asked(self.store.calls(after, PAGE))?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = Some(last.id);
            if !show(self.brought_up_to_date(page), &mut take) {
                return Ok(());
            }
        }
    }

    /// Ended calls, in the order of their ends: those that the store knows to have ended, and
    /// those that it could not yet be told of.
    fn list_ended(
        &self,
        mut after: Option<(u64, CallId)>,
        mut take: impl FnMut(Call) -> bool,
    ) -> Result<(), Problem> {
        let key = |call: &Call| (call.end.map_or(0, |end| end.at), call.id);
        let mut unsaved = self.registry().ended_unsaved();
        unsaved.retain(|call| after.is_none_or(|after| key(call) > after));
        unsaved.sort_by_key(key);
        let mut unsaved = unsaved.into_iter().peekable();
        loop {
            let page = self.asked(self.store.ended(after, PAGE))?;
            let page = self.brought_up_to_date(page);
            let last = page.last().map(key);
            for call in page {
                while let Some(earlier) = unsaved.next_if(|other| key(other) <= key(&call)) {
                    if key(&earlier) < key(&call) && !take(earlier) {
                        return Ok(());
                    }
                }
                if !take(call) {
                    return Ok(());
                }
            }
            if last.is_none() {
                show(unsaved, take);
                return Ok(());
            }
            after = last;
        }
    }

    fn brought_up_to_date(&self, page: Vec<Kept>) -> Vec<Call> {
        let now = self.now().wall;
        let registry = self.registry();
        let calls = page.into_iter().filter_map(|kept| kept.call);
        calls
            .map(|mut call| {
                if let Some(current) = registry.get(call.id) {
                    call = current.clone();
                }
                call.settle(now);
                call
            })
            .collect()
    }
}

/// Whether more is wanted after `calls`.
fn show(calls: impl IntoIterator<Item = Call>, take: impl FnMut(Call) -> bool) -> bool {
    calls.into_iter().all(take)
}
