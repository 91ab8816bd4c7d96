//! Telling hosts that what their lists show them has changed: a person signed in, or took it back (N3).

use std::sync::Arc;

use rmcp::RoleServer;
use rmcp::model::{ServerNotification, ToolListChangedNotification};
use rmcp::service::{Peer, SubscriptionSink};
use serde_json::{Value, json};

use tokio::sync::watch;

use crate::credential::Presented;
use crate::gate::{Gate, View};
use crate::token::Token;
use crate::wrap::queue::Queue;

/// What is listed of a tool that has become another: its name, so that a call of it can ask the person, and nothing of its
/// new words, which a model would read and go by.
pub fn withheld(name: &str) -> Value {
    json!({
        "name": name,
        "description": "[Changed: it says something else of itself than when its person agreed to it. A call of it is refused, \
                        and says how they can allow it again.]",
        "inputSchema": { "type": "object" },
        "_meta": { "authz/changed": true },
    })
}

/// Who is told.
pub enum Told {
    /// A host of the earlier era: as the server's capabilities say.
    Peer(Peer<RoleServer>),
    /// One subscription of the later era.
    Subscription(SubscriptionSink),
    /// A host without rmcp in between, by these lines.
    Lines(Queue, Vec<u8>),
}

impl Told {
    /// False when nobody listens any more.
    async fn tell(&self) -> bool {
        match self {
            Self::Peer(peer) => {
                let changed = ToolListChangedNotification::default();
                peer.send_notification(ServerNotification::ToolListChangedNotification(changed)).await.is_ok()
            }
            Self::Subscription(sink) => sink.notify_tool_list_changed().await.is_ok(),
            Self::Lines(queue, lines) => {
                queue.put(lines.clone());
                true
            }
        }
    }
}

/// Watches what the credentials in `presented`, else this process's own, let a list show, and tells of every change.
/// Returns when nobody listens, or nothing can be watched.
pub async fn watch(gate: Arc<Gate>, presented: Presented, told: Told) {
    watch_for(gate, presented, Last::default().subscribe(), told).await;
}

/// The same for a host that sends a token with each request: `last` is whose list it saw last, by what its token said.
/// The token itself is not kept.
pub async fn watch_for(gate: Arc<Gate>, presented: Presented, mut last: watch::Receiver<Holder>, told: Told) {
    let Some(mut changed) = gate.verify.changed() else { return };
    let (mut shown, mut is_new) = (None::<View>, false);
    loop {
        // Before the look: a change after it is then not missed.
        changed.mark_unchanged();
        is_new |= last.has_changed().unwrap_or(false);
        let holder = last.borrow_and_update().clone();
        let view = match &holder {
            Some((token, _)) => gate.view_again(token).await,
            None => gate.sure_view(&presented).await,
        };
        if std::mem::take(&mut is_new) {
            shown = holder.map(|(_, listed)| listed);
        }
        // A store that is still being read, or gone for a moment, shows nothing new.
        if let Some(view) = view {
            if shown.as_ref().is_some_and(|before| *before != view) && !told.tell().await {
                return;
            }
            shown = Some(view);
        }
        tokio::select! {
            changed = changed.changed() => if changed.is_err() { return },
            // Without anybody who could list there is nobody else to come.
            Ok(()) = last.changed() => is_new = true,
        }
    }
}

/// Whose token a list was shown for, and what it showed.
pub type Holder = Option<(Token, View)>;

/// Where it is noted whose list a host saw last.
pub type Last = watch::Sender<Holder>;
