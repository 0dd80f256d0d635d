//! What a base becomes: when it is agreed on, when it moves, when it is left as it is, and what becomes of the intent of a
//! run that did not end.

use super::fates::{account, accounts, with_lookup};
use super::rows::to_rest;
use super::{World, both, values};
use jiff::SignedDuration;
use org::SaveError;
use std::sync::Arc;
use support::{RowRefusal, field};
use syncline_engine::{
    Absence, Base, DeleteLimit, DeletePolicy, Deletes, PostgresKey, SalesforceId, Side, Stamp,
};
use syncline_sync::reconcile::{Summary, reconcile};
use syncline_sync::{Clock, HistoryOutcome, Ports, Put, Source, State, Step, Touch};

fn base(world: &World) -> Base {
    let mut bases = world.ports.state.bases("contacts");
    assert_eq!(bases.len(), 1);
    bases.remove(0)
}

/// A row that was linked by hand to a record; each side lacks what the other one holds.
fn adopted(world: &World) -> Touch {
    let ([key], [id]) = (world.rows(["name"]), world.records(["name"]));
    world.ports.database.edit("contacts", &key, "LastName", None);
    world.ports.database.edit("contacts", &key, "FirstName", Some("of the app"));
    world.ports.salesforce.edit(&id, "LastName", Some("of sales"));
    world.ports.database.write_link("contacts", &key, Some(id.as_str()));
    Touch { id: Some(id), ..world.of_key(&key) }
}

#[tokio::test]
async fn a_first_link_makes_the_base_live_when_all_its_writes_landed() {
    let world = World::new();
    let touch = adopted(&world);
    assert_eq!(world.run(vec![touch]).await, Summary { rows_updated: 1, records_updated: 1, ..both() });
    assert!(base(&world).live);
    // One side alone has something to take.
    for summary in ["record", "row"] {
        let world = World::new();
        let ([key], [id]) = (world.rows(["name"]), world.records(["name"]));
        world.ports.database.write_link("contacts", &key, Some(id.as_str()));
        if summary == "record" {
            world.ports.database.edit("contacts", &key, "FirstName", Some("of the app"));
        } else {
            world.ports.salesforce.edit(&id, "FirstName", Some("of sales"));
        }
        let done = world.run(vec![Touch { id: Some(id), ..world.of_key(&key) }]).await;
        let expected = (usize::from(summary == "record"), usize::from(summary == "row"));
        assert_eq!((done.records_updated, done.rows_updated), expected);
        assert!(base(&world).live, "{summary}");
    }
}

#[tokio::test]
async fn a_first_link_of_which_a_part_is_refused_is_not_agreed_on() {
    for by_postgres in [true, false] {
        let mut world = World::new();
        let touch = adopted(&world);
        if by_postgres {
            world.ports.database.rules.before = Some(Arc::new(|_, _, _| {
                Err(RowRefusal {
                    code: "23514".into(),
                    message: "violates check constraint".into(),
                    column: None,
                })
            }));
        } else {
            world.refuse_saves(SaveError::new("ANY_CODE", "not like this", &[]));
        }
        let summary = world.run(vec![touch]).await;
        assert_eq!(summary.rejected, 1);
        let agreed: Vec<String> = base(&world).fields.into_keys().collect();
        // The row is written first; what it took stands.
        assert_eq!(agreed, if by_postgres { vec![] } else { vec!["LastName".to_owned()] });
        assert_eq!(base(&world).intent, None);
    }
}

#[tokio::test]
async fn what_was_created_is_agreed_on_in_the_run_that_creates_it() {
    let world = World::new();
    let keys = world.rows(["row"]);
    world.run_keys(&keys).await;
    assert!(base(&world).live);
    let world = World::new();
    let ids = world.records(["record"]);
    world.run_ids(&ids).await;
    assert!(base(&world).live);
}

