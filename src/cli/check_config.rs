//! `vizard check-config`: is this file right, and what does it amount to?

use clap::Args;
use clap::builder::FalseyValueParser;
use std::path::PathBuf;

use super::Failure;
use crate::config::Config;
use crate::node;

/// Validate a configuration and print what it amounts to, with every default filled in
#[derive(Debug, Args)]
pub(super) struct CheckConfig {
    /// The file; without one, the defaults are printed
    #[arg(env = "VIZARD_CONFIG")]
    file: Option<PathBuf>,
    /// Print JSON
    #[arg(long, env = "VIZARD_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

impl CheckConfig {
    pub(super) fn run(self) -> Result<(), Failure> {
        let config = match &self.file {
            Some(file) => Config::load(file)?,
            None => Config::default(),
        };
        node::given_api_keys(&config.control)?;
        if self.json {
            super::say(&format!("{}\n", serde_json::to_string_pretty(&config)?))
        } else {
            super::say(&config.to_toml())
        }
    }
}
