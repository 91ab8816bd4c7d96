//! The device authorization request, and the person's answer to it (RFC 8628 sections 3.1 to 3.3).

use serde::{Deserialize, Serialize};
use shared::id::{ClientId, GrantId, UserName};
pub use shared::oauth::device::UserCode;
use shared::oauth::form::Parameters;
use shared::oauth::register::GrantType;
use shared::scope::Scopes;
use shared::secret::{Secret, TokenHash};
use shared::state::{
    Change, Client, ClientOrigin, Device, DeviceStage, Facts, Grant, GrantStage, Prints, Session, Terms, Tool, Wanted,
};
use shared::time::Timestamp;

use super::Verdict;
use super::authorize::{self, live_session};
use super::choice::{self, Choice, Chosen, Offer};
use super::cimd;
use super::client_auth::Presented;
use super::grantable::{self, Grantable};
use super::interact::Decision;
use super::policy::{DEVICE_LIFETIME, Policy};
use super::refusal::Refusal;
use super::token::registered;

/// A device authorization request, read but not believed.
#[derive(Debug)]
pub struct DeviceRequest {
    /// Who says to be asking.
    pub client: Presented,
    scope: Option<String>,
    resource: Option<String>,
    details: Option<String>,
}

/// What the shell draws for a request.
#[derive(Debug)]
pub struct FreshDevice {
    /// What the device polls with.
    pub code: Secret,
    /// The hash of what the person types.
    pub user_code: TokenHash,
    /// The name of the grant, when nobody is asked.
    pub grant: GrantId,
}

impl DeviceRequest {
    /// Reads the parameters.
    ///
    /// # Errors
    /// When no client can be made out.
    pub fn parse(authorization: Option<&[u8]>, mut body: Parameters) -> Result<Self, Refusal> {
        let client = Presented::read(authorization, &mut body)?;
        let [scope, resource, details] = ["scope", "resource", "authorization_details"].map(|name| body.take(name));
        Ok(Self { client, scope, resource, details })
    }

    /// The records to decide on.
    pub fn wants(&self, policy: &Policy) -> Wanted {
        Wanted { tools_of: policy.resource(self.resource.as_deref()).ok(), ..self.client.wants() }
    }
}

/// Decides on a device authorization request: a device that waits, or why not.
pub fn decide(
    request: &DeviceRequest,
    facts: &Facts,
    policy: &Policy,
    fresh: &FreshDevice,
    now: Timestamp,
) -> Verdict<ClientId> {
    let client = match request.client.authenticate(facts, &policy.issuer, now) {
        Ok(client) => client,
        Err(refusal) => return Verdict::unchanged(Err(refusal)),
    };
    let asked = registered(&client, GrantType::DeviceCode).and_then(|()| {
        authorize::no_details(request.details.as_deref())?;
        let named = policy.resource(request.resource.as_deref());
        // Which scopes there are depends on the server; a wrong scope is told before a wrong server, all the same.
        let resource = named.as_ref().unwrap_or(&policy.default_resource);
        let grantable = Grantable::of(policy, facts, resource);
        let scopes = authorize::scopes(request.scope.as_deref(), client.record(), &grantable)?;
        Ok((scopes, named?))
    });
    let verdict = match asked {
        Ok((scopes, resource)) => {
            let device = Device {
                hash: fresh.code.hash(),
                user_code: fresh.user_code,
                client: client.record().id.clone(),
                scopes,
                resource,
                expires: now + DEVICE_LIFETIME,
                stage: DeviceStage::Waiting,
            };
            // Development only: nobody is asked.
            let approved = policy
                .auto_approve
                .as_ref()
                .map(|user| approved(&device, user, Chosen::everything(&device.scopes), fresh.grant, now));
            // A client that came by its document becomes known, so that the person can be told who waits.
            let described = cimd::change(client.record());
            let changes = described.into_iter().chain([Change::DeviceAsked(device)]).chain(approved).collect();
            Verdict { changes, reply: Ok(client.record().id.clone()) }
        }
        Err(refusal) => Verdict::unchanged(Err(refusal)),
    };
    verdict.after(client.spent())
}

