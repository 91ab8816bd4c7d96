//! One request's host, as far as a login can ask it something, over rmcp's peer.

use rmcp::RoleServer;
use rmcp::model::{
    CancelledNotification, CancelledNotificationParam, ClientCapabilities, ClientResult, CustomNotification,
    ElicitRequest, ElicitResult, ElicitationAction, ProgressNotificationParam, RequestId, RequestMetaObject,
    ServerNotification, ServerRequest,
};
use rmcp::service::{Peer, PeerRequestOptions, RequestContext};
use serde_json::json;
use tokio::sync::watch;

use crate::audit::Origin;
use crate::era::Era;
use crate::login::host::{Action, Asked, Elicits, Host, Mode, Question};

/// The notification by which a host of the earlier era learns that a URL is done with (MCP 2025-11-25, elicitation).
pub const COMPLETE: &str = "notifications/elicitation/complete";

/// A request's host.
pub struct Conversation {
    /// The era that the request belongs to.
    pub era: Era,
    peer: Peer<RoleServer>,
    meta: RequestMetaObject,
    ended: Option<watch::Receiver<bool>>,
}

impl Conversation {
    /// The host behind a request. Its tokens must be taken out of `context` before. `ended` becomes true when it leaves.
    pub fn of(context: &mut RequestContext<RoleServer>, era: Era, ended: Option<watch::Receiver<bool>>) -> Self {
        Self { era, peer: context.peer.clone(), meta: std::mem::take(&mut context.meta), ended }
    }
}

/// Resolves when `ended` becomes true: the host has left.
pub async fn left(ended: Option<watch::Receiver<bool>>) {
    match ended {
        // Without its sender nothing will be said any more: the server is about to end.
        Some(mut ended) => drop(ended.wait_for(|ended| *ended).await),
        None => std::future::pending().await,
    }
}

impl Conversation {
    /// Where the request comes from.
    pub fn origin(&self) -> Origin {
        Origin::of(self.era, Some(&self.meta.0.0))
    }
}

impl Host for Conversation {
    fn elicits(&self) -> Elicits {
        let mode = |capabilities: &ClientCapabilities| {
            let capability = capabilities.elicitation.as_ref()?;
            Mode::of(&serde_json::to_value(capability).ok()?)
        };
        match self.era {
            Era::Legacy => {
                let info = self.peer.peer_info();
                info.and_then(|info| mode(&info.capabilities)).map_or(Elicits::Never, Elicits::Asks)
            }
            Era::Modern => {
                let capabilities = self.meta.client_capabilities();
                capabilities.and_then(|all| mode(&all)).map_or(Elicits::Never, Elicits::Returns)
            }
        }
    }

    fn elicit<'a>(&'a self, question: &'a Question) -> Asked<'a, Option<Action>> {
        Box::pin(async move {
            let request = ServerRequest::ElicitRequest(ElicitRequest::new(question.clone().into()));
            let sent = self.peer.send_cancellable_request(request, PeerRequestOptions::no_options()).await.ok()?;
            let asked = TakenBack { peer: Some(self.peer.clone()), id: sent.id.clone() };
            let answer = sent.await_response().await;
            asked.was_answered();
            match answer.ok()? {
                ClientResult::ElicitResult(ElicitResult { action, .. }) => action_of(&action),
                _ => None,
            }
        })
    }

    fn left(&self) -> Asked<'_, ()> {
        Box::pin(left(self.ended.clone()))
    }

    fn settled<'a>(&'a self, question: &'a Question) -> Asked<'a, ()> {
        let params = json!({ "elicitationId": question.id });
        let notification = CustomNotification::new(COMPLETE, Some(params));
        Box::pin(async move {
            if question.mode != Mode::Page {
                return;
            }
            // A host that is gone need not know.
            let _ = self.peer.send_notification(ServerNotification::CustomNotification(notification)).await;
        })
    }

    fn is_patient(&self) -> bool {
        self.meta.get_progress_token().is_some()
    }

    fn progress<'a>(&'a self, step: u32, words: &'a str) -> Asked<'a, ()> {
        let token = self.meta.get_progress_token();
        Box::pin(async move {
            let Some(token) = token else { return };
            let mut params = ProgressNotificationParam::new(token, f64::from(step));
            params.message = Some(words.to_owned());
            let _ = self.peer.notify_progress(params).await;
        })
    }
}

fn action_of(action: &ElicitationAction) -> Option<Action> {
    match action {
        ElicitationAction::Accept => Some(Action::Accept),
        ElicitationAction::Decline => Some(Action::Decline),
        ElicitationAction::Cancel => Some(Action::Cancel),
        _ => None,
    }
}

/// A question that is under way: dropped, it is taken back, so that no dialog is left behind.
struct TakenBack {
    peer: Option<Peer<RoleServer>>,
    id: RequestId,
}

impl TakenBack {
    fn was_answered(mut self) {
        self.peer = None;
    }
}

impl Drop for TakenBack {
    fn drop(&mut self) {
        let Some(peer) = self.peer.take() else { return };
        let reason = Some("the call that asked has ended".to_owned());
        let params = CancelledNotificationParam::new(Some(self.id.clone()), reason);
        let notification = ServerNotification::CancelledNotification(CancelledNotification::new(params));
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { peer.send_notification(notification).await });
        }
    }
}
