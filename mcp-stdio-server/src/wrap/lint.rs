//! Rules to begin with, and what is odd about rules. Pure.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::rules::{Hints, Rules, ToolRule, fingerprint};
use crate::results::shown;
use crate::tools::glob::matches;

/// Rules for a server with these tools: the standard ones, spelt out tool by tool, and what each tool is now.
pub fn starting_rules(tools: &[Value]) -> String {
    let mut text = String::from(
        "# What each tool of this server needs. The first rule that fits decides.\n\
         # scopes = \"…\" for what a token must have, access = \"open\" for everybody, access = \"deny\" for nobody.\n\
         # Conditions: name (* and ? stand for anything), read_only, destructive, open_world (what a tool says of itself).\n\
         version = 1\n",
    );
    for (name, tool) in named(tools) {
        let hints = Hints::of(tool);
        let scope = if hints.read_only { shared::scope::TOOLS_READ } else { shared::scope::TOOLS_EXECUTE };
        let says = match (hints.read_only, hints.destructive) {
            (true, _) => "changes nothing, by its own account",
            (false, false) => "changes something and destroys nothing, by its own account",
            (false, true) => "may destroy something",
        };
        let _ = write!(text, "\n# {says}\n[[tool]]\nname = {}\nscopes = \"{scope}\"\n", quoted(name));
    }
    text.push_str(
        "\n# Anything that is new needs a token that may run every tool.\n[[tool]]\nscopes = \"mcp:tools:execute\"\n\n\
         [[resource]]\nuri = \"*\"\nscopes = \"mcp:resources\"\n\n[[prompt]]\nname = \"*\"\nscopes = \"mcp:resources\"\n\n\
         # What each tool was when this was written. One that becomes another is not offered until you have looked at it.\n\
         [known]\n",
    );
    for (name, tool) in named(tools) {
        let hash = serde_json::to_value(fingerprint(tool)).unwrap_or_default();
        let _ = writeln!(text, "{} = {hash}", quoted(name));
    }
    text
}

/// What is odd about rules, in words, one finding each; with the server's tools, also about those.
pub fn findings(rules: &Rules, tools: Option<&[Value]>) -> Vec<String> {
    let mut findings = Vec::new();
    for (at, rule) in rules.tool.iter().enumerate() {
        if let Some(before) = rules.tool[..at].iter().position(|before| covers(before, rule)) {
            findings.push(format!("tool rule {} is never reached: rule {} fits whatever it fits", at + 1, before + 1));
        }
    }
    findings.extend(rules.ungrantable().into_iter().map(|scope| format!("nobody can be given {scope}: {UNGRANTABLE}")));
    let Some(tools) = tools else { return findings };
    for (at, rule) in rules.tool.iter().enumerate() {
        let Some(pattern) = &rule.name else { continue };
        if !named(tools).any(|(name, _)| matches(pattern, name)) {
            findings.push(format!("tool rule {} fits no tool of this server: there is none like {pattern}", at + 1));
        }
    }
    for (name, tool) in named(tools) {
        if !rules.is_unchanged(name, tool) {
            findings.push(format!("the tool {} has become another since the rules were written", shown(name)));
        }
    }
    let is_gone = |name: &&String| !named(tools).any(|(found, _)| found == name.as_str());
    findings.extend(rules.known.keys().filter(is_gone).map(|name| format!("the tool {} is gone", shown(name))));
    findings
}

/// Why nobody can be given a scope.
pub const UNGRANTABLE: &str =
    "names that begin with mcp: and those of OpenID Connect are the service's, and a name has at most 128 characters";

/// Whether whatever fits `rule` fits `before`, as far as that can be told from the patterns.
fn covers(before: &ToolRule, rule: &ToolRule) -> bool {
    let name = match (&before.name, &rule.name) {
        (None, _) => true,
        (Some(before), Some(name)) => {
            before == name || before == "*" || (!name.contains(['*', '?']) && matches(before, name))
        }
        (Some(before), None) => before == "*",
    };
    let hint = |before: Option<bool>, rule: Option<bool>| before.is_none() || before == rule;
    name && hint(before.read_only, rule.read_only)
        && hint(before.destructive, rule.destructive)
        && hint(before.open_world, rule.open_world)
}

fn named(tools: &[Value]) -> impl Iterator<Item = (&str, &Map<String, Value>)> {
    tools.iter().filter_map(|tool| Some((tool.get("name")?.as_str()?, tool.as_object()?)))
}

/// A text as TOML writes it: what JSON needs escaped is escaped the same way there.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tools() -> Vec<Value> {
        vec![
            json!({ "name": "look", "annotations": { "readOnlyHint": true } }),
            json!({ "name": "odd \"name\"", "annotations": { "destructiveHint": false } }),
            json!({ "name": "drop" }),
        ]
    }

    #[test]
    fn rules_to_begin_with_say_what_the_standard_says_and_nothing_odd() {
        let rules = Rules::parse(&starting_rules(&tools())).unwrap();
        let standard = Rules::default();
        for (name, tool) in named(&tools()) {
            let hints = Some(Hints::of(tool));
            assert_eq!(rules.tool(name, hints), standard.tool(name, hints), "{name}");
        }
        assert_eq!(rules.known.len(), 3);
        assert_eq!(findings(&rules, Some(&tools())), Vec::<String>::new());
    }

    #[test]
    fn what_is_odd_is_found() {
        let rules = Rules::parse(&starting_rules(&tools())).unwrap();
        let mut others = tools();
        others[0]["description"] = "Now with more.".into();
        others.remove(2);
        let found = findings(&rules, Some(&others));
        assert!(found.iter().any(|finding| finding == "the tool look has become another since the rules were written"));
        assert!(found.iter().any(|finding| finding == "the tool drop is gone"));
        assert!(
            found.iter().any(|finding| finding == "tool rule 3 fits no tool of this server: there is none like drop")
        );
        let text =
            "version = 1\n[[tool]]\nname = \"a*\"\naccess = \"open\"\n[[tool]]\nname = \"ab\"\naccess = \"deny\"";
        let found = findings(&Rules::parse(text).unwrap(), None);
        assert_eq!(found, ["tool rule 2 is never reached: rule 1 fits whatever it fits"]);
        let text = "version = 1\n[[tool]]\nname = \"a\"\nscopes = \"mcp:admin\"\n[[tool]]\nscopes = \"files:write\"";
        let found = findings(&Rules::parse(text).unwrap(), None);
        assert!(found[0].starts_with("nobody can be given mcp:admin:") && found.len() == 1, "{found:?}");
    }
}
