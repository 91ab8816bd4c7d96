//! The difference of two texts as `diff -u` writes it, without the secrets. Pure.

use super::document::{Document, Syntax};
use super::edit::{Edit, apply};
use super::node::{Kind, Node};
use super::suspect;

/// What stands in the place of a secret.
const MASK: &str = "\u{2022}\u{2022}\u{2022}\u{2022}";

/// How many lines around a change are shown.
const AROUND: usize = 3;

/// More changed lines than this are not compared one by one.
const MOST: usize = 2_000;

/// The difference, unified. Empty when there is none.
pub fn unified(name: &str, before: &str, after: &str, syntax: Syntax) -> String {
    let (before, after) = (masked(before, syntax), masked(after, syntax));
    let (old, new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let steps = steps(&old, &new);
    let mut text = String::new();
    for hunk in hunks(&steps) {
        if text.is_empty() {
            text.push_str(&format!("--- {name}\n+++ {name}\n"));
        }
        write_hunk(&mut text, &steps[hunk.clone()], &steps[..hunk.start], &old, &new);
    }
    text
}

/// A text in which no value that looks like a secret can be read, line by line the same otherwise.
pub fn masked(text: &str, syntax: Syntax) -> String {
    let Ok(document) = Document::parse(text, syntax) else { return MASK.to_owned() };
    let mut edits = Vec::new();
    mask(&document, &document.root, "", &mut edits);
    apply(text, &edits).map_or_else(|| MASK.to_owned(), |(text, _)| without_known(&text))
}

fn mask(document: &Document<'_>, node: &Node, name: &str, edits: &mut Vec<Edit>) {
    let mut hide = |node: &Node| {
        let breaks = "\n".repeat(document.raw(&node.span).matches('\n').count());
        edits.push(Edit::replace(node.span.clone(), format!("\"{MASK}\"{breaks}")));
    };
    match &node.kind {
        Kind::Object(_, members) => {
            members.iter().for_each(|member| mask(document, &member.value, &member.name, edits));
        }
        Kind::Array(items) => {
            let words = node.texts().unwrap_or_default();
            let suspects = suspect::in_arguments(&words);
            for (at, item) in items.iter().enumerate() {
                if suspects.contains(&at) {
                    edits.push(Edit::replace(item.span.clone(), format!("\"{MASK}\"")));
                } else if !suspect::is_name(&words, at) {
                    mask(document, item, "", edits);
                }
            }
        }
        Kind::Text(Some(text)) if suspect::is_secret(name, text) || suspect::looks_secret(text) => hide(node),
        Kind::Text(None) => hide(node),
        Kind::Text(Some(_)) | Kind::Other => {}
    }
}

/// Hides what looks like a well-known secret in a comment.
fn without_known(text: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '+' | '=');
    let (mut shown, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(start) = rest.find(is_word) {
        let (between, word) = rest.split_at(start);
        let length = word.find(|c| !is_word(c)).unwrap_or(word.len());
        let (word, behind) = word.split_at(length);
        shown.push_str(between);
        let value = word.rsplit('=').next().unwrap_or(word);
        shown.push_str(if suspect::looks_secret(value) { MASK } else { word });
        rest = behind;
    }
    shown.push_str(rest);
    shown
}

/// A line that stays, goes or comes; the number of the line in its text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    Both(usize),
    Old(usize),
    New(usize),
}

/// What makes one text of the other (Myers, "An O(ND) difference algorithm", 1986).
fn steps(old: &[&str], new: &[&str]) -> Vec<Step> {
    let head = old.iter().zip(new).take_while(|(old, new)| old == new).count();
    let tail = old[head..].iter().rev().zip(new[head..].iter().rev()).take_while(|(old, new)| old == new).count();
    let (middle_old, middle_new) = (&old[head..old.len() - tail], &new[head..new.len() - tail]);
    let mut steps: Vec<Step> = (0..head).map(Step::Both).collect();
    let shifted = |step: Step| match step {
        Step::Both(at) => Step::Both(at + head),
        Step::Old(at) => Step::Old(at + head),
        Step::New(at) => Step::New(at + head),
    };
    steps.extend(shortest(middle_old, middle_new).into_iter().map(shifted));
    steps.extend((old.len() - tail..old.len()).map(Step::Both));
    steps
}

