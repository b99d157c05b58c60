//! Why a node does not start.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use vizard_proto::contract::CommandError;

use crate::config;
use crate::control::store::StoreError;
use crate::control::{ServeError, keys::KeyFileError};
use crate::dataplane;
use crate::state::StateError;

/// Why a node does not start or reload: what is wrong, and what to do.
#[derive(Debug)]
pub struct StartError(String);

impl StartError {
    pub(super) fn threads(error: &io::Error) -> Self {
        Self(format!(
            "can't start threads: {error}\n  help: raise the limit on processes (ulimit -u)"
        ))
    }

    /// A public address that no URL can name, because nothing listens on its family.
    pub(super) fn unserved_address(ip: IpAddr) -> Self {
        let family = config::family(ip);
        Self(format!(
            "relay.public_addresses names {ip}, but this node does not listen on {family}: clients \
             would be given no URL with it\n  help: remove the address, or listen on {family} in \
             relay.udp or relay.tcp, which hold from the next start on"
        ))
    }

    /// The store in `file` can't be used.
    pub(super) fn store(file: &Path, error: &StoreError) -> Self {
        let help = error.help(file);
        Self(format!("{error}\n  in {}\n  help: {help}", file.display()))
    }

    pub(super) fn key_file(file: &std::path::Path, error: &io::Error) -> Self {
        Self(format!(
            "can't read control.api_keys_file = {}: {error}\n  help: name a file that this user can \
             read, one key per line",
            file.display()
        ))
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

macro_rules! told_by {
    ($($source:ty),*) => {$(
        impl From<$source> for StartError {
            fn from(error: $source) -> Self {
                Self(error.to_string())
            }
        }
    )*};
}

told_by!(StateError, KeyFileError, dataplane::StartError, ServeError);

impl From<CommandError> for StartError {
    fn from(_: CommandError) -> Self {
        Self("the relay did not take the settings\n  help: restart the node".into())
    }
}
