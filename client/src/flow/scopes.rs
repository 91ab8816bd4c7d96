//! What to ask for (MCP authorization, "Scope Selection Strategy").

use shared::scope::{OFFLINE_ACCESS, RESOURCES, Scope, Scopes, TOOLS_EXECUTE, TOOLS_READ};

/// What is known about the scopes that a login may ask for.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// What the person asked for.
    pub wished: Option<Scopes>,
    /// The `scope` of the server's challenge.
    pub challenged: Option<Scopes>,
    /// `scopes_supported` of the protected resource; `None` when it says nothing.
    pub resource: Option<Vec<String>>,
    /// `scopes_supported` of the authorization server.
    pub issuer: Vec<String>,
    /// Whether the resource is a stdio server, which publishes no metadata of its own.
    pub stdio: bool,
}

/// The scopes to request; none means that the parameter is left out.
///
/// In order: the person's wish, the challenge, the resource's list. A stdio server has neither challenge nor list: for
/// it, what its tools are known to need, as far as the authorization server knows it. `offline_access` is added when the
/// authorization server lists it and something else is asked for: alone it would narrow the request to itself.
pub fn select(known: &Known) -> Scopes {
    if let Some(wished) = &known.wished {
        return wished.clone();
    }
    let lists = |word: &str| known.issuer.iter().any(|listed| listed == word);
    let selected = match (&known.challenged, &known.resource) {
        (Some(challenged), _) => challenged.clone(),
        (None, Some(listed)) => readable(listed.iter().map(String::as_str)),
        (None, None) if known.stdio => {
            readable([TOOLS_READ, TOOLS_EXECUTE, RESOURCES].into_iter().filter(|word| lists(word)))
        }
        (None, None) => Scopes::default(),
    };
    match readable([OFFLINE_ACCESS].into_iter()) {
        offline if lists(OFFLINE_ACCESS) && !selected.is_empty() => selected.union(&offline),
        _ => selected,
    }
}

/// What to ask for when a token was not enough: what was asked for before, and what is needed now.
pub fn step_up(before: &Scopes, needed: &Scopes) -> Scopes {
    before.union(needed)
}

/// Leaves out what is no scope: a server's mistake must not keep a person from logging in.
fn readable<'a>(words: impl Iterator<Item = &'a str>) -> Scopes {
    words.filter_map(|word| word.parse::<Scope>().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scopes(text: &str) -> Option<Scopes> {
        Some(text.parse().unwrap())
    }

    fn list(text: &str) -> Vec<String> {
        text.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }

    #[track_caller]
    fn check(known: Known, expected: &str) {
        assert_eq!(select(&known).to_string(), expected, "{known:?}");
    }

    #[test]
    fn scopes_are_taken_from_the_first_source_that_speaks() {
        let all = Known {
            wished: scopes("w"),
            challenged: scopes("c"),
            resource: Some(list("r1 r2")),
            issuer: list("i offline_access"),
            stdio: false,
        };
        check(all.clone(), "w");
        check(Known { wished: None, ..all.clone() }, "c offline_access");
        check(Known { wished: None, challenged: None, ..all.clone() }, "offline_access r1 r2");
        check(Known { wished: None, challenged: None, resource: None, ..all.clone() }, "");
        check(Known { wished: None, challenged: None, issuer: list("i"), ..all }, "r1 r2");
        check(Known { resource: Some(list("a b\"c")), ..Known::default() }, "a");
    }

    #[test]
    fn a_stdio_server_needs_what_its_tools_need() {
        let known = Known { stdio: true, issuer: list("mcp:tools:read mcp:tools:execute x"), ..Known::default() };
        check(known.clone(), "mcp:tools:execute mcp:tools:read");
        check(
            Known { issuer: list("mcp:tools:read offline_access"), ..known.clone() },
            "mcp:tools:read offline_access",
        );
        check(Known { issuer: list("offline_access openid"), ..known }, "");
    }

    #[test]
    fn a_step_up_loses_nothing() {
        assert_eq!(step_up(&scopes("a b").unwrap(), &scopes("b c").unwrap()).to_string(), "a b c");
    }
}