#[tokio::test]
async fn a_base_moves_with_its_stamp_its_key_and_its_fields_and_else_stays() {
    let mut world = World::new();
    let (key, id) = world.linked().await;
    let Some(Stamp::Written { after, until }) = base(&world).stamp else {
        panic!("{:?}", base(&world).stamp)
    };
    assert!(until.duration_since(after) >= SignedDuration::from_secs(2), "{after} to {until}");
    world.run_ids(std::slice::from_ref(&id)).await;
    let known = base(&world);
    assert_eq!(known.stamp, Some(Stamp::Read(world.ports.salesforce.records()[&id].stamp)));
    assert_eq!(world.run_ids(std::slice::from_ref(&id)).await, Summary { equal: 1, ..both() });
    assert_eq!(base(&world), known, "nothing new, nothing saved");

    world.ports.salesforce.edit(&id, "Description", Some("moves the stamp"));
    world.run_ids(std::slice::from_ref(&id)).await;
    let moved = base(&world);
    assert_eq!(moved.stamp, Some(Stamp::Read(world.ports.salesforce.records()[&id].stamp)));
    assert_eq!(moved.version, known.version + 1);

    let new_key = world.ports.database.change_key("contacts", &key).unwrap();
    world.run(vec![Touch { old_key: Some(key), ..world.of_key(&new_key) }]).await;
    let renamed = base(&world);
    assert_eq!((renamed.postgres_key.as_ref(), renamed.version), (Some(&new_key), moved.version + 1));

    world.definition.fields.push(field("Title", "title"));
    world.definition.version += 1;
    world.run_ids(std::slice::from_ref(&id)).await;
    assert!(base(&world).fields.contains_key("Title"), "both sides are empty there: agreed on");
}

#[tokio::test]
async fn a_late_read_of_a_known_stamp_moves_the_bases_time_of_read() {
    let world = World::new();
    let [id] = world.records(["one"]);
    world.run_ids(std::slice::from_ref(&id)).await;
    let stamp = world.ports.salesforce.records()[&id].stamp;
    let read = base(&world).read_at;
    world.ports.clock.advance(SignedDuration::from_mins(9));
    let touch = Touch { stamp: Some(stamp), late: true, ..world.of_id(&id) };
    assert_eq!(world.run(vec![touch]).await.equal, 1);
    assert!(base(&world).read_at > read);
}

#[tokio::test]
async fn a_lookup_to_an_unlinked_parent_keeps_its_value_in_salesforce_until_the_parent_is_linked() {
    let world = with_lookup();
    let parent = world.ports.salesforce.insert_into("Account", account("parent")).unwrap();
    let [child] = world.records(["child"]);
    world.ports.salesforce.edit(&child, "AccountId", Some(parent.as_str()));
    let summary = world.run_ids(std::slice::from_ref(&child)).await;
    assert_eq!((summary.rows_inserted, summary.deferred), (1, 1));
    assert!(world.ports.state.all_wait_for_parents());
    let accounts = accounts();
    let touch = Touch::of_id("accounts", parent.clone(), Source::CatchUp, world.ports.clock.now());
    reconcile(&world.ports, &accounts, vec![touch]).await.unwrap();
    assert_eq!(world.run_ids(std::slice::from_ref(&child)).await.rows_updated, 1);
    let rows = world.ports.database.rows();
    let row_of =
        |id: &SalesforceId| rows.iter().find(|(_, row)| row.link.as_deref() == Some(id.as_str())).unwrap();
    assert_eq!(row_of(&child).1.values["AccountId"], Some(support::key_text(row_of(&parent).0)));
    assert_eq!(
        world.ports.salesforce.records()[&child].values["AccountId"].as_deref(),
        Some(parent.as_str())
    );
}

#[tokio::test]
async fn what_is_held_is_remembered_once_and_follows_its_rows_key() {
    let mut world = World::new();
    world.definition.deletes = Deletes::default();
    world.definition.delete_limit = DeleteLimit { percent: 100, count: 1 };
    let keys = world.rows(["one", "two", "three"]);
    world.run_keys(&keys).await;
    let ids: Vec<SalesforceId> = keys.iter().map(|key| world.id_of(key)).collect();
    for id in &ids {
        world.ports.salesforce.delete(id);
    }
    assert_eq!(world.run_ids(&ids).await.held, 3);
    let known = world.ports.state.bases("contacts");
    assert!(known.iter().all(|base| base.gone.is_some_and(|gone| gone.how == Absence::Deleted)));
    assert_eq!(world.ports.state.paused("contacts").await.unwrap(), None, "held deletes are not limited");
    assert_eq!(world.run_ids(&ids).await.held, 3);
    assert_eq!(world.ports.state.bases("contacts"), known, "known already");
    let new_key = world.ports.database.change_key("contacts", &keys[0]).unwrap();
    world.run(vec![Touch { old_key: Some(keys[0].clone()), ..world.of_key(&new_key) }]).await;
    let bases = world.ports.state.bases("contacts");
    let moved = bases.iter().find(|base| base.salesforce_id.as_ref() == Some(&ids[0])).unwrap();
    assert_eq!(moved.postgres_key.as_ref(), Some(&new_key));
}

