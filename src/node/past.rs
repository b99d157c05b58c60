//! The store and the ticket keys belong together: a ticket that was ended is refused because the
//! store knows of its call. Where the store has forgotten, the keys have to go.

use std::time::SystemTime;

use super::{StartError, settings};
use crate::config;
use crate::control::store::{Embedded, Found, Past};
use crate::state::{KeysBound, StateDirectory};

/// Opens the store and binds the ticket keys to it; what whoever starts the node has to know if
/// that ends the calls of before.
pub(super) fn take_up(
    store: &config::Store,
    state: &StateDirectory,
) -> Result<(Embedded, Option<String>), StartError> {
    let file = settings::store_file(store, state);
    let failed = |error| StartError::store(&file, &error);
    let found = Found::at(&file).map_err(failed)?;
    let past = found.past();
    let bound = state.bind_ticket_keys(found.id().0, past.is_whole())?;
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    let store = found.take_up(now.as_secs()).map_err(failed)?;
    let KeysBound::Replaced { old } = bound else {
        return Ok((store, None));
    };
    let what = match past {
        Past::None => "is new",
        Past::Short => "is older than the last one that was used here",
        Past::Whole | Past::FirstVersion => "is another than the ticket keys were made for",
    };
    let notice = format!(
        "the store {} {what}, so nobody knows which calls were ended: all calls of before are over, \
         and a new ticket key was made that refuses their tickets. Open calls anew. The old keys \
         are in {}",
        file.display(),
        old.display()
    );
    tracing::warn!("{notice}");
    Ok((store, Some(notice)))
}
