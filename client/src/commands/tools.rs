//! `tools`: what a server offers.

use clap::Args;
use serde_json::json;

use crate::connection::{ConnectArgs, Connection};
use crate::context::Context;
use crate::failure::Outcome;
use crate::print::{Report, clean_line};

/// List the tools of a server
#[derive(Args, Debug)]
pub struct Tools {
    #[command(flatten)]
    connect: ConnectArgs,
}

impl Tools {
    /// Lists the tools.
    ///
    /// # Errors
    /// When the server refuses or is not there.
    pub async fn run(self, ctx: &Context) -> Outcome<Report> {
        let mut connection = Connection::new(ctx, &self.connect).await?;
        let ((server, protocol), tools) =
            connection.run(async |session, _| Ok((session.about(), session.tools().await?))).await?;
        let lines: Vec<_> = tools
            .iter()
            .map(|tool| {
                let about = tool.description.as_deref().or(tool.title.as_deref()).unwrap_or_default();
                format!("{}\n    {}", clean_line(&tool.name, 100), clean_line(about, 300)).trim_end().to_owned()
            })
            .collect();
        let text = if lines.is_empty() { "The server has no tools.".to_owned() } else { lines.join("\n") };
        Ok(Report::done(text, json!({ "server": server, "protocol": protocol, "tools": tools })))
    }
}