fn approved(device: &Device, user: &UserName, chosen: Chosen, grant: GrantId, now: Timestamp) -> Change {
    let (terms, session) = (chosen.kept_terms(), chosen.session);
    let grant = Grant {
        id: grant,
        user: Some(user.clone()),
        client: device.client.clone(),
        resource: device.resource.clone(),
        scopes: chosen.scopes,
        created: now,
        stage: GrantStage::Consented,
        terms,
    };
    Change::DeviceApproved { device: device.hash, grant, session }
}

/// Decides on a device whose link was opened where nobody is asked: development only. The reply says for whom.
pub fn unasked(facts: &Facts, policy: &Policy, grant: GrantId, now: Timestamp) -> Verdict<UserName> {
    let user = match &policy.auto_approve {
        Some(user) => user.clone(),
        None => return Verdict::unchanged(Err(Refusal::NotLoggedIn)),
    };
    let waits = |device: &&Device| device.stage == DeviceStage::Waiting && device.expires > now;
    match (facts.device.as_ref().filter(waits), &facts.client) {
        (Some(device), Some(client)) => {
            let chosen = Chosen::everything(&grantable::of_device(device, policy));
            let chosen = Chosen { terms: ended(chosen.terms, client, policy, now), ..chosen };
            Verdict { changes: vec![approved(device, &user, chosen, grant, now)], reply: Ok(user) }
        }
        _ => Verdict::unchanged(Err(Refusal::UserCode)),
    }
}

/// What a person is asked about a device.
#[derive(Debug)]
pub struct Asked<'a> {
    /// The device.
    pub device: &'a Device,
    /// Its client.
    pub client: &'a Client,
    /// The login of who is asked.
    pub session: &'a Session,
    /// What is asked for: plain scopes that can be granted.
    pub scopes: Scopes,
    /// The tools that the scopes open, as far as their server announced them.
    pub tools: Vec<Tool>,
    /// What the tools were when the person last agreed to them.
    pub agreed: &'a Prints,
}

impl Asked<'_> {
    /// Who is asked.
    pub fn user(&self) -> &UserName {
        &self.session.user
    }

    /// What the page offers to choose from.
    pub fn offer(&self) -> Offer<'_> {
        Offer { scopes: &self.scopes, tools: &self.tools, agreed: self.agreed }
    }
}

/// Finds the device behind a typed code, for somebody who is logged in.
///
/// # Errors
/// When nobody is, or no device waits with the code: nobody learns whether one did.
pub fn find<'a>(facts: &'a Facts, policy: &Policy, now: Timestamp) -> Result<Asked<'a>, Refusal> {
    let session = live_session(facts, now).ok_or(Refusal::NotLoggedIn)?;
    let waits = |device: &&Device| device.stage == DeviceStage::Waiting && device.expires > now;
    let device = facts.device.as_ref().filter(waits).ok_or(Refusal::UserCode)?;
    let client = facts.client.as_ref().filter(|client| client.id == device.client).ok_or(Refusal::UserCode)?;
    let announced = facts.tools.iter().filter(|announced| announced.resource == device.resource);
    let scopes = grantable::of_device(device, policy);
    let tools = announced.flat_map(|announced| announced.opened_by(&scopes)).cloned().collect();
    Ok(Asked { device, client, session, scopes, tools, agreed: &facts.agreed })
}

/// What the page that asks carries through the browser, under a seal of ours: which device, when it was shown, and
/// what of it can change. The device's own record is written once.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Shown {
    /// The device.
    pub device: TokenHash,
    /// The name of the grant to be, so that a page is answered once.
    pub grant: GrantId,
    /// What the client said about itself: another document is another client (N15).
    pub client: TokenHash,
    /// The tools behind the scopes, as one hash.
    pub tools: TokenHash,
    /// When the page was made.
    pub issued: Timestamp,
}

impl Shown {
    /// For a page that shows this now.
    pub fn of(asked: &Asked<'_>, grant: GrantId, now: Timestamp) -> Self {
        let (client, tools) = (cimd::fingerprint(asked.client), choice::print_of(&asked.tools));
        Self { device: asked.device.hash, grant, client, tools, issued: now }
    }

