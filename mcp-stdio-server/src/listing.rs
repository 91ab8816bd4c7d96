//! Telling hosts that what `tools/list` shows them has changed: a person signed in, or took it back (N3).

use std::sync::Arc;

use rmcp::RoleServer;
use rmcp::model::{ServerNotification, ToolListChangedNotification};
use rmcp::service::{Peer, SubscriptionSink};

use crate::credential::Presented;
use crate::gate::{Gate, View};
use crate::wrap::queue::Queue;

/// Who is told.
pub enum Told {
    /// A host of the earlier era: as the server's capabilities say.
    Peer(Peer<RoleServer>),
    /// One subscription of the later era.
    Subscription(SubscriptionSink),
    /// A host without rmcp in between, by this line.
    Line(Queue, Vec<u8>),
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
            Self::Line(queue, line) => {
                queue.put(line.clone());
                true
            }
        }
    }
}

/// Watches what the credentials in `presented`, else this process's own, let a list show, and tells of every change.
/// Returns when nobody listens, or nothing can be watched.
pub async fn watch(gate: Arc<Gate>, presented: Presented, told: Told) {
    let Some(mut changed) = gate.verify.changed() else { return };
    let mut shown: Option<View> = None;
    loop {
        // Before the look: a change after it is then not missed.
        changed.mark_unchanged();
        // A store that is still being read, or gone for a moment, shows nothing new.
        if let Some(view) = gate.sure_view(&presented).await {
            if shown.as_ref().is_some_and(|before| *before != view) && !told.tell().await {
                return;
            }
            shown = Some(view);
        }
        if changed.changed().await.is_err() {
            return;
        }
    }
}
