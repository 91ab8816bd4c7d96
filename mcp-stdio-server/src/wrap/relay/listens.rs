//! News of changes, across the eras: a modern host opens a stream for them, an old one just hears them.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use shared::store::calls::Outcome;
use tokio::task::JoinHandle;

use super::greeting::Own;
use super::{Pending, Relay};
use crate::credential::{self, Presented};
use crate::guard::Access;
use crate::listing::{self, Told};
use crate::wrap::Wrapped;
use crate::wrap::message::{self, Id, meta, meta_mut, param, params_mut};
use crate::wrap::rules::Verdict;

/// What a modern host listens to.
pub(super) struct Listen {
    /// The kinds of lists.
    kinds: Vec<&'static str>,
    resources: Vec<String>,
}

/// A task that ends with this.
pub(super) struct Watching(JoinHandle<()>);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Each kind of list, and its member of a filter.
const KINDS: [(&str, &str); 3] =
    [("tools", "toolsListChanged"), ("prompts", "promptsListChanged"), ("resources", "resourcesListChanged")];

impl Relay {
    /// A request about news that the server would not understand. Whether it was one.
    pub(super) fn listened(&mut self, pending: &Pending, message: &Map<String, Value>) -> bool {
        match (pending.method.as_str(), pending.is_modern, self.server_is_modern()) {
            ("subscriptions/listen", true, Some(false)) => self.open(&pending.host_id, message),
            (method @ ("resources/subscribe" | "resources/unsubscribe"), false, Some(is_modern)) => {
                self.remember(message, method == "resources/subscribe");
                if !is_modern {
                    return false;
                }
                self.tell(&message::success(&pending.host_id, json!({})));
                if let Some(underway) = &pending.underway {
                    underway.ended(Outcome::Ok);
                }
                self.listen_for_host();
            }
            _ => return false,
        }
        true
    }

    /// Opens a modern host's stream of an old server's news.
    fn open(&mut self, id: &Id, message: &Map<String, Value>) {
        let filter = param(message, "notifications").cloned().unwrap_or_default();
        let wants = |member: &str| filter.get(member).and_then(Value::as_bool).unwrap_or(false);
        let can = |kind: &str, part: &str| self.server().is_some_and(|server| server.can(kind, Some(part)));
        let kinds: Vec<_> = KINDS
            .into_iter()
            .filter(|(kind, member)| wants(member) && can(kind, "listChanged"))
            .map(|(kind, _)| kind)
            .collect();
        let asked = filter.get("resourceSubscriptions").and_then(Value::as_array).into_iter().flatten();
        let resources: Vec<_> = match can("resources", "subscribe") {
            // What has to be allowed first is read, not listened to: the news say only that something has changed.
            true => asked.filter_map(|uri| uri.as_str().map(str::to_owned)).take(super::MOST).collect(),
            false => Vec::new(),
        };
        let mut agreed = Map::new();
        for (kind, member) in KINDS {
            if kinds.contains(&kind) {
                agreed.insert(member.to_owned(), true.into());
            }
        }
        if !resources.is_empty() {
            agreed.insert("resourceSubscriptions".to_owned(), json!(resources));
        }
        let about = json!({ meta::SUBSCRIPTION: id.value() });
        self.tell(&message::notification(
            "notifications/subscriptions/acknowledged",
            json!({ "_meta": about, "notifications": agreed }),
        ));
        for uri in &resources {
            if !self.listens.values().any(|listen| listen.resources.contains(uri)) {
                self.ask(Own::Other, "resources/subscribe", json!({ "uri": uri }));
            }
        }
        self.listens.insert(id.clone(), Listen { kinds, resources });
    }

    /// Watches for a subscription, as far as it wants to hear of lists.
    pub(super) fn watch_for_subscription(&mut self, id: &Id, message: &Map<String, Value>) {
        let filter = param(message, "notifications");
        let wants = |member: &str| filter.and_then(|filter| filter.get(member)).and_then(Value::as_bool) == Some(true);
        // Of tools the wrapper has news itself. What the server has no news of, it does not agree to.
        let has =
            |kind: &str| kind == "tools" || self.server().is_some_and(|server| server.can(kind, Some("listChanged")));
        let kinds: Vec<_> = KINDS.into_iter().filter(|(kind, member)| wants(member) && has(kind)).collect();
        self.watch(Some(id), message, kinds.into_iter().map(|(kind, _)| kind));
    }