fn shortest(old: &[&str], new: &[&str]) -> Vec<Step> {
    let (n, m) = (old.len() as isize, new.len() as isize);
    let most = ((old.len() + new.len()).min(MOST)) as isize;
    let place = |k: isize| (k + most + 1) as usize;
    let mut reached = vec![0_isize; 2 * most as usize + 3];
    let mut trace = Vec::new();
    for d in 0..=most {
        trace.push(reached.clone());
        for k in (-d..=d).step_by(2) {
            let down = k == -d || (k != d && reached[place(k - 1)] < reached[place(k + 1)]);
            let mut x = if down { reached[place(k + 1)] } else { reached[place(k - 1)] + 1 };
            let mut y = x - k;
            while x < n && y < m && old[x as usize] == new[y as usize] {
                (x, y) = (x + 1, y + 1);
            }
            reached[place(k)] = x;
            if x >= n && y >= m {
                return walked_back(&trace, (n, m), place);
            }
        }
    }
    // Too much has changed for a short way: all of it goes, and all of it comes.
    (0..old.len()).map(Step::Old).chain((0..new.len()).map(Step::New)).collect()
}

fn walked_back(trace: &[Vec<isize>], end: (isize, isize), place: impl Fn(isize) -> usize) -> Vec<Step> {
    let (mut x, mut y) = end;
    let mut steps = Vec::new();
    for (d, reached) in trace.iter().enumerate().rev() {
        let (d, k) = (d as isize, x - y);
        let down = k == -d || (k != d && reached[place(k - 1)] < reached[place(k + 1)]);
        let before = if down { k + 1 } else { k - 1 };
        let (to_x, to_y) = (reached[place(before)], reached[place(before)] - before);
        while x > to_x.max(0) && y > to_y.max(0) && d >= 0 && (x > to_x && y > to_y) {
            (x, y) = (x - 1, y - 1);
            steps.push(Step::Both(x as usize));
        }
        if d > 0 {
            steps.push(if down { Step::New(to_y as usize) } else { Step::Old(to_x as usize) });
            (x, y) = (to_x, to_y);
        }
    }
    steps.reverse();
    steps
}

/// The runs of steps with a change in them, and what stands around it.
fn hunks(steps: &[Step]) -> Vec<std::ops::Range<usize>> {
    let mut hunks: Vec<std::ops::Range<usize>> = Vec::new();
    let changed = steps.iter().enumerate().filter(|(_, step)| !matches!(step, Step::Both(_)));
    for (at, _) in changed {
        let range = at.saturating_sub(AROUND)..(at + AROUND + 1).min(steps.len());
        match hunks.last_mut() {
            Some(last) if range.start <= last.end => last.end = range.end,
            _ => hunks.push(range),
        }
    }
    hunks
}