#[tokio::test]
async fn a_missing_record_counts_only_once_towards_the_delete_limit() {
    let mut world = World::new();
    world.definition.delete_limit = DeleteLimit { percent: 100, count: 4 };
    let keys = world.rows(["one", "two", "three"]);
    world.run_keys(&keys).await;
    for key in &keys {
        world.ports.salesforce.hide(&world.id_of(key), true);
    }
    for _ in 0..3 {
        assert_eq!(world.run_keys(&keys).await.held, 3);
    }
    assert_eq!(world.ports.state.paused("contacts").await.unwrap(), None);
}

#[tokio::test]
async fn a_row_that_is_inserted_again_with_its_old_link_is_a_new_one() {
    let world = World::new();
    let (key, id) = world.linked().await;
    world.ports.database.delete("contacts", &key);
    let mut touch = world.of_key(&key);
    touch.evidence.pg_deleted = true;
    assert_eq!(world.run(vec![touch]).await.records_deleted, 1);
    world.ports.database.insert_as("contacts", &key, Some(id.to_string()), values("again")).unwrap();
    assert_eq!(world.run_keys(std::slice::from_ref(&key)).await.records_created, 1);
    assert_ne!(world.id_of(&key), id);
    assert!(world.ports.state.held().is_empty());
}

/// A run that ends as its process does when it has passed this step.
pub(super) async fn ended_at(world: &World, touch: Touch, step: Step) {
    world.ports.clock.advance(SignedDuration::from_secs(5));
    let mut run = Box::pin(reconcile(&world.ports, &world.definition, vec![touch]));
    let before = world.ports.state.bases("contacts");
    loop {
        let ready = std::future::poll_fn(|context| {
            std::task::Poll::Ready(std::future::Future::poll(run.as_mut(), context).is_ready())
        });
        assert!(!ready.await, "the run ended before");
        if world.ports.steps.last() == Some(step) && world.ports.state.bases("contacts") != before {
            return;
        }
    }
}

async fn interrupted(step: Step) -> (World, PostgresKey, SalesforceId) {
    let world = World::new();
    let (key, id) = world.linked().await;
    world.edit_row(&key, "of the app");
    ended_at(&world, world.of_key(&key), step).await;
    world.ports.clock.advance(world.ports.settings().lease);
    (world, key, id)
}

#[tokio::test]
async fn an_interrupted_write_that_landed_is_agreed_on_by_its_marker() {
    let (world, key, id) = interrupted(Step::WroteSalesforce).await;
    assert_eq!(world.ports.salesforce.records()[&id].values["LastName"].as_deref(), Some("of the app"));
    world.ports.salesforce.edit(&id, "LastName", Some("of sales, later"));
    let summary = world.run_keys(std::slice::from_ref(&key)).await;
    assert_eq!((summary.conflicts, summary.rows_updated), (0, 1), "an edit of what was agreed on");
    assert!(world.ports.state.conflicts().is_empty());
    assert_eq!(base(&world).intent, None);
}

#[tokio::test]
async fn an_interrupted_write_that_did_not_land_is_written() {
    let (world, key, id) = interrupted(Step::SavedIntents).await;
    let summary = world.run_keys(std::slice::from_ref(&key)).await;
    assert_eq!(summary, Summary { records_updated: 1, ..both() });
    assert_eq!(world.ports.salesforce.records()[&id].values["LastName"].as_deref(), Some("of the app"));
    assert_eq!(world.ports.salesforce.writes().1, 1);
}

