//! `vizard drain`: have a node take no new calls.

use clap::Args;
use reqwest::Method;

use super::Failure;
use super::client::ApiArguments;

/// Have the running node open no more calls; those it has go on
#[derive(Debug, Args)]
pub(super) struct Drain {
    #[command(flatten)]
    api: ApiArguments,
}

impl Drain {
    pub(super) fn run(self) -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let api = self.api.open()?;
        let draining = api.send(api.request(Method::POST, "/v1/node/drain"));
        let node = runtime.block_on(draining)?;
        let open = node["calls"]["open"].as_u64().unwrap_or_default();
        super::say(&format!("draining, {open} calls go on\n"))
    }
}