    /// The records to decide on.
    pub fn wants(&self, session: TokenHash) -> Wanted {
        Wanted { session: Some(session), device: Some(self.device), grant: Some(self.grant), ..Wanted::default() }
    }
}

/// Decides on the person's answer; the reply says who gave it.
pub fn answer(
    shown: &Shown,
    decision: Decision,
    choice: &Choice,
    facts: &Facts,
    policy: &Policy,
    now: Timestamp,
) -> Verdict<UserName> {
    let asked = match asked(shown, facts, policy, now) {
        Ok(asked) => asked,
        Err(refusal) => return Verdict::unchanged(Err(refusal)),
    };
    let change = match decision {
        Decision::Allow => match choice.apply(asked.offer(), asked.session, now) {
            Ok(chosen) => {
                let chosen = Chosen { terms: ended(chosen.terms, asked.client, policy, now), ..chosen };
                approved(asked.device, asked.user(), chosen, shown.grant, now)
            }
            Err(refusal) => return Verdict::unchanged(Err(refusal)),
        },
        Decision::Deny => Change::DeviceDenied { device: shown.device, user: asked.user().clone() },
    };
    Verdict { changes: vec![change], reply: Ok(asked.user().clone()) }
}

/// A program on this machine gets one token, which lasts as long as the grant: the grant says when that ends. Refresh
/// tokens would end it for others.
fn ended(terms: Terms, client: &Client, policy: &Policy, now: Timestamp) -> Terms {
    let last = (client.origin == ClientOrigin::Local).then(|| now + policy.lifetimes.refresh_absolute);
    Terms { until: terms.until.or(last), ..terms }
}

fn asked<'a>(shown: &Shown, facts: &'a Facts, policy: &Policy, now: Timestamp) -> Result<Asked<'a>, Refusal> {
    live_session(facts, now).ok_or(Refusal::NotLoggedIn)?;
    if shown.issued + policy.lifetimes.page < now {
        return Err(Refusal::PageExpired);
    }
    let device = facts.device.as_ref().filter(|device| device.hash == shown.device).ok_or(Refusal::PageExpired)?;
    if device.stage != DeviceStage::Waiting {
        return Err(Refusal::PageAnswered);
    }
    let asked = find(facts, policy, now).map_err(|_| Refusal::PageExpired)?;
    let same = cimd::fingerprint(asked.client) == shown.client && choice::print_of(&asked.tools) == shown.tools;
    if same { Ok(asked) } else { Err(Refusal::PageExpired) }
}

#[cfg(test)]
mod tests {
    use shared::oauth::form;
    use shared::state::{Announcement, Effect};

    use super::*;
    use crate::protocol::policy::DEVICE_LIFETIME;
    use crate::protocol::sample::{NOW, client, device, facts, fresh_device, grant, may, policy, user, with_session};

    fn ask(more: &[(&str, &str)], change: impl FnOnce(&mut Facts)) -> Result<Device, Refusal> {
        let mut facts = facts();
        may(&mut facts, &[GrantType::DeviceCode]);
        change(&mut facts);
        let body = form::encode(&[&[("client_id", client().id.as_str())], more].concat());
        let request = DeviceRequest::parse(None, Parameters::parse(&body).unwrap()).unwrap();
        let verdict = decide(&request, &facts, &policy(), &fresh_device(), NOW);
        verdict.reply?;
        let [Change::DeviceAsked(device)] = &verdict.changes[..] else { panic!("{:?}", verdict.changes) };
        Ok(device.clone())
    }

