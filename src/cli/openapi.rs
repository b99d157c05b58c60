//! `vizard openapi`: the control API's description.

use clap::Args;

use super::Failure;
use crate::control;

/// Print the control API as an OpenAPI 3.1 document
#[derive(Debug, Args)]
pub(super) struct Openapi {}

impl Openapi {
    pub(super) fn run() -> Result<(), Failure> {
        super::say(&control::api::openapi())
    }
}
