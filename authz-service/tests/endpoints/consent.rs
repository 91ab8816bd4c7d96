//! Consent that speaks tools: what the page shows, and what unticking and a time limit lead to.

use shared::scope::Scopes;
use shared::secret::TokenHash;
use shared::state::{Change, Effect, Tool, Wanted};
use shared::uri::Resource;

use crate::support::person::{Form, Person};
use crate::support::{Options, Service, authorize_url, claims};

fn tool(name: &str, title: &str, effect: Effect, scopes: &str) -> Tool {
    Tool { name: name.parse().unwrap(), title: title.into(), effect, scopes: scopes.parse().unwrap(), print: None }
}

/// A service at which a server has announced its tools.
fn announced(tools: Vec<Tool>) -> Service {
    let service = Service::start();
    service.commit(Change::ToolsAnnounced {
        resource: Resource::stdio("default").unwrap(),
        tools,
        scopes: Scopes::default(),
    });
    service
}

fn usual() -> Service {
    announced(vec![
        tool("look", "Look things up", Effect::Read, "mcp:tools:read"),
        tool("write", "", Effect::Write, "mcp:tools:execute"),
        tool("purge", "<b>Purge\u{202e}", Effect::Destructive, "mcp:tools:execute mcp:tools:read"),
        tool("public", "Open", Effect::Read, ""),
        tool("elsewhere", "Not asked for", Effect::Read, "mcp:resources"),
    ])
}

const ASK: [(&str, &str); 1] = [("scope", "mcp:tools:read mcp:tools:execute offline_access")];