    /// Watches for a host of the `initialize` era. A server whose list never changes has told its host so.
    pub(super) fn watch_for_host(&mut self) {
        let can = |kind: &str| self.server().is_some_and(|server| server.can(kind, Some("listChanged")));
        let kinds: Vec<_> = KINDS.into_iter().map(|(kind, _)| kind).filter(|kind| can(kind)).collect();
        self.watch(None, &Map::new(), kinds.into_iter());
    }

    /// Tells the host when its credentials, or those of a subscription, let lists of these kinds show something else: a
    /// person signed in, or took it back.
    fn watch(
        &mut self,
        subscription: Option<&Id>,
        message: &Map<String, Value>,
        kinds: impl Iterator<Item = &'static str>,
    ) {
        let mut members = param(message, "_meta").and_then(Value::as_object).cloned();
        let presented = credential::take(members.as_mut(), None);
        let params = match subscription {
            Some(id) => json!({ "_meta": { meta::SUBSCRIPTION: id.value() } }),
            None => json!({}),
        };
        let line =
            |kind| message::line(&message::notification(&format!("notifications/{kind}/list_changed"), params.clone()));
        let lines: Vec<u8> = kinds.flat_map(line).collect();
        if lines.is_empty() {
            return;
        }
        let told = Told::Lines(self.host.clone(), lines);
        let watching = tokio::spawn(listing::watch(Arc::clone(&self.wrapped.gate), presented, told));
        self.watching.insert(subscription.cloned(), Watching(watching));
    }

    /// Closes a stream that the host no longer wants. Whether it was one.
    pub(super) fn unlisten(&mut self, id: &Id) -> bool {
        self.watching.remove(&Some(id.clone()));
        let Some(closed) = self.listens.remove(id) else { return false };
        for uri in closed.resources {
            if !self.listens.values().any(|listen| listen.resources.contains(&uri)) {
                self.ask(Own::Other, "resources/unsubscribe", json!({ "uri": uri }));
            }
        }
        true
    }

    /// Ends the streams in an orderly way.
    pub(super) fn close_listens(&mut self) {
        for (id, _) in std::mem::take(&mut self.listens) {
            let result = json!({ "resultType": "complete", "_meta": { meta::SUBSCRIPTION: id.value() } });
            self.tell(&message::success(&id, result));
        }
    }

    /// A notification of an old server's, for whoever listens to it.
    pub(super) fn heard_for_listens(&mut self, method: &str, message: Map<String, Value>, mut line: Vec<u8>) {
        let is_meant = |listen: &Listen| match method {
            "notifications/resources/updated" => {
                let uri = param(&message, "uri").and_then(Value::as_str).unwrap_or_default();
                listen.resources.iter().any(|known| known == uri)
            }
            _ => KINDS
                .iter()
                .any(|(kind, _)| method == format!("notifications/{kind}/list_changed") && listen.kinds.contains(kind)),
        };
        for (id, _) in self.listens.iter().filter(|(_, listen)| is_meant(listen)) {
            let mut message = message.clone();
            meta_mut(params_mut(&mut message)).insert(meta::SUBSCRIPTION.to_owned(), id.value());
            self.tell(&Value::Object(message));
        }
        let wants_log = || {
            let level = |pending: &Pending| {
                pending.message.as_ref().is_some_and(|sent| message::meta_of(sent, meta::LOG_LEVEL).is_some())
            };
            self.pending.values().any(level)
        };
        match method {
            "notifications/progress" => {}
            "notifications/message" if wants_log() => {}
            _ => return,
        }
        line.push(b'\n');
        self.host.put(line);
    }

