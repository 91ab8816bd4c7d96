//! Matching file names with `*` and `?`: no other letter is special, and no pattern takes long.

/// Whether `name` matches `pattern` as a whole: `*` is any run of characters, `?` any one.
///
/// Only the last `*` is ever reconsidered, so the time is at most the product of the lengths: patterns that make
/// backtracking matchers explode do not (contract, ARG-11).
pub fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    let mut star = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == '?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    n = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks_match_names() {
        for (pattern, name, fits) in [
            ("*", "", true),
            ("*", "anything", true),
            ("*.rs", "main.rs", true),
            ("*.rs", "main.rs.bak", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("?", "ä", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("", "", true),
            ("", "a", false),
            ("[ab]", "a", false),
            ("A", "a", false),
            ("**", "x", true),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn arg_11_a_pattern_that_explodes_elsewhere_takes_a_blink() {
        let begun = std::time::Instant::now();
        assert!(!matches(&format!("{}b", "*a".repeat(60)), &"a".repeat(255)));
        assert!(begun.elapsed() < std::time::Duration::from_millis(200));
    }
}
