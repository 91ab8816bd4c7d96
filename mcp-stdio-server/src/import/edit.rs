//! Changes of a text, and their way back. Pure.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// Bytes `at` of a text are to become `text`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Edit {
    /// Which bytes.
    pub at: Range<usize>,
    /// What stands there afterwards.
    pub text: String,
}

impl Edit {
    /// Replaces what stands at `at`.
    pub fn replace(at: Range<usize>, text: impl Into<String>) -> Self {
        Self { at, text: text.into() }
    }

    /// Puts something in.
    pub fn insert(at: usize, text: impl Into<String>) -> Self {
        Self { at: at..at, text: text.into() }
    }

    /// Takes something out.
    pub fn remove(at: Range<usize>) -> Self {
        Self { at, text: String::new() }
    }
}

/// Makes all changes, and gives those that undo them. `None` when two of them meet, or one is not in the text.
pub fn apply(text: &str, edits: &[Edit]) -> Option<(String, Vec<Edit>)> {
    let mut edits: Vec<&Edit> = edits.iter().filter(|edit| !edit.at.is_empty() || !edit.text.is_empty()).collect();
    edits.sort_by_key(|edit| (edit.at.start, edit.at.end));
    let (mut result, mut back, mut done) = (String::with_capacity(text.len()), Vec::new(), 0);
    for edit in edits {
        result.push_str(text.get(done..edit.at.start)?);
        let start = result.len();
        result.push_str(&edit.text);
        back.push(Edit::replace(start..result.len(), text.get(edit.at.clone())?));
        done = edit.at.end;
    }
    result.push_str(text.get(done..)?);
    Some((result, back))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_made_together_and_undone_together() {
        let text = "one two three";
        let edits = [Edit::replace(4..7, "2"), Edit::insert(0, ">"), Edit::remove(7..13), Edit::insert(4, "x")];
        let (changed, back) = apply(text, &edits).unwrap();
        assert_eq!(changed, ">one x2");
        assert_eq!(apply(&changed, &back).unwrap().0, text);
        assert_eq!(apply(text, &[Edit::remove(0..5), Edit::remove(4..6)]), None, "they meet");
        assert_eq!(apply(text, &[Edit::remove(10..20)]), None, "outside");
        assert_eq!(apply("é", &[Edit::remove(0..1)]), None, "inside a character");
    }
}