    #[test]
    fn a_device_asks_within_what_its_client_registered() {
        let asked = ask(&[("scope", "mcp:tools unknown"), ("resource", "URN:mcp:stdio:a")], |_| {}).unwrap();
        assert_eq!((asked.hash, asked.user_code), (fresh_device().code.hash(), fresh_device().user_code));
        assert_eq!((asked.expires, asked.stage), (NOW + DEVICE_LIFETIME, DeviceStage::Waiting));
        let said = format!("{} {}", asked.resource, asked.scopes);
        assert_eq!(said, "urn:mcp:stdio:a mcp:tools:execute mcp:tools:read");
        assert!(!ask(&[], |_| {}).unwrap().scopes.is_empty());
        assert_eq!(ask(&[("scope", "unknown")], |_| {}).unwrap_err(), Refusal::UnknownScope);
        let target = ask(&[("resource", "https://other.example")], |_| {}).unwrap_err();
        assert!(matches!(target, Refusal::Target(_)));
        let details = ask(&[("authorization_details", "[{}]")], |_| {}).unwrap_err();
        assert!(matches!(details, Refusal::AuthorizationDetails(_)));
        let other = |facts: &mut Facts| may(facts, &[GrantType::AuthorizationCode]);
        assert_eq!(ask(&[], other).unwrap_err(), Refusal::GrantNotRegistered(GrantType::DeviceCode.as_str()));
        assert!(matches!(ask(&[], |facts| facts.client = None).unwrap_err(), Refusal::Client { .. }));
    }

    #[test]
    fn nobody_is_asked_in_development_mode() {
        let mut policy = policy();
        policy.auto_approve = Some(user().name);
        let mut facts = facts();
        may(&mut facts, &[GrantType::DeviceCode]);
        let body = Parameters::parse(&form::encode(&[("client_id", client().id.as_str())])).unwrap();
        let request = DeviceRequest::parse(None, body).unwrap();
        let verdict = decide(&request, &facts, &policy, &fresh_device(), NOW);
        let [Change::DeviceAsked(device), Change::DeviceApproved { device: hash, grant, .. }] = &verdict.changes[..]
        else {
            panic!("{:?}", verdict.changes)
        };
        assert_eq!((device.hash, grant.id, grant.subject()), (*hash, fresh_device().grant, "ada"));
    }

    fn shown() -> Shown {
        Shown::of(&find(&with_device(|_| {}), &policy(), NOW).unwrap(), grant().id, NOW)
    }

    fn with_device(change: impl FnOnce(&mut Facts)) -> Facts {
        let mut facts = Facts { device: Some(device()), ..with_session() };
        change(&mut facts);
        facts
    }

    #[test]
    fn a_yes_makes_the_grant_that_was_shown_and_a_no_none() {
        let verdict = answer(&shown(), Decision::Allow, &Choice::EVERYTHING, &with_device(|_| {}), &policy(), NOW);
        assert_eq!(verdict.reply.unwrap(), user().name);
        let [Change::DeviceApproved { device: hash, grant: made, .. }] = &verdict.changes[..] else { panic!() };
        assert_eq!((*hash, made.id, &made.client), (device().hash, grant().id, &client().id));
        assert_eq!((&made.scopes, made.subject(), made.stage), (&device().scopes, "ada", GrantStage::Consented));
        let verdict = answer(&shown(), Decision::Deny, &Choice::EVERYTHING, &with_device(|_| {}), &policy(), NOW);
        assert!(matches!(&verdict.changes[..], [Change::DeviceDenied { .. }]));
    }

    #[test]
    fn a_program_on_this_machine_is_given_an_end_for_it_cannot_be_told_later() {
        let end = NOW + policy().lifetimes.refresh_absolute;
        for (origin, until) in [(ClientOrigin::Dynamic, None), (ClientOrigin::Local, Some(end))] {
            let facts = with_device(|facts| facts.client.as_mut().unwrap().origin = origin);
            let shown = Shown::of(&find(&facts, &policy(), NOW).unwrap(), grant().id, NOW);
            let verdict = answer(&shown, Decision::Allow, &Choice::EVERYTHING, &facts, &policy(), NOW);
            let [Change::DeviceApproved { grant: made, .. }] = &verdict.changes[..] else { panic!() };
            assert_eq!(made.until(), until);
        }
    }

    fn announced() -> Announcement {
        let tool = |name: &str, scopes: &str| {
            let (name, scopes) = (name.parse().unwrap(), scopes.parse().unwrap());
            (Tool { name, title: String::new(), effect: Effect::Read, scopes, print: None }, NOW)
        };
        let tools = vec![tool("look", "mcp:tools:read"), tool("find", "mcp:tools:read"), tool("hidden", "mcp:prompts")];
        Announcement { resource: device().resource, tools, scopes: vec![] }
    }

