//! `authz-service store export`.

use std::io::{self, Write};
use std::path::Path;

use shared::files;
use shared::store::journal::transfer::{self, Contents, Transferred};
use shared::time::{Clock, SystemClock};

use super::progress::Progress;
use super::{Answer, wrong_usage};
use crate::cli::store::Export;

pub(super) fn run(args: &Export) -> Result<Answer, String> {
    let to_stdout = args.file.as_os_str() == "-";
    if to_stdout && args.json {
        wrong_usage("with --json the answer goes to standard output: name a file for the export");
    }
    let exported = if to_stdout { write(args, &mut io::stdout().lock()) } else { write_file(args) }?;
    let what = if args.redacted { "a redacted export, which cannot be imported" } else { "a backup" };
    let keys = if args.redacted { "" } else { "keys.json is not in it: copy that too, or new keys are made.\n" };
    let count: usize = exported.records.values().sum();
    let text = format!("{}: {what} of {count} records after commit {}. {keys}", args.file.display(), exported.commits);
    Ok(Answer { aside: to_stdout, ..Answer::new(text.trim_end().to_owned() + "\n", &exported) })
}

fn write(args: &Export, out: &mut dyn Write) -> Result<Transferred, String> {
    let contents = if args.redacted { Contents::Redacted } else { Contents::Whole };
    let mut progress = Progress::new("Reading");
    let mut watch = |done, all| progress.at(done, all);
    transfer::export(&args.store.folder(), out, contents, SystemClock.now(), &mut watch)
        .map_err(|error| error.to_string())
}

/// Writes a file for the owner only: whole, or not at all.
fn write_file(args: &Export) -> Result<Transferred, String> {
    check_target(&args.file, &args.store.folder())?;
    files::replace_with(&args.file, |out| write(args, out).map_err(Failed::Export)).map_err(|failed| match failed {
        Failed::Export(reason) => reason,
        Failed::File(error) => format!("cannot write {}: {error}", args.file.display()),
    })
}

/// An export takes the place of whatever has its name: never of a device, and never of a file of the store's own.
fn check_target(file: &Path, store: &Path) -> Result<(), String> {
    let path = file.display();
    if std::fs::metadata(file).is_ok_and(|metadata| !metadata.is_file()) {
        return Err(format!("{path} is not a file; name one, or write `-` for standard output"));
    }
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let is_inside = matches!((folder.canonicalize(), store.canonicalize()), (Ok(one), Ok(other)) if one == other);
    if is_inside {
        return Err(format!(
            "{path} is in the store's own folder, where a backup is lost with it; name a file elsewhere"
        ));
    }
    Ok(())
}

/// Why there is no file.
enum Failed {
    Export(String),
    File(io::Error),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::File(error)
    }
}
