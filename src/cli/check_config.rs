//! `vizard check-config`: is this file right, and what does it amount to?

use clap::Args;
use clap::builder::FalseyValueParser;
use std::io::Write as _;
use std::path::PathBuf;

use super::Failure;
use crate::config::Config;
use crate::control::offers::Offer;
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
        let (offers, warnings) = node::preview(&config)?;
        tell(&offers, &warnings);
        if self.json {
            super::say(&format!("{}\n", serde_json::to_string_pretty(&config)?))
        } else {
            super::say(&config.to_toml())
        }
    }
}

/// Standard output is for the configuration alone.
fn tell(offers: &[Offer], warnings: &[String]) {
    let mut output = std::io::stderr().lock();
    // If it can't be written, the configuration is still what was asked for.
    let _ = writeln!(output, "clients get:  {}", super::serve::urls(offers));
    for warning in warnings {
        let _ = writeln!(output, "warning: {warning}");
    }
}
