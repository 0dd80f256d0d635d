//! Records that a side refused or hides are tried again by themselves, with growing distance: what they were refused for
//! may have changed, although they did not.

use super::{World, fates};
use jiff::SignedDuration;
use syncline_sync::reconcile::Summary;
use syncline_sync::{Clock as _, State as _, Touch};

impl World {
    /// Runs the deferred touches that are due after this time.
    async fn after(&self, seconds: i64) -> Summary {
        self.ports.clock.advance(SignedDuration::from_secs(seconds));
        let due = self.ports.state.due(self.ports.clock.now(), 100).await.unwrap();
        let tokens: Vec<String> = due.iter().map(|due| due.token.clone()).collect();
        let touches: Vec<Touch> = due.into_iter().filter_map(|due| due.touch.ok()).collect();
        self.ports.state.drop_due(&tokens).await.unwrap();
        self.run(touches).await
    }
}

#[tokio::test]
async fn a_record_that_a_validation_rule_refused_is_written_once_the_rule_is_corrected() {
    let world = fates::refusing();
    let keys = world.rows(["bad"]);
    assert_eq!(world.run_keys(&keys).await.rejected, 1);
    assert_eq!(world.after(40).await.rejected, 1, "the rule is as it was");
    world.ports.salesforce.set_up(|org| org.rules.clear());
    assert_eq!(world.after(40).await, Summary::default(), "the next try is two minutes later");
    assert_eq!(world.after(120).await.records_created, 1);
    assert!(world.ports.state.all_rejected().is_empty());
    assert_eq!(world.ports.state.deferred(), 0);
}

#[tokio::test]
async fn a_record_is_tried_at_growing_distance_and_at_least_once_a_day() {
    let world = fates::refusing();
    let keys = world.rows(["bad"]);
    world.run_keys(&keys).await;
    let mut distances = Vec::new();
    for _ in 0..8 {
        let before = world.ports.clock.now();
        world.ports.clock.advance_to(world.ports.state.next_due().unwrap());
        distances.push(world.ports.clock.now().duration_since(before).as_secs());
        assert_eq!(world.after(0).await.rejected, 1);
    }
    assert!(distances.is_sorted_by(|one, next| one < next || *next > 60_000), "{distances:?}");
    assert!(distances[0] < 40 && distances.iter().all(|seconds| *seconds < 105_000), "{distances:?}");
}

#[tokio::test]
async fn a_record_that_shows_again_without_a_new_stamp_goes_on_by_itself() {
    let world = World::new();
    let (key, id) = world.linked().await;
    world.ports.salesforce.hide(&id, true);
    world.edit_row(&key, "edited meanwhile");
    assert_eq!(world.run_keys(std::slice::from_ref(&key)).await.held, 1);
    assert_eq!(world.after(40).await.held, 1);
    world.ports.salesforce.hide(&id, false);
    assert_eq!(world.after(150).await.records_updated, 1);
    assert_eq!(world.ports.state.held().len(), 0);
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_shown_alone_and_goes_on_once_it_can_be_read() {
    let world = World::new();
    let keys = world.rows(["one", "two", "three"]);
    world.ports.database.set_unreadable(&keys[1], true);
    let summary = world.run_keys(&keys).await;
    assert_eq!((summary.rejected, summary.records_created), (1, 2));
    let rejected = &world.ports.state.all_rejected()[0];
    assert_eq!((rejected.code.as_str(), rejected.postgres_key.as_ref()), ("XX001", Some(&keys[1])));
    assert!(
        rejected.message.contains("the row cannot be read: missing chunk number 0"),
        "{}",
        rejected.message
    );
    world.ports.database.set_unreadable(&keys[1], false);
    assert_eq!(world.after(40).await.records_created, 1);
    assert!(world.ports.state.all_rejected().is_empty());
}
