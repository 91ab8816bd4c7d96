//! What can be granted for a server: the service's scopes, and those that the server has for its own.
//!
//! A server announces its own scopes in the store, with the tools that need them. They are that server's alone, and none of
//! them goes by a name of MCP's or of OpenID Connect's, whose meaning people know from elsewhere.

use shared::scope::{Catalogue, Scope, Scopes, expand};
use shared::state::{Device, Facts, own};
use shared::uri::Resource;

use super::policy::Policy;

/// What an own scope with tools means to a person; the tools stand below it.
const WITH_TOOLS: &str = "Use the tools below: a permission of this server's own";

/// What one without tools means.
const WITHOUT_TOOLS: &str = "Use what the server keeps behind a permission of its own, such as resources or prompts";

/// What can be granted for one server.
#[derive(Debug)]
pub struct Grantable<'a> {
    catalogue: &'a Catalogue,
    own: Scopes,
}

impl<'a> Grantable<'a> {
    /// For a resource, of which `facts` say what its server announced.
    pub fn of(policy: &'a Policy, facts: &Facts, resource: &Resource) -> Self {
        let announced = facts.tools.as_ref().filter(|announced| announced.resource == *resource);
        Self { catalogue: &policy.catalogue, own: announced.map_or_else(Scopes::default, |known| known.own_scopes()) }
    }

    /// Those of the scopes that can be granted, in plain ones.
    pub fn known(&self, scopes: &Scopes) -> Scopes {
        expand(scopes).intersection(&self.catalogue.all().union(&self.own))
    }

    /// What to ask for when a client names nothing.
    pub fn usual(&self) -> Scopes {
        self.catalogue.default_scopes().union(&self.own)
    }
}

/// What a device asks for, as far as it can be granted. A program on this machine may be quicker than its announcement: its
/// server's own scopes need not be known yet.
pub fn of_device(device: &Device, policy: &Policy) -> Scopes {
    let known = device.scopes.intersection(&policy.catalogue.all());
    known.union(&own(device.scopes.minus(&known).iter()))
}

/// What a scope means to a person.
pub fn meaning<'a>(catalogue: &'a Catalogue, scope: &Scope, has_tools: bool) -> &'a str {
    match catalogue.meaning(scope) {
        Some(meaning) => meaning,
        None if scope.is_reserved() => "A scope that this service no longer explains",
        None if has_tools => WITH_TOOLS,
        None => WITHOUT_TOOLS,
    }
}

#[cfg(test)]
mod tests {
    use shared::state::{Announcement, Effect, Tool};

    use super::*;
    use crate::protocol::sample::{NOW, device, policy};

    fn facts(resource: &Resource, scopes: &[&str], others: &[&str]) -> Facts {
        let tool = |(at, scopes): (usize, &&str)| {
            let (name, scopes) = (format!("t{at}").parse().unwrap(), scopes.parse().unwrap());
            (Tool { name, title: String::new(), effect: Effect::Write, scopes, print: None }, NOW)
        };
        let announced = Announcement {
            resource: resource.clone(),
            tools: scopes.iter().enumerate().map(tool).collect(),
            scopes: others.iter().map(|scope| (scope.parse().unwrap(), NOW)).collect(),
        };
        Facts { tools: Some(announced), ..Facts::default() }
    }

    #[test]
    fn a_servers_own_scopes_can_be_granted_for_it_and_for_no_other() {
        let (ours, theirs) = (Resource::stdio("a").unwrap(), Resource::stdio("b").unwrap());
        let facts = facts(&ours, &["files:write mcp:tools:execute", "mcp:admin", "openid"], &["files:read", "MCP:x"]);
        let asked: Scopes = "files:write files:read mcp:tools mcp:admin MCP:x openid unknown".parse().unwrap();
        let policy = policy();
        let here = Grantable::of(&policy, &facts, &ours);
        assert_eq!(here.known(&asked).to_string(), "files:read files:write mcp:tools:execute mcp:tools:read");
        let usual = "files:read files:write mcp:resources mcp:tools:execute mcp:tools:read";
        assert_eq!(here.usual().to_string(), usual);
        for (facts, resource) in [(&facts, &theirs), (&Facts::default(), &ours)] {
            let there = Grantable::of(&policy, facts, resource);
            assert_eq!(there.known(&asked).to_string(), "mcp:tools:execute mcp:tools:read");
            assert_eq!(there.usual(), policy.catalogue.default_scopes());
        }
    }

    #[test]
    fn a_device_is_given_no_name_that_only_the_service_explains() {
        let mut device = device();
        let many: Vec<_> = (0..100).map(|number| format!("s{number}")).collect();
        device.scopes = format!("files:write mcp:admin openid mcp:tools:read {}", many.join(" ")).parse().unwrap();
        let scopes = of_device(&device, &policy());
        assert!(scopes.contains("files:write") && scopes.contains("mcp:tools:read"));
        assert!(!scopes.contains("mcp:admin") && !scopes.contains("openid"));
        assert_eq!(scopes.iter().count(), 1 + shared::state::MAX_OWN_SCOPES);
    }

    #[test]
    fn an_own_scope_is_explained_by_its_tools_in_our_words() {
        let catalogue = Catalogue::standard();
        let meaning = |scope: &str, has_tools| meaning(&catalogue, &scope.parse().unwrap(), has_tools).to_owned();
        assert_eq!(meaning("read-only", true), WITH_TOOLS);
        assert_eq!(meaning("read-only", false), WITHOUT_TOOLS);
        assert!(meaning("mcp:gone", true).contains("no longer explains"));
        assert!(meaning("mcp:tools:read", false).starts_with("Read with"));
    }
}
