//! `demo`: the whole path, step by step.

use clap::Args;

use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::print::Report;

/// demo
#[derive(Args, Debug)]
pub struct Demo {}

impl Demo {
    /// x
    ///
    /// # Errors
    /// x
    pub async fn run(self, _ctx: &Context) -> Outcome<Report> {
        Err(Failure::failed("x", "x", "x"))
    }
}
