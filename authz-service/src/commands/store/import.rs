//! `authz-service store import`.

use shared::store::journal::transfer;

use super::progress::Progress;
use super::{Answer, poc};
use crate::cli::store::{Import, Program};

pub(super) fn run(args: &Import) -> Result<Answer, String> {
    match args.from {
        None => import(args),
        Some(Program::McpAuthPoc) => poc::run(args),
    }
}

fn import(args: &Import) -> Result<Answer, String> {
    let folder = args.store.folder();
    let mut progress = Progress::new("Reading");
    let mut watch = |done, all| progress.at(done, all);
    let imported =
        transfer::import(&args.source, &folder, args.dry_run, &mut watch).map_err(|error| error.to_string())?;
    let done = if args.dry_run { "Would import" } else { "Imported" };
    let count: usize = imported.records.values().sum();
    let text = format!(
        "{done} {count} records into {}, as they were after commit {}.\n\
         What was revoked since then is alive again: revoke it once more. Programs that knew the store as it was later\n\
         have to be restarted. Put keys.json beside it before the service starts, or it makes new keys.\n",
        folder.display(),
        imported.commits
    );
    Ok(Answer::new(text, &imported))
}
