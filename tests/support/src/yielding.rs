//! The only way in which ports in memory yield to other tasks.

use std::future::poll_fn;
use std::task::Poll;

/// Yields once, under any executor.
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
