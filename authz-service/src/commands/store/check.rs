//! `authz-service store check`.

use shared::store::journal::inspect::{self, Checked, Weight};

use super::progress::Progress;
use super::{Answer, size};
use crate::cli::store::Look;

pub(super) fn run(args: &Look) -> Result<Answer, String> {
    let folder = args.store.folder();
    let mut progress = Progress::new("Checking");
    let checked =
        inspect::check(&folder, &mut |done, all| progress.at(done, all)).map_err(|error| error.to_string())?;
    let mut answer = Answer::new(text(&checked), &checked);
    if !checked.is_well() {
        let count = checked.findings.iter().filter(|finding| finding.weight != Weight::Note).count();
        let what = if count == 1 { "one problem".to_owned() } else { format!("{count} problems") };
        answer.failure = Some(format!("{what} in {}", folder.display()));
    }
    Ok(answer)
}

fn text(checked: &Checked) -> String {
    let mut text = String::new();
    for finding in &checked.findings {
        let weight = match finding.weight {
            Weight::Damage => "damage",
            Weight::Problem => "problem",
            Weight::Note => "note",
        };
        let line = finding.line.map_or(String::new(), |line| format!(" line {line}"));
        text.push_str(&format!("{weight}: {}{line}: {}\n", finding.path.display(), finding.what));
        text.push_str(&format!("  {}\n", finding.advice));
    }
    if let Some(place) = &checked.place {
        text.push_str(&format!(
            "{} commits, generation {}, {} of journal and {} of snapshot: every line fits.\n",
            place.commits,
            place.generation,
            size(place.journal_bytes),
            size(place.snapshot_bytes)
        ));
    }
    text
}
