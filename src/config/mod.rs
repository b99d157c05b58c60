//! `vizard.toml`: typed settings, validated once, with every mistake shown at its place.
//!
//! A key that is absent has its default; `config.example.toml` lists them all. A key that is
//! unknown, or that belongs to something this version does not do, is a mistake: a setting that
//! is silently ignored is worse than none.

mod limits;
mod problem;
mod reader;
mod relay;
mod sections;
mod turn_url;
mod value;

use serde::Serialize;
use std::path::Path;

pub use limits::Limits;
pub use problem::ConfigError;
pub use relay::{FastPath, Relay, family};
pub use sections::{
    AnswerBinding, CallableBy, Control, Log, Masking, Policy, Reveal, Ringing, Store,
};
pub use turn_url::TurnUrl;
pub use value::{Listen, Maybe, Moment, Period};

/// Everything that `vizard.toml` can say. The default is what holds without a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Config {
    /// `[relay]`
    pub relay: Relay,
    /// `[masking]`
    pub masking: Masking,
    /// `[policy]`
    pub policy: Policy,
    /// `[control]`
    pub control: Control,
    /// `[limits]`
    pub limits: Limits,
    /// `[store]`
    pub store: Store,
    /// `[log]`
    pub log: Log,
}

impl Config {
    /// Reads and validates `file`. Relative paths in it are meant from where it lies.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let name = file.display().to_string();
        let text = std::fs::read_to_string(file).map_err(|error| {
            let help = "name a readable file of UTF-8 text, or start without one for the defaults";
            ConfigError::of_file(&name, format!("can't be read: {error}"), help.into())
        })?;
        let mut config = Self::parse(&name, &text)?;
        let folder = file.parent().unwrap_or(Path::new(""));
        for path in [&mut config.control.api_keys_file, &mut config.store.path] {
            if !path.as_os_str().is_empty() {
                *path = folder.join(&*path);
            }
        }
        Ok(config)
    }

    /// Validates `text`; `name` is what messages call it.
    pub fn parse(name: &str, text: &str) -> Result<Self, ConfigError> {
        Self::parse_with_keys(name, text).map(|(config, _)| config)
    }

    /// Every key that this version serves, as `section.key`.
    pub fn keys() -> Vec<String> {
        Self::parse_with_keys("", "")
            .map(|(_, keys)| keys)
            .unwrap_or_default()
    }

    /// As TOML, with every key. It holds no secret: those are in files of their own.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).unwrap_or_default()
    }

    fn parse_with_keys(name: &str, text: &str) -> Result<(Self, Vec<String>), ConfigError> {
        let mut document = reader::Document::parse(name, text)?;
        let config = Self {
            relay: Relay::read(&mut document),
            masking: Masking::read(&mut document),
            policy: Policy::read(&mut document),
            control: Control::read(&mut document),
            limits: Limits::read(&mut document),
            store: Store::read(&mut document),
            log: Log::read(&mut document),
        };
        sections::read_unserved(&mut document);
        document.finish().map(|keys| (config, keys))
    }
}
