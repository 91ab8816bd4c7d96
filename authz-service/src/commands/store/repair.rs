//! `authz-service store repair`.

use shared::store::journal::repair::{self, Repaired};
use shared::time::SystemClock;

use super::progress::Progress;
use super::{Answer, size};
use crate::cli::store::Repair;

pub(super) fn run(args: &Repair) -> Result<Answer, String> {
    let mut progress = Progress::new("Reading");
    let mut watch = |done, all| progress.at(done, all);
    let repaired = repair::repair(&args.store.folder(), &SystemClock, args.dry_run, &mut watch)
        .map_err(|error| error.to_string())?;
    Ok(Answer::new(text(&repaired, args.dry_run), &repaired))
}

fn text(repaired: &Repaired, dry_run: bool) -> String {
    let Repaired { path, line, reason, set_aside, .. } = repaired;
    let (kept, lost, ended, aside) = if dry_run {
        ("would be kept", "would be lost", "would be ended", "would be")
    } else {
        ("are kept", "are lost", "were ended", "is now")
    };
    let mut text = format!(
        "{} line {line}: {reason}.\n\
         {} commits {kept}; {} lines ({}) {lost}, {} of them unreadable.\n\
         {} rights that the lost lines had ended or used {ended}.\n\
         The whole damaged journal {aside} {}.\n",
        path.display(),
        repaired.kept_commits,
        repaired.lost_lines,
        size(repaired.lost_bytes),
        repaired.unreadable_lines,
        repaired.ended,
        set_aside.display(),
    );
    if repaired.unreadable_lines > 0 {
        text.push_str("An unreadable line may have revoked something: look through what is still granted.\n");
    }
    if repaired.lost_passwords > 0 {
        text.push_str("Passwords were set in the lost lines: those from before work again. Have them set anew.\n");
    }
    text
}