#[tokio::test]
async fn history_learns_what_became_of_an_interrupted_write() {
    for (step, outcome) in
        [(Step::WroteSalesforce, HistoryOutcome::Written), (Step::CommittedPostgres, HistoryOutcome::Refused)]
    {
        let world = World::new();
        let [key] = world.rows(["one"]);
        world.run_keys(std::slice::from_ref(&key)).await;
        world.edit_row(&key, "of the app");
        ended_at(&world, world.of_key(&key), step).await;
        let intent = base(&world).intent.unwrap().id;
        world.ports.clock.advance(world.ports.settings().lease);
        world.run_keys(std::slice::from_ref(&key)).await;
        let of_intent: Vec<_> =
            world.ports.database.closed().into_iter().filter(|(of, _)| *of == intent).collect();
        assert_eq!(of_intent, [(intent, outcome)]);
    }
}

#[tokio::test]
async fn without_a_marker_a_landed_write_is_known_by_its_value() {
    for edited in [true, false] {
        let mut world = World::new();
        world.definition.marker = None;
        let (key, id) = world.linked().await;
        world.edit_row(&key, "of the app");
        ended_at(&world, world.of_key(&key), Step::WroteSalesforce).await;
        world.ports.clock.advance(world.ports.settings().lease);
        world.edit_row(&key, "of the app, later");
        if edited {
            world.ports.salesforce.edit(&id, "FirstName", Some("of sales"));
        }
        let summary = world.run_keys(std::slice::from_ref(&key)).await;
        assert_eq!((summary.conflicts, summary.records_updated), (0, 1));
        assert_eq!(summary.rows_updated, usize::from(edited));
    }
    let mut world = World::new();
    world.definition.marker = None;
    let (key, id) = world.linked().await;
    world.edit_row(&key, "of the app");
    ended_at(&world, world.of_key(&key), Step::CommittedPostgres).await;
    world.ports.clock.advance(world.ports.settings().lease);
    world.ports.salesforce.edit(&id, "LastName", Some("of sales"));
    assert_eq!(world.run_keys(std::slice::from_ref(&key)).await.conflicts, 1, "it did not land: both edited");
}

#[tokio::test]
async fn an_interrupted_delete_that_landed_is_done() {
    let world = World::new();
    let (key, id) = world.linked().await;
    world.ports.database.delete("contacts", &key);
    let mut touch = world.of_key(&key);
    touch.evidence.pg_deleted = true;
    ended_at(&world, touch, Step::WroteSalesforce).await;
    assert!(world.ports.salesforce.records()[&id].deleted);
    world.ports.clock.advance(world.ports.settings().lease);
    let summary = world.run_ids(std::slice::from_ref(&id)).await;
    assert_eq!((summary.held, summary.records_deleted, summary.rejected), (0, 0, 0));
    assert!(!base(&world).live && base(&world).intent.is_none());
    assert_eq!(world.ports.database.closed().last().unwrap().1, HistoryOutcome::Written);
}

#[tokio::test]
async fn an_interrupted_row_that_was_committed_is_agreed_on() {
    let world = World::new();
    let (key, id) = world.linked().await;
    world.ports.salesforce.edit(&id, "LastName", Some("of sales"));
    ended_at(&world, world.of_id(&id), Step::CommittedPostgres).await;
    assert_eq!(world.ports.database.rows()[&key].values["LastName"].as_deref(), Some("of sales"));
    let new_key = world.ports.database.change_key("contacts", &key).unwrap();
    world.edit_row(&new_key, "of the app, later");
    world.ports.clock.advance(world.ports.settings().lease);
    let touch = Touch { old_key: Some(key), ..world.of_key(&new_key) };
    let summary = world.run(vec![touch]).await;
    assert_eq!((summary.conflicts, summary.records_updated, summary.rows_updated), (0, 1, 0));
    assert_eq!(base(&world).postgres_key.as_ref(), Some(&new_key));

    let world = World::new();
    let [id] = world.records(["one"]);
    ended_at(&world, world.of_id(&id), Step::CommittedPostgres).await;
    world.ports.clock.advance(world.ports.settings().lease);
    assert_eq!(world.run_ids(std::slice::from_ref(&id)).await.rows_inserted, 0, "it was inserted already");
    assert_eq!(world.ports.database.rows().len(), 1);
    let inserted = world.ports.database.rows().into_keys().next();
    assert_eq!((base(&world).live, base(&world).postgres_key), (true, inserted));
}