    #[test]
    fn ui_11_what_is_not_ticked_is_not_granted_to_a_device() {
        let facts = with_device(|facts| {
            facts.device.as_mut().unwrap().scopes = "mcp:tools:read mcp:tools:execute".parse().unwrap();
            facts.tools = Some(announced());
        });
        let asked = find(&facts, &policy(), NOW).unwrap();
        let names: Vec<_> = asked.tools.iter().map(|tool| tool.name.as_str()).collect();
        assert_eq!(names, ["look", "find"]);
        let shown = Shown::of(&asked, grant().id, NOW);
        let outcome = |fields: &[(&str, &str)]| {
            let choice = Choice::read(&Parameters::parse(&form::encode(fields)).unwrap()).unwrap();
            let verdict = answer(&shown, Decision::Allow, &choice, &facts, &policy(), NOW);
            verdict.reply.map(|_| verdict.changes)
        };
        let read = ("scope:mcp:tools:read", "on");
        let changes = outcome(&[("lasting", "session"), read, ("tool:look", "on"), ("tool:hidden", "on")]).unwrap();
        let [Change::DeviceApproved { grant, session, .. }] = &changes[..] else { panic!("{changes:?}") };
        let terms = grant.terms.as_ref().unwrap();
        assert_eq!((grant.scopes.to_string().as_str(), terms.until), ("mcp:tools:read", Some(asked.session.expires)));
        assert_eq!((grant.allows("look"), grant.allows("find"), grant.allows("hidden")), (true, false, false));
        assert_eq!(*session, Some(asked.session.hash));
        assert_eq!(outcome(&[("lasting", "revoked")]).unwrap_err(), Refusal::NothingChosen);
        let other = Facts {
            tools: Some(Announcement { resource: "urn:mcp:stdio:b".parse().unwrap(), ..announced() }),
            ..facts.clone()
        };
        assert!(find(&other, &policy(), NOW).unwrap().tools.is_empty());
    }

    #[test]
    fn an_answer_counts_once_in_time_by_somebody_logged_in() {
        let late = NOW + DEVICE_LIFETIME;
        #[track_caller]
        fn check(change: impl FnOnce(&mut Facts), at: Timestamp, why: Refusal) {
            let mut facts = with_device(|facts| facts.session.as_mut().unwrap().expires = at + DEVICE_LIFETIME);
            change(&mut facts);
            for decision in [Decision::Allow, Decision::Deny] {
                let verdict = answer(&shown(), decision, &Choice::EVERYTHING, &facts, &policy(), at);
                assert_eq!(verdict.reply.unwrap_err(), why);
                assert!(verdict.changes.is_empty());
            }
        }
        check(|facts| facts.session = None, NOW, Refusal::NotLoggedIn);
        check(|facts| facts.device = None, NOW, Refusal::PageExpired);
        check(|_| {}, late, Refusal::PageExpired);
        check(|facts| facts.device.as_mut().unwrap().stage = DeviceStage::Denied, NOW, Refusal::PageAnswered);
        let approved = DeviceStage::Approved(grant().id);
        check(|facts| facts.device.as_mut().unwrap().stage = approved, NOW, Refusal::PageAnswered);
        check(|facts| facts.client = None, NOW, Refusal::PageExpired);
        check(|facts| facts.client.as_mut().unwrap().name = Some("Other".into()), NOW, Refusal::PageExpired);
        check(|facts| facts.tools = Some(announced()), NOW, Refusal::PageExpired);
    }

    #[test]
    fn only_a_waiting_device_is_found() {
        let now = NOW;
        assert_eq!(find(&with_device(|_| {}), &policy(), now).unwrap().user(), &user().name);
        assert_eq!(find(&with_device(|facts| facts.session = None), &policy(), now).unwrap_err(), Refusal::NotLoggedIn);
        for change in [
            (|facts: &mut Facts| facts.device = None) as fn(&mut Facts),
            |facts| facts.device.as_mut().unwrap().stage = DeviceStage::Redeemed,
            |facts| facts.device.as_mut().unwrap().expires = NOW,
            |facts| facts.client = None,
        ] {
            assert_eq!(find(&with_device(change), &policy(), now).unwrap_err(), Refusal::UserCode);
        }
    }
}
