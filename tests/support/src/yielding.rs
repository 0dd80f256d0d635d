//! The one way in which ports in memory give way to others.

use std::future::poll_fn;
use std::task::Poll;

/// Gives way once, under any executor.
pub async fn yield_now() {
    let mut given = false;
    poll_fn(|context| {
        if given {
            return Poll::Ready(());
        }
        given = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