#[tokio::test]
async fn an_intent_stands_while_its_record_is_hidden_and_ends_where_it_is_deleted() {
    let (world, key, id) = interrupted(Step::WroteSalesforce).await;
    world.ports.salesforce.hide(&id, true);
    let summary = world.run_keys(std::slice::from_ref(&key)).await;
    assert_eq!((summary.held, summary.deferred), (1, 0));
    let hidden = base(&world);
    assert!(hidden.intent.is_some(), "whether it landed cannot be told");
    assert_eq!(hidden.gone.map(|gone| (gone.side, gone.how)), Some((Side::Salesforce, Absence::Missing)));
    world.run_keys(std::slice::from_ref(&key)).await;
    assert_eq!(base(&world), hidden, "known already");
    let new_key = world.ports.database.change_key("contacts", &key).unwrap();
    world.run(vec![Touch { old_key: Some(key), ..world.of_key(&new_key) }]).await;
    assert_eq!(base(&world).postgres_key.as_ref(), Some(&new_key));
    world.ports.salesforce.hide(&id, false);
    let summary = world.run_keys(std::slice::from_ref(&new_key)).await;
    assert_eq!((summary.equal, summary.conflicts), (1, 0));
    assert_eq!((base(&world).intent, base(&world).gone), (None, None));

    let (mut world, key, id) = interrupted(Step::WroteSalesforce).await;
    world.definition.deletes.from_salesforce = DeletePolicy::Review;
    world.ports.salesforce.delete(&id);
    assert_eq!(world.run_keys(std::slice::from_ref(&key)).await.held, 1);
    assert_eq!(base(&world).intent, None, "its deleted record bears the marker");
}

#[tokio::test]
async fn a_create_whose_answer_was_lost_is_found_by_its_external_id() {
    let world = World::new();
    let [key] = world.rows(["one"]);
    ended_at(&world, world.of_key(&key), Step::WroteSalesforce).await;
    world.ports.clock.advance(world.ports.settings().lease);
    let [id] = world.ports.salesforce.records().into_keys().collect::<Vec<_>>().try_into().unwrap();
    // Its own record is noticed first, by an outbound message.
    let summary = world.run_ids(std::slice::from_ref(&id)).await;
    assert_eq!((summary.rows_inserted, summary.records_created, summary.deferred), (0, 0, 1));
    world.run_keys(std::slice::from_ref(&key)).await;
    assert_eq!((world.ports.salesforce.records().len(), world.ports.database.rows().len()), (1, 1));
    assert_eq!(world.id_of(&key), id);
    assert!(base(&world).live && base(&world).intent.is_none());
    assert!(
        world.ports.clock.now() > world.ports.state.next_due().unwrap() || world.ports.state.deferred() == 1
    );
}

/// A row whose record was created; the answer was lost, and sharing hides the record.
async fn created_and_hidden() -> (World, PostgresKey, SalesforceId) {
    let world = World::new();
    let [key] = world.rows(["one"]);
    ended_at(&world, world.of_key(&key), Step::WroteSalesforce).await;
    world.ports.clock.advance(world.ports.settings().lease);
    let [id] = world.ports.salesforce.records().into_keys().collect::<Vec<_>>().try_into().unwrap();
    world.ports.salesforce.hide(&id, true);
    (world, key, id)
}

#[tokio::test]
async fn a_create_that_is_sent_again_with_more_is_not_taken_for_the_one_that_landed() {
    let (world, key, id) = created_and_hidden().await;
    world.ports.database.edit("contacts", &key, "FirstName", Some("entered later"));
    // Salesforce says that the external Id is taken, and does not show whose it is.
    assert_eq!(world.run_keys(std::slice::from_ref(&key)).await.deferred, 1);
    world.ports.clock.advance(world.ports.settings().lease);
    world.ports.salesforce.hide(&id, false);
    world.run_keys(std::slice::from_ref(&key)).await;
    world.run_ids(std::slice::from_ref(&id)).await;
    let entered = Some("entered later".to_owned());
    assert_eq!(world.ports.database.rows()[&key].values["FirstName"], entered, "nobody emptied it");
    assert_eq!(world.ports.salesforce.records()[&id].values["FirstName"], entered);
}