    /// Opens a modern server's stream of all news for an old host, in place of the one before.
    pub(super) fn listen_for_host(&mut self) {
        if self.server_is_modern() != Some(true) || self.host_is_modern() || self.host_is.is_none() {
            return;
        }
        if let Some(before) = self.listening.take() {
            self.say(&message::notification("notifications/cancelled", json!({ "requestId": before.value() })));
            self.own.remove(&before);
        }
        let can = |kind: &str| self.server().is_some_and(|server| server.can(kind, Some("listChanged")));
        let mut filter = Map::new();
        for (kind, member) in KINDS {
            if can(kind) {
                filter.insert(member.to_owned(), true.into());
            }
        }
        if !self.subscribed.is_empty() {
            filter.insert("resourceSubscriptions".to_owned(), json!(self.subscribed));
        }
        if !filter.is_empty() {
            self.listening = Some(self.ask(Own::Other, "subscriptions/listen", json!({ "notifications": filter })));
        }
    }

    /// Asks an old server that was started again for the news of resources that its predecessor was asked for.
    pub(super) fn subscribe_again(&mut self) {
        if self.server_is_modern() != Some(false) {
            return;
        }
        let listened = self.listens.values().flat_map(|listen| &listen.resources);
        let wanted: BTreeSet<_> = self.subscribed.iter().chain(listened).cloned().collect();
        for uri in wanted {
            self.ask(Own::Other, "resources/subscribe", json!({ "uri": uri }));
        }
    }

    /// An old host's wish to hear about a resource.
    fn remember(&mut self, message: &Map<String, Value>, wants: bool) {
        let uri = param(message, "uri").and_then(Value::as_str).unwrap_or_default().to_owned();
        self.subscribed.retain(|known| *known != uri);
        if wants && self.subscribed.len() < super::MOST {
            self.subscribed.push(uri);
        }
    }

    /// A notification of a modern server's, as an old host reads it. `None` when it has no use for it.
    pub(super) fn heard_for_host(&self, method: &str, mut message: Map<String, Value>) -> Option<Vec<u8>> {
        if method == "notifications/subscriptions/acknowledged" || method == "notifications/cancelled" {
            return None;
        }
        if let Some(Value::Object(params)) = message.get_mut("params") {
            if let Some(Value::Object(members)) = params.get_mut("_meta") {
                members.remove(meta::SUBSCRIPTION);
                if members.is_empty() {
                    params.remove("_meta");
                }
            }
            if params.is_empty() {
                message.remove("params");
            }
        }
        Some(message::line(&Value::Object(message)))
    }

    /// Tells the host that a list has become another one.
    pub(super) fn list_changed(&mut self, kind: &'static str) {
        let method = format!("notifications/{kind}/list_changed");
        if self.host_is_modern() {
            let message = message::notification(&method, json!({}));
            let Value::Object(message) = message else { return };
            return self.heard_for_listens(&method, message, Vec::new());
        }
        self.tell(&json!({ "jsonrpc": "2.0", "method": method }));
    }
}

/// Takes out of a wish for news the resources that whoever has it may not read. Whether there were any.
pub(super) async fn narrow(wrapped: &Wrapped, message: &mut Map<String, Value>, presented: &Presented) -> bool {
    let filter = message.get_mut("params").and_then(|params| params.get_mut("notifications"));
    let Some(Value::Object(filter)) = filter else { return false };
    let Some(asked) = filter.remove("resourceSubscriptions") else { return false };
    let Value::Array(asked) = asked else { return true };
    let before = asked.len();
    let now = wrapped.gate.clock.now();
    let mut judged: Vec<(Access, bool)> = Vec::new();
    let mut kept = Vec::new();
    for uri in asked.into_iter().take(super::MOST) {
        let Verdict::Needs(access) = wrapped.rules.resource(uri.as_str().unwrap_or_default()) else { continue };
        let known = judged.iter().find(|(known, _)| *known == access).map(|(_, may)| *may);
        let may = match known {
            Some(may) => may,
            None => {
                let may = wrapped.gate.may_hear(&access, presented, now).await;
                judged.push((access, may));
                may
            }
        };
        if may {
            kept.push(uri);
        }
    }
    let changed = kept.len() != before;
    filter.insert("resourceSubscriptions".to_owned(), kept.into());
    changed
}