fn write_hunk(text: &mut String, steps: &[Step], before: &[Step], old: &[&str], new: &[&str]) {
    let count = |steps: &[Step], is_meant: fn(&Step) -> bool| steps.iter().filter(|step| is_meant(step)).count();
    let (is_old, is_new) = (|step: &Step| !matches!(step, Step::New(_)), |step: &Step| !matches!(step, Step::Old(_)));
    let range = |is_meant: fn(&Step) -> bool| {
        let (start, length) = (count(before, is_meant), count(steps, is_meant));
        // A range without lines stands behind the line that it names.
        format!("{},{length}", if length == 0 { start } else { start + 1 })
    };
    text.push_str(&format!("@@ -{} +{} @@\n", range(is_old), range(is_new)));
    for step in steps {
        let (mark, line) = match step {
            Step::Both(at) => (' ', old[*at]),
            Step::Old(at) => ('-', old[*at]),
            Step::New(at) => ('+', new[*at]),
        };
        text.push(mark);
        // A host's file must not steer the terminal.
        text.extend(line.trim_end_matches('\r').chars().filter(|c| !c.is_control() || *c == '\t'));
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_lines_are_shown_with_their_neighbours() {
        let lines = |numbers: &[&str]| numbers.iter().map(|number| format!("[{number}],\n")).collect::<String>();
        let wrap = |body: String| format!("[\n{body}]\n");
        let numbers: Vec<String> = (1..=30).map(|n| n.to_string()).collect();
        let old: Vec<&str> = numbers.iter().map(String::as_str).collect();
        let mut new = old.clone();
        new[4] = "55";
        new.remove(20);
        let (old, new) = (wrap(lines(&old)), wrap(lines(&new)));
        let expected = "--- f\n+++ f\n@@ -3,7 +3,7 @@\n [2],\n [3],\n [4],\n-[5],\n+[55],\n [6],\n [7],\n [8],\n\
                        @@ -19,7 +19,6 @@\n [18],\n [19],\n [20],\n-[21],\n [22],\n [23],\n [24],\n";
        assert_eq!(unified("f", &old, &new, Syntax::Jsonc), expected);
        assert_eq!(unified("f", &old, &old, Syntax::Jsonc), "");
        assert_eq!(unified("f", "[]", "[\n1]", Syntax::Jsonc), "--- f\n+++ f\n@@ -1,1 +1,2 @@\n-[]\n+[\n+1]\n");
    }

    #[test]
    fn no_secret_is_shown_wherever_it_stands() {
        let text = r#"{
            // was ghp_16C7e42F292c6912E7710c838347Ae178B4a, TOKEN=sk-proj-0123456789abcdef
            "env": { "TOKEN": "hunter2", "LEVEL": "debug", "odd": "\ud83d hunter2" },
            "args": ["--api-key", "hunter2", "--header", "Authorization: Bearer hunter2hunter2"],
            "headers": { "Authorization": "Bearer hunter2hunter2", "X-Api-Key": "hunter2" },
            "keep": "plain words"
        }"#;
        let shown = masked(text, Syntax::Jsonc);
        assert!(!shown.contains("hunter2") && !shown.contains("ghp_") && !shown.contains("sk-proj"), "{shown}");
        assert!(shown.contains("debug") && shown.contains("plain words") && shown.contains("--api-key"), "{shown}");
        assert_eq!(shown.lines().count(), text.lines().count());
        let toml = "TOKEN = '''\nhunter2\n'''\nb = 1\n";
        assert!(!masked(toml, Syntax::Toml).contains("hunter2"));
        assert_eq!(masked(toml, Syntax::Toml).lines().count(), toml.lines().count());
        assert!(!masked("{ \"a\": hunter2", Syntax::Jsonc).contains("hunter2"));
    }

    #[test]
    fn a_way_is_found_between_any_two_texts() {
        for (old, new) in
            [("", "a"), ("a", ""), ("a b c", "c b a"), ("a a a b", "b a a"), ("x y", "x y"), ("a b c d", "x b y d z")]
        {
            let (old, new): (Vec<&str>, Vec<&str>) =
                (old.split_whitespace().collect(), new.split_whitespace().collect());
            let steps = steps(&old, &new);
            let made = steps.iter().filter_map(|step| match step {
                Step::Both(at) => Some(old[*at]),
                Step::New(at) => Some(new[*at]),
                Step::Old(_) => None,
            });
            let was: Vec<_> = steps
                .iter()
                .filter_map(|step| match step {
                    Step::Both(at) | Step::Old(at) => Some(old[*at]),
                    Step::New(_) => None,
                })
                .collect();
            assert_eq!((made.collect::<Vec<_>>(), was), (new, old));
        }
    }
}