#[tokio::test]
async fn a_row_deleted_while_its_record_cannot_be_found_deletes_the_record_once_it_shows() {
    let (world, key, id) = created_and_hidden().await;
    world.ports.database.delete("contacts", &key);
    let mut touch = world.of_key(&key);
    touch.evidence.pg_deleted = true;
    world.run(vec![touch]).await;
    world.ports.salesforce.hide(&id, false);
    world.run_ids(std::slice::from_ref(&id)).await;
    to_rest(&world).await;
    assert!(world.ports.database.rows().is_empty(), "the row was deleted");
    assert!(world.ports.salesforce.records()[&id].deleted);
}

#[tokio::test]
async fn a_read_from_before_our_own_write_is_not_believed() {
    for marker in [true, false] {
        let mut world = World::new();
        if !marker {
            world.definition.marker = None;
        }
        let (key, id) = world.linked().await;
        world.edit_row(&key, "of the app");
        world.run_keys(std::slice::from_ref(&key)).await;
        world.ports.salesforce.set_stale(true);
        let known = base(&world);
        let summary = world.run_ids(std::slice::from_ref(&id)).await;
        assert_eq!(
            (summary.deferred, summary.rows_updated, summary.conflicts),
            (1, 0, 0),
            "marker: {marker}"
        );
        assert_eq!(base(&world), known);
        world.ports.salesforce.set_stale(false);
        assert_eq!(world.run_ids(std::slice::from_ref(&id)).await.equal, 1);
        let row = &world.ports.database.rows()[&key];
        assert_eq!(row.values["LastName"].as_deref(), Some("of the app"));
        // The stamp that was read is known by now.
        world.ports.salesforce.edit(&id, "LastName", Some("of sales"));
        world.run_ids(std::slice::from_ref(&id)).await;
        world.ports.salesforce.set_stale(true);
        assert_eq!(world.run_ids(std::slice::from_ref(&id)).await.deferred, 1);
    }
}

#[tokio::test]
async fn a_read_from_before_what_a_scan_has_seen_is_not_believed_for_a_minute() {
    let world = World::new();
    let (_, id) = world.linked().await;
    world.run_ids(std::slice::from_ref(&id)).await;
    world.ports.clock.advance(SignedDuration::from_secs(10));
    world.ports.salesforce.edit(&id, "LastName", Some("of sales"));
    let seen = world.ports.salesforce.records()[&id].stamp;
    let touch = || vec![Touch { at_least: Some(seen), ..world.of_id(&id) }];
    world.ports.salesforce.set_stale(true);
    let summary = world.run(touch()).await;
    assert_eq!((summary.deferred, summary.equal), (1, 0));
    world.ports.clock.advance_to(seen + SignedDuration::from_secs(90));
    let summary = world.run(touch()).await;
    assert_eq!((summary.deferred, summary.equal), (0, 1), "the stamp may have been set back");
    world.ports.salesforce.set_stale(false);
    assert_eq!(world.run(touch()).await.rows_updated, 1);
}

#[tokio::test]
async fn a_read_with_a_foreign_marker_and_a_stamp_within_our_write_is_believed_after_a_minute() {
    // Seconds from the end of the write's interval to the record's stamp, and to the read.
    for (stamped, read, believed) in
        [(0, 50, false), (0, 60, false), (0, 61, true), (-1, 50, false), (1, 50, true), (-5, 61, true)]
    {
        let world = World::new();
        let (_, id) = world.linked().await;
        let seconds = SignedDuration::from_secs;
        let stamp = world.ports.salesforce.records()[&id].stamp;
        let until = stamp - seconds(stamped);
        let mut known = base(&world);
        known.stamp = Some(Stamp::Written { after: until - seconds(10), until });
        known.marker = Some("of our write".to_owned());
        let put = Put { expected: known.version, base: known, conflicts: vec![] };
        assert_eq!(world.ports.state.put("contacts", vec![put]).await, Ok(vec![true]));
        let now = world.ports.clock.now();
        world
            .ports
            .clock
            .advance((until + seconds(read) + SignedDuration::from_millis(500)).duration_since(now));
        let touches = vec![world.of_id(&id)];
        let summary = reconcile(&world.ports, &world.definition, touches).await.unwrap();
        let expected = if believed { (1, 0) } else { (0, 1) };
        assert_eq!((summary.equal, summary.deferred), expected, "{stamped} s, {read} s");
    }
}
