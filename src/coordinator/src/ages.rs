//! Stating the age of a closing (R2): only once the `Closing` is durable in this coordinator's own log.
//!
//! A statement on an entry that is merely written would be forgotten by a power loss, together with the seal,
//! and this coordinator could then acknowledge the incarnation that its statement helped to end. The age
//! itself comes from `haft_engine::session::responder`.

use crate::clock::boot_now;
use crate::context::Context;
use haft_engine::command::StatedAge;
use haft_engine::ids::{Incarnation, LogIndex, NodeId};
use haft_engine::session::responder::NoAge;
use tokio::sync::oneshot;

/// States the age, or why not. Waits for the disk; the caller has the deadline.
pub async fn state(
    context: &Context,
    node: NodeId,
    incarnation: Incarnation,
    closing: LogIndex,
) -> Result<StatedAge, NoAge> {
    let ask = || {
        context
            .responder
            .with(|responder| responder.state_age(boot_now(), node, incarnation, closing))
    };
    // Held now, so it was written before the sync that is awaited next.
    ask()?;
    let (done, durable) = oneshot::channel();
    context.store.after_sync(Box::new(move || {
        // The asker may have gone.
        let _ = done.send(());
    }));
    durable.await.map_err(|_| NoAge::ClosingNotHeld)?;
    ask()
}