/// Answers the consent page with these boxes; the tokens.
fn tokens(
    service: &Service,
    person: &mut Person<'_>,
    client: &str,
    boxes: &[&str],
    lasting: &str,
) -> serde_json::Value {
    let form =
        Form::first(&person.get(&authorize_url(client, &ASK))).with("decision", "allow").with("lasting", lasting);
    let form = boxes.iter().fold(form, |form, name| form.with(name, "on"));
    let answer = person.submit(&form);
    let code = answer.redirected("code").unwrap_or_else(|| panic!("{} {}", answer.status, answer.text()));
    let answer = service.exchange(client, &code);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

const READ: &str = "scope:mcp:tools:read";
const RUN: &str = "scope:mcp:tools:execute";

#[test]
fn ui_11_the_page_shows_the_tools_behind_each_scope_with_what_they_do() {
    let service = usual();
    let client = service.public_client();
    let page = service.signed_in().get(&authorize_url(&client, &ASK));
    page.is_page(200);
    let text = page.text();
    for part in [
        "name=\"tool:look\" value=\"on\" checked",
        "Look things up</bdi> <span class=\"badge read\">only reads</span> <code><bdi>look</bdi></code>",
        "<bdi>write</bdi> <span class=\"badge write\">changes things</span>",
        "<bdi>&lt;b&gt;Purge</bdi> <span class=\"badge destructive\">can destroy things</span>",
        "name=\"scope:mcp:tools:read\" value=\"on\" checked",
        "name=\"lasting\" value=\"session\"",
        "2 tools</summary>",
        "Keep this access while you are away",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    for part in ["tool:public", "tool:elsewhere", "scope:offline_access", "<b>", "\u{202e}"] {
        assert!(!text.contains(part), "{part} in {text}");
    }
    assert_eq!(text.matches("name=\"tool:purge\"").count(), 1, "once, though it needs two scopes");
}

#[test]
fn ui_11_what_is_unticked_is_not_in_the_token_nor_in_the_grant() {
    let service = usual();
    let client = service.public_client();
    let mut ada = service.signed_in();
    let grant = |tokens: &serde_json::Value| {
        let grant = claims(tokens["access_token"].as_str().unwrap())["grant"].as_str().unwrap().parse().unwrap();
        service.facts(&Wanted { grant: Some(grant), ..Wanted::default() }).grant.unwrap()
    };
    let some = tokens(&service, &mut ada, &client, &[READ, "tool:look"], "revoked");
    assert_eq!(some["scope"], "mcp:tools:read offline_access");
    assert!(grant(&some).terms.is_none(), "nothing was left out of what the scope opens");
    let some = tokens(&service, &mut ada, &client, &[READ, RUN, "tool:look", "tool:write"], "revoked");
    assert_eq!(some["scope"], "mcp:tools:execute mcp:tools:read offline_access");
    let grant = grant(&some);
    assert_eq!(["look", "write", "purge", "new"].map(|tool| grant.allows(tool)), [true, true, false, false]);
    let page = ada.get("/account").text();
    let (all, only) = (page.find("<summary>1 tool<"), page.find("<summary>Only 2 tools<"));
    assert!(all.is_some() && only.is_some(), "{page}");
    let badge = "<bdi>write</bdi> <span class=\"badge write\">changes things</span>";
    assert!(page.contains(badge) && page.contains("<bdi>look</bdi>") && !page.contains("purge"), "{page}");
    // A refresh cannot get back what was left out.
    let refreshed = service.refresh(&client, some["refresh_token"].as_str().unwrap(), &[]).json();
    assert_eq!(claims(refreshed["access_token"].as_str().unwrap())["grant"], grant.id.to_string());
    let page =
        Form::first(&ada.get(&authorize_url(&client, &ASK))).with("decision", "allow").with("lasting", "revoked");
    let nothing = ada.submit(&page);
    nothing.is_page(400);
    assert!(nothing.text().contains("Nothing was ticked"));
    ada.submit(&page.clone().with("lasting", "for ever")).is_page(400);
    assert_eq!(ada.submit(&page.with(READ, "on")).status, 303, "the page is still good");
}

#[test]
fn one_hour_is_one_hour_whatever_is_refreshed() {
    let service = usual();
    let client = service.public_client();
    let hour = tokens(&service, &mut service.signed_in(), &client, &[READ, "tool:look"], "hour");
    assert_eq!((hour["scope"].as_str().unwrap(), hour["expires_in"].as_u64()), ("mcp:tools:read", Some(3600)));
    service.advance(1800);
    let answer = service.refresh(&client, hour["refresh_token"].as_str().unwrap(), &[]).json();
    assert_eq!(answer["expires_in"], 1800);
    service.advance(1801);
    service.refresh(&client, answer["refresh_token"].as_str().unwrap(), &[]).fails(400, "invalid_grant");
    assert!(service.signed_in().get("/account").text().contains("No app has access"));
}

#[test]
fn this_session_ends_with_the_login() {
    let service = usual();
    let client = service.public_client();
    let mut ada = service.signed_in();
    let bound = tokens(&service, &mut ada, &client, &[READ, RUN, "tool:look", "tool:write", "tool:purge"], "session");
    let lasting = tokens(&service, &mut ada, &client, &[READ, "tool:look"], "revoked");
    let alive = |tokens: &serde_json::Value| service.is_alive(tokens["access_token"].as_str().unwrap());
    assert!(alive(&bound) && alive(&lasting));
    let page = ada.get("/account").text();
    let out = (0..).map(|nth| Form::nth(&page, nth)).find(|form| form.action == "/logout").unwrap();
    ada.submit(&out).is_page(200);
    assert!(!alive(&bound) && alive(&lasting));
    service.refresh(&client, bound["refresh_token"].as_str().unwrap(), &[]).fails(400, "invalid_grant");
}

#[test]
fn a_tool_that_changes_while_the_page_is_open_makes_it_stale() {
    let service = usual();
    let client = service.public_client();
    let mut ada = service.signed_in();
    let form = Form::first(&ada.get(&authorize_url(&client, &ASK))).with("decision", "allow");
    let tools = vec![tool("look", "Look things up", Effect::Destructive, "mcp:tools:read")];
    service.commit(Change::ToolsAnnounced {
        resource: Resource::stdio("default").unwrap(),
        tools,
        scopes: Scopes::default(),
    });
    ada.submit(&form).is_page(400);
    assert_eq!(service.count("codes"), 0);
    let again = ada.get(&authorize_url(&client, &ASK)).text();
    assert!(again.contains("Look things up</bdi> <span class=\"badge destructive\">"), "{again}");
}

#[test]
fn c9_as_many_tools_as_are_kept_fit_one_form() {
    let many =
        (0..200).map(|n| tool(&format!("{n:0>128}"), &"T".repeat(128), Effect::Write, "mcp:tools:read")).collect();
    let service = announced(many);
    let client = service.public_client();
    let mut ada = service.signed_in();
    let text = ada.get(&authorize_url(&client, &ASK)).text();
    let names: Vec<_> = text.split("name=\"tool:").skip(1).map(|rest| format!("tool:{}", &rest[..128])).collect();
    assert_eq!(names.len(), 128);
    let mut boxes: Vec<_> = names.iter().map(String::as_str).collect();
    boxes.extend([READ, RUN]);
    tokens(&service, &mut ada, &client, &boxes, "hour");
}

#[test]
fn ui_16_a_consent_is_remembered_until_it_is_revoked_and_never_for_a_page_of_another_site() {
    let service =
        Service::with(&Options { policy: Some(|policy| policy.remember_consent = true), ..Options::default() });
    let client = service.public_client();
    let mut ada = service.signed_in();
    let url = authorize_url(&client, &ASK);
    let is_asked = |answer: &crate::support::http::Answer| answer.status == 200 && answer.redirected("code").is_none();
    assert!(is_asked(&ada.open(&url)), "the first time");
    let code = ada.consent(&url, "allow").redirected("code").unwrap();
    assert!(is_asked(&ada.open(&url)), "no token was taken yet");
    let first = service.exchange(&client, &code).json();
    let code = ada.open(&url).redirected("code").expect("not asked again");
    let second = service.exchange(&client, &code).json();
    assert_eq!(first["scope"], second["scope"]);
    for page in [
        ada.get(&url),
        ada.open(&format!("{url}&prompt=consent")),
        ada.open(&authorize_url(&service.public_client(), &ASK)),
        ada.open(&authorize_url(&client, &[("scope", "mcp:tools:read mcp:resources")])),
        service.signed_in_as_new("bob").open(&url),
    ] {
        assert!(is_asked(&page), "{} {:?}", page.status, page.header("location"));
    }
    let mut elsewhere = service.signed_in();
    elsewhere.cookies.clear();
    assert!(elsewhere.open(&url).text().contains("name=\"password\""), "nobody is logged in");
    // A denial, or a consent for an hour, is nothing to remember; a revocation forgets.
    let page = ada.get("/account").text();
    let form = (0..).map(|nth| Form::nth(&page, nth)).find(|form| form.fields.iter().any(|(name, _)| name == "client"));
    assert_eq!(ada.submit(&form.unwrap().with("action", "revoke")).status, 303);
    assert!(is_asked(&ada.open(&url)));
    assert_eq!(ada.consent(&url, "deny").redirected("error").as_deref(), Some("access_denied"));
    assert!(is_asked(&ada.open(&url)));
    tokens(&service, &mut ada, &client, &[READ, RUN], "hour");
    assert!(is_asked(&ada.open(&url)));
}

#[test]
fn ui_16_by_default_a_person_is_always_asked() {
    let service = Service::start();
    let client = service.public_client();
    service.tokens(&client);
    let page = service.signed_in().open(&authorize_url(&client, &[]));
    page.is_page(200);
    assert!(page.text().contains("Allow access?"));
}

#[test]
fn ui_11_a_servers_own_scope_has_a_box_with_its_tools_and_opens_that_server_alone() {
    let service = Service::start();
    let resource = Resource::stdio("files").unwrap();
    let tools = vec![
        tool("save", "Save a file", Effect::Destructive, "files:write mcp:tools:execute"),
        tool("look", "", Effect::Read, "mcp:tools:read"),
        tool("lie", "", Effect::Read, "</code><b>only-reads"),
        tool("posing", "", Effect::Read, "openid"),
        tool("taking", "", Effect::Read, "MCP:tools:all"),
    ];
    service.commit(Change::ToolsAnnounced { resource: resource.clone(), tools, scopes: "docs:read".parse().unwrap() });
    let all = "</code><b>only-reads docs:read files:write mcp:tools mcp:resources openid MCP:tools:all mcp:tools:all";
    let ask = |resource: &'static str| [("scope", all), ("resource", resource)];
    let (client, mut ada) = (service.public_client(), service.signed_in());
    let page = ada.get(&authorize_url(&client, &ask("urn:mcp:stdio:files"))).text();
    for part in [
        "name=\"scope:files:write\" value=\"on\" checked><span>Use the tools below: a permission of this server&#x27;s own",
        "name=\"scope:docs:read\" value=\"on\" checked><span>Use what the server keeps behind a permission of its own",
        "name=\"tool:save\" value=\"on\" checked",
        "<span class=\"badge destructive\">can destroy things</span> <code><bdi>save</bdi></code>",
        "&lt;&#x2f;code&gt;&lt;b&gt;only-reads",
    ] {
        assert!(page.contains(part), "{part} in {page}");
    }
    for part in ["<b>", "scope:openid", "MCP:tools", "mcp:tools:all", "tool:posing", "tool:taking"] {
        assert!(!page.contains(part), "{part} in {page}");
    }
    let (own, usual) =
        (page.find("name=\"scope:files:write").unwrap(), page.find("name=\"scope:mcp:resources").unwrap());
    assert!(usual < own && own < page.find("name=\"tool:save").unwrap(), "what we explain comes first: {page}");
    let form = Form::nth(&page, 0).with("decision", "allow").with("lasting", "hour");
    let form =
        ["scope:files:write", RUN, "tool:save", "scope:openid"].iter().fold(form, |form, name| form.with(name, "on"));
    let answer = ada.submit(&form);
    let code = answer.redirected("code").unwrap_or_else(|| panic!("{} {}", answer.status, answer.text()));
    assert_eq!(service.exchange(&client, &code).json()["scope"], "files:write mcp:tools:execute");
    assert!(ada.get("/account").text().contains("a permission of this server&#x27;s own"));
    // Another server's scopes are not there, and nothing of them is.
    let page = ada.get(&authorize_url(&client, &ask("urn:mcp:stdio:other"))).text();
    assert!(page.contains("scope:mcp:resources") && !page.contains("files:write"), "{page}");
    let only = [("scope", "files:write"), ("resource", "urn:mcp:stdio:other")];
    assert_eq!(ada.get(&authorize_url(&client, &only)).redirected("error").as_deref(), Some("invalid_scope"));
    // Who names nothing is asked for them too.
    let page = ada.get(&authorize_url(&client, &[("resource", "urn:mcp:stdio:files")])).text();
    assert!(page.contains("scope:files:write") && page.contains("scope:docs:read"), "{page}");
    for path in ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"] {
        let document = service.get(path).json();
        let scopes: Vec<_> =
            document["scopes_supported"].as_array().unwrap().iter().map(|scope| scope.as_str().unwrap()).collect();
        let expected = [
            "</code><b>only-reads",
            "docs:read",
            "files:write",
            "mcp:resources",
            "mcp:tools:execute",
            "mcp:tools:read",
            "offline_access",
        ];
        assert_eq!(scopes, expected, "{path}");
    }
}

/// A server's one tool, which says this of itself.
fn saying(words: &str) -> Change {
    let print = Some(TokenHash::of(words.as_bytes()));
    let tool = Tool { print, ..tool("look", "Look things up", Effect::Read, "mcp:tools:read") };
    Change::ToolsAnnounced {
        resource: Resource::stdio("default").unwrap(),
        tools: vec![tool],
        scopes: Scopes::default(),
    }
}

#[test]
fn n15_a_tool_that_became_another_is_marked_until_its_person_agrees_to_it_as_it_is() {
    const MARK: &str = "changed since you agreed";
    let service = Service::start();
    service.commit(saying("Looks."));
    let (client, other) = (service.public_client(), service.public_client());
    let mut ada = service.signed_in();
    let shown = |tokens: &serde_json::Value| {
        let grant = claims(tokens["access_token"].as_str().unwrap())["grant"].as_str().unwrap().parse().unwrap();
        let grant = service.facts(&Wanted { grant: Some(grant), ..Wanted::default() }).grant.unwrap();
        *grant.shown().unwrap().get("look").unwrap()
    };
    let page = |person: &mut Person<'_>, client: &str| person.get(&authorize_url(client, &ASK)).text();
    assert!(!page(&mut ada, &client).contains(MARK), "nobody agreed to anything yet");
    let first = tokens(&service, &mut ada, &client, &[READ, "tool:look"], "revoked");
    assert_eq!(shown(&first), TokenHash::of(b"Looks."));
    service.advance(1);
    assert!(!page(&mut ada, &client).contains(MARK) && !ada.get("/account").text().contains(MARK));
    service.commit(saying("Looks, and tells mallory."));
    // Whichever app asks: it is the same person, and the same server.
    for app in [&client, &other] {
        let text = page(&mut ada, app);
        assert!(text.contains(MARK) && text.contains("One tool says something else of itself"), "{text}");
    }
    assert!(ada.get("/account").text().contains(MARK));
    let second = tokens(&service, &mut ada, &client, &[READ, "tool:look"], "revoked");
    assert_eq!(shown(&second), TokenHash::of(b"Looks, and tells mallory."));
    assert!(!page(&mut ada, &other).contains(MARK), "agreed");
    assert!(ada.get("/account").text().contains(MARK), "the first grant is still to what the tool was");
    // A refresh is no consent.
    let refreshed = service.refresh(&client, first["refresh_token"].as_str().unwrap(), &[]).json();
    assert_eq!(shown(&refreshed), TokenHash::of(b"Looks."));
}
