//! The counts that users see, what is refused, held and deferred, and for how long.

use super::bases::ended_at;
use super::{World, both};
use jiff::SignedDuration;
use org::{Automation, SaveError, ValidationRule};
use support::{Values, field};
use syncline_engine::{Definition, Deletes, Held, Lookup, RuleKind, Side};
use syncline_sync::reconcile::{FateKind, Summary, Tally, reconcile};
use syncline_sync::{Breaker, Clock, HistoryOutcome, PortError, Ports, Source, State, Step, Touch};

#[tokio::test]
async fn rows_become_records_and_their_edits_and_deletes_follow_each_counted() {
    let world = World::new();
    let keys = world.rows(["one", "two"]);
    assert_eq!(world.run_keys(&keys).await, Summary { records_created: 2, ..both() });
    let ids = [world.id_of(&keys[0]), world.id_of(&keys[1])];
    assert_eq!(world.run_keys(&keys).await, Summary { equal: 2, ..both() });
    keys.iter().for_each(|key| world.edit_row(key, "edited"));
    assert_eq!(world.run_keys(&keys).await, Summary { records_updated: 2, ..both() });
    let closed = world.ports.database.closed();
    assert_eq!(closed.len(), 4, "two creates and two updates");
    assert!(closed.iter().all(|(_, outcome)| *outcome == HistoryOutcome::Written), "{closed:?}");
    let mut told: Vec<String> = world.ports.database.history().into_iter().map(|row| row.intent).collect();
    told.dedup();
    assert!(closed.iter().all(|(intent, _)| told.contains(intent)), "of writes that history shows");
    let deleted = keys.clone().map(|key| {
        assert!(world.ports.database.delete("contacts", &key));
        let mut touch = world.of_key(&key);
        touch.evidence.pg_deleted = true;
        touch
    });
    assert_eq!(world.run(deleted.to_vec()).await, Summary { records_deleted: 2, ..both() });
    assert!(ids.iter().all(|id| world.ports.salesforce.records()[id].deleted));
}

#[tokio::test]
async fn records_become_rows_and_their_edits_and_deletes_follow_each_counted() {
    let world = World::new();
    let ids = world.records(["one", "two"]);
    assert_eq!(world.run_ids(&ids).await, Summary { rows_inserted: 2, ..both() });
    for id in &ids {
        assert!(world.ports.salesforce.edit(id, "LastName", Some("edited")));
    }
    assert_eq!(world.run_ids(&ids).await, Summary { rows_updated: 2, ..both() });
    let rows = world.ports.database.rows();
    assert!(rows.values().all(|row| row.values["LastName"].as_deref() == Some("edited")));
    assert!(ids.iter().all(|id| world.ports.salesforce.delete(id)));
    assert_eq!(world.run_ids(&ids).await, Summary { rows_deleted: 2, ..both() });
    assert!(world.ports.database.rows().is_empty());
    assert_eq!(world.ports.salesforce.writes(), (0, 0));
}

#[tokio::test]
async fn a_stamp_that_was_seen_ends_its_touch_without_a_call() {
    let world = World::new();
    let ids = world.records(["one", "two"]);
    world.run_ids(&ids).await;
    let calls = world.ports.salesforce.calls();
    let stamped = |seconds: i64| {
        ids.clone().map(|id| Touch {
            stamp: Some(world.ports.salesforce.records()[&id].stamp + SignedDuration::from_secs(seconds)),
            ..world.of_id(&id)
        })
    };
    assert_eq!(world.run(stamped(0).to_vec()).await, Summary { skipped: 2, ..Summary::default() });
    assert_eq!(world.ports.salesforce.calls(), calls);
    assert_eq!(world.run(stamped(-1).to_vec()).await.skipped, 2, "an older one was seen as well");
    let summary = world.run(stamped(1).to_vec()).await;
    assert_eq!((summary.skipped, summary.equal), (0, 2), "a later one was not");
}

#[tokio::test]
async fn a_stamp_that_was_read_within_its_own_second_is_read_again() {
    let world = World::new();
    let [id] = world.records(["one"]);
    let touch =
        || vec![Touch { stamp: Some(world.ports.salesforce.records()[&id].stamp), ..world.of_id(&id) }];
    reconcile(&world.ports, &world.definition, touch()).await.unwrap();
    let again = reconcile(&world.ports, &world.definition, touch()).await.unwrap();
    assert_eq!((again.skipped, again.equal), (0, 1), "whole seconds tie");
    assert_eq!(world.run(touch()).await.equal, 1);
    assert_eq!(world.run(touch()).await.skipped, 1, "that was read well after it");
}

#[tokio::test]
async fn a_delete_under_a_stamp_that_was_seen_is_looked_at_until_it_is_known() {
    let mut world = World::new();
    world.definition.deletes = Deletes::default();
    let [id] = world.records(["one"]);
    world.run_ids(std::slice::from_ref(&id)).await;
    world.run_ids(std::slice::from_ref(&id)).await;
    let stamp = world.ports.salesforce.records()[&id].stamp;
    world.ports.salesforce.delete(&id);
    let touch = || {
        let mut touch = Touch { stamp: Some(stamp), ..world.of_id(&id) };
        touch.evidence.sf_deleted = true;
        vec![touch]
    };
    assert_eq!(world.run(touch()).await.held, 1);
    assert_eq!(world.run(touch()).await.skipped, 1);
    let shown = vec![Touch { stamp: Some(stamp), ..world.of_id(&id) }];
    world.ports.salesforce.undelete(&id);
    assert_eq!(world.run(shown).await.equal, 1, "it shows again");
}

#[tokio::test]
async fn a_record_is_looked_at_once_more_near_the_end_of_the_look_back() {
    let world = World::new();
    let [id] = world.records(["one"]);
    world.run_ids(std::slice::from_ref(&id)).await;
    let stamp = world.ports.salesforce.records()[&id].stamp;
    let touch = |late| vec![Touch { stamp: Some(stamp), late, ..world.of_id(&id) }];
    world.ports.clock.advance(SignedDuration::from_mins(8));
    assert_eq!(world.run(touch(false)).await.skipped, 1);
    assert_eq!(
        world.run(touch(true)).await.equal,
        1,
        "a slow transaction may have committed under this stamp"
    );
    assert_eq!(world.run(touch(true)).await.skipped, 1, "once");
}

#[tokio::test]
async fn a_field_that_both_sides_changed_is_a_conflict_each_counted_and_kept_with_its_values() {
    let world = World::new();
    let keys = world.rows(["one", "two"]);
    world.run_keys(&keys).await;
    for key in &keys {
        world.edit_row(key, "of the app");
        world.ports.salesforce.edit(&world.id_of(key), "LastName", Some("of sales"));
    }
    assert_eq!(world.run_keys(&keys).await, Summary { conflicts: 2, rows_updated: 2, ..both() });
    let conflicts = world.ports.state.conflicts();
    assert_eq!(conflicts.len(), 2);
    for conflict in conflicts {
        assert_eq!((conflict.winner, conflict.field.as_str()), (Side::Salesforce, "LastName"));
        assert_eq!(conflict.salesforce.to_string(), "of sales");
        assert_eq!(conflict.postgres.to_string(), "of the app");
        let key = conflict.postgres_key.unwrap();
        assert_eq!(conflict.salesforce_id, Some(world.id_of(&key)));
    }
}

/// Contacts of which Salesforce refuses those called `bad`.
pub(super) fn refusing() -> World {
    let world = World::new();
    world.ports.salesforce.set_up(|org| {
        org.rules.push(ValidationRule {
            object: "Contact".to_owned(),
            field: "LastName".to_owned(),
            begins: "bad".to_owned(),
            message: "Names are good here".to_owned(),
            code: ValidationRule::CODE.to_owned(),
        });
    });
    world
}

#[tokio::test]
async fn what_a_side_refuses_is_rejected_in_its_own_words_and_an_unchanged_touch_does_not_ask_again() {
    let world = refusing();
    let keys = world.rows(["bad", "bad"]);
    assert_eq!(world.run_keys(&keys).await, Summary { rejected: 2, ..both() });
    let rejected = world.ports.state.all_rejected();
    assert_eq!(rejected.len(), 2);
    for one in &rejected {
        assert_eq!(one.code, "FIELD_CUSTOM_VALIDATION_EXCEPTION");
        assert_eq!(one.message, "Names are good here");
        assert_eq!((one.side, one.fields.as_slice()), (Side::Salesforce, ["LastName".to_owned()].as_slice()));
        assert!(keys.contains(one.postgres_key.as_ref().unwrap()));
    }
    let outcomes: Vec<_> = world.ports.database.closed().into_iter().map(|(_, outcome)| outcome).collect();
    assert_eq!(outcomes, [HistoryOutcome::Refused; 2]);
    assert_eq!(
        (world.ports.state.deferred(), world.ports.salesforce.writes()),
        (2, (0, 0)),
        "tried again later"
    );
    let again = world.run_keys(&keys).await;
    assert_eq!((again.skipped, again.rejected), (2, 0));
    world.edit_row(&keys[0], "good");
    assert_eq!(world.run_keys(&keys).await.records_created, 1);
    assert_eq!(world.ports.state.all_rejected().len(), 1, "cleared with the write");
    let mut newer = World { definition: world.definition.clone(), ..world };
    newer.definition.version += 1;
    assert_eq!(newer.run_keys(&keys).await.rejected, 1, "tried once more under another definition");
}

#[tokio::test]
async fn a_value_without_a_canonical_form_is_rejected_with_its_field() {
    let mut world = World::new();
    world.definition.fields[0].rule.kind = RuleKind::Date;
    let keys = world.rows(["one"]);
    world.ports.database.edit("contacts", &keys[0], "FirstName", Some("many"));
    let summary = world.run_keys(&keys).await;
    assert_eq!(
        (summary.rejected, summary.held, summary.records_created),
        (1, 0, 1),
        "only its field is held"
    );
    let rejected = world.ports.state.all_rejected();
    assert_eq!((rejected[0].code.as_str(), rejected[0].side), ("VALUE", Side::Postgres));
    assert_eq!(rejected[0].fields, ["FirstName"]);
    assert!(rejected[0].message.starts_with("FirstName in Postgres is not a date"), "{rejected:?}");
}

#[tokio::test]
async fn deletes_that_a_person_decides_are_held_and_those_that_are_kept_are_let_go() {
    let mut world = World::new();
    world.definition.deletes = Deletes::default();
    let ids = world.records(["one", "two"]);
    world.run_ids(&ids).await;
    for id in &ids {
        world.ports.salesforce.delete(id);
    }
    assert_eq!(world.run_ids(&ids).await, Summary { held: 2, ..both() });
    let held = world.ports.state.held();
    assert_eq!(held.len(), 2);
    assert!(held.iter().all(|one| one.held == Held::Deleted { side: Side::Salesforce }));
    assert!(held.iter().all(|one| ids.contains(one.salesforce_id.as_ref().unwrap())));
    assert_eq!(world.ports.database.rows().len(), 2);
    for id in &ids {
        world.ports.salesforce.undelete(id);
    }
    world.run_ids(&ids).await;
    assert!(world.ports.state.held().is_empty(), "they came back");
}

#[tokio::test]
async fn a_merged_record_is_held_with_the_one_that_it_was_merged_into() {
    let mut world = World::new();
    world.definition.deletes = Deletes::default();
    let [loser, master] = world.records(["loser", "master"]);
    world.run_ids(&[loser.clone(), master.clone()]).await;
    world.ports.salesforce.merge(&loser, &master);
    world.run_ids(std::slice::from_ref(&loser)).await;
    let held = world.ports.state.held();
    assert_eq!((held.len(), held[0].merged_into.as_ref()), (1, Some(&master)));
}

/// The sync of accounts, of which only the name is mapped.
pub(super) fn accounts() -> Definition {
    let fields = vec![field("Name", "name")];
    Definition {
        name: "accounts".to_owned(),
        object: "Account".to_owned(),
        fields,
        ..World::new().definition
    }
}

/// The values of an account of this name.
pub(super) fn account(name: &str) -> Values {
    Values::from([("Name".to_owned(), Some(name.to_owned()))])
}

/// Contacts whose `AccountId` looks up the sync of accounts.
pub(super) fn with_lookup() -> World {
    let mut world = World::new();
    let mut lookup = field("AccountId", "account_id");
    lookup.rule.kind = RuleKind::Id;
    lookup.lookup = Some(Lookup { sync: "accounts".to_owned() });
    world.definition.fields.push(lookup);
    world
}

#[tokio::test]
async fn a_child_waits_for_its_parent_and_goes_once_that_is_linked() {
    let world = with_lookup();
    let [key] = world.rows(["child"]);
    let accounts = accounts();
    let parent = world.ports.database.insert("accounts", account("parent"));
    let text = support::key_text(&parent);
    world.ports.database.edit("contacts", &key, "AccountId", Some(&text));
    let before = world.ports.clock.now();
    let summary = world.run_keys(std::slice::from_ref(&key)).await;
    assert_eq!((summary.deferred, summary.records_created), (1, 1), "the rest of it goes already");
    assert!(world.ports.state.all_wait_for_parents());
    let due = world.ports.state.next_due().unwrap().duration_since(before);
    assert!(due > SignedDuration::from_secs(5) && due < SignedDuration::from_secs(8), "{due}");
    let child = world.id_of(&key);
    assert_eq!(world.ports.salesforce.records()[&child].values.get("AccountId").cloned().flatten(), None);
    let touch = Touch::of_key("accounts", parent.clone(), Source::CaptureLog, world.ports.clock.now());
    reconcile(&world.ports, &accounts, vec![touch]).await.unwrap();
    assert!(world.ports.state.next_due().unwrap() < before, "due at once");
    world.run_keys(std::slice::from_ref(&key)).await;
    let expected = world.ports.database.rows()[&parent].link.clone();
    assert_eq!(world.ports.salesforce.records()[&child].values["AccountId"], expected);
}

#[tokio::test]
async fn a_lookup_is_written_as_the_key_of_the_parents_row() {
    let world = with_lookup();
    let accounts = accounts();
    let parent = world.ports.salesforce.insert_into("Account", account("parent")).unwrap();
    let touch = |id| Touch::of_id("accounts", id, Source::CatchUp, world.ports.clock.now());
    reconcile(&world.ports, &accounts, vec![touch(parent.clone())]).await.unwrap();
    let (row, _) = world.ports.database.rows().into_iter().next().unwrap();
    let [child] = world.records(["child"]);
    world.ports.salesforce.edit(&child, "AccountId", Some(parent.as_str()));
    assert_eq!(world.run_ids(std::slice::from_ref(&child)).await, Summary { rows_inserted: 1, ..both() });
    let rows = world.ports.database.rows();
    let of_child = rows.values().find(|row| row.link.as_deref() == Some(child.as_str())).unwrap();
    assert_eq!(of_child.values["AccountId"], Some(support::key_text(&row)));
}

#[tokio::test]
async fn a_lookup_that_is_refused_for_another_record_is_tried_again_by_itself() {
    let world = World::new();
    world.refuse_saves(SaveError::new("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", &[]));
    let keys = world.rows(["one"]);
    let summary = world.run_keys(&keys).await;
    assert_eq!((summary.rejected, summary.deferred), (1, 1));
    let again = world.run_keys(&keys).await;
    assert_eq!((again.rejected, again.skipped), (1, 0), "the other record may stand by now");
}

#[tokio::test]
async fn an_outage_at_the_read_fails_the_run_and_leaves_the_breaker_to_the_caller() {
    let world = World::new();
    let keys = world.rows(["one", "two"]);
    world.run_keys(&keys).await;
    keys.iter().for_each(|key| world.edit_row(key, "edited"));
    world
        .ports
        .salesforce
        .set_down(Some(PortError::Outage { side: Side::Salesforce, message: "away".into() }));
    let touches = keys.iter().map(|key| world.of_key(key)).collect();
    let answer = reconcile(&world.ports, &world.definition, touches).await;
    assert!(matches!(answer, Err(PortError::Outage { .. })), "the read was refused: {answer:?}");
    assert_eq!(
        world.ports.state.breaker(Side::Salesforce).await.unwrap(),
        Breaker::default(),
        "the caller notes it"
    );
}

#[tokio::test]
async fn sides_that_correct_each_other_end_as_a_rejected_record_with_both_values() {
    let world = World::new();
    world.ports.salesforce.set_up(|org| {
        org.automations.push(Automation {
            object: "Contact".to_owned(),
            when: "LastName".to_owned(),
            set: "LastName".to_owned(),
            to: "{upper}".to_owned(),
        });
    });
    let [key] = world.rows(["swing"]);
    for _ in 0..40 {
        world.run_keys(std::slice::from_ref(&key)).await;
        world.edit_row(&key, "swing");
        if !world.ports.state.all_rejected().is_empty() {
            break;
        }
    }
    let rejected = world.ports.state.all_rejected();
    assert_eq!(rejected.len(), 1, "told, and left alone");
    assert_eq!((rejected[0].code.as_str(), rejected[0].side), ("OSCILLATING", Side::Postgres));
    for words in ["LastName went back and forth", "\"SWING\"", "\"swing\""] {
        assert!(rejected[0].message.contains(words), "{words} is missing from {}", rejected[0].message);
    }
    assert_eq!(rejected[0].fields, ["LastName"]);
}

#[tokio::test]
async fn a_refusal_of_what_is_created_anew_is_not_cleared_by_the_deleted_record() {
    let mut world = refusing();
    world.definition.primary = Side::Postgres;
    let [key] = world.rows(["good"]);
    world.run_keys(std::slice::from_ref(&key)).await;
    let id = world.id_of(&key);
    world.ports.salesforce.delete(&id);
    world.edit_row(&key, "bad");
    assert_eq!(world.run_keys(std::slice::from_ref(&key)).await.rejected, 1);
    let rejected = world.ports.state.all_rejected();
    assert_eq!((rejected[0].salesforce_id.as_ref(), rejected[0].postgres_key.as_ref()), (None, Some(&key)));
    let mut touch = world.of_id(&id);
    touch.evidence.sf_deleted = true;
    world.run(vec![touch]).await;
    assert_eq!(world.ports.state.all_rejected(), rejected);
}

fn tally<const N: usize>(entered: usize, left: [(FateKind, usize); N]) -> Tally {
    Tally { entered, left: left.into() }
}

#[tokio::test]
async fn every_touch_that_enters_a_run_leaves_it_with_exactly_one_fate() {
    let world = World::new();
    let [written, held] = world.rows(["one", "two"]);
    let last = || world.ports.steps.last_tally().unwrap();
    world.run_keys(&[written.clone(), held.clone()]).await;
    assert_eq!(last(), tally(2, [(FateKind::Written, 2)]));

    world.ports.salesforce.hide(&world.id_of(&held), true);
    let stamp = world.ports.salesforce.records()[&world.id_of(&written)].stamp;
    world.run_keys(std::slice::from_ref(&written)).await;
    let seen = Touch { stamp: Some(stamp), ..world.of_id(&world.id_of(&written)) };
    world.run(vec![seen, world.of_key(&held)]).await;
    assert_eq!(last(), tally(2, [(FateKind::Skipped, 1), (FateKind::Held, 1)]));

    // Two touches of one record are looked at together, and both leave by its fate.
    world.run(vec![world.of_key(&written), world.of_id(&world.id_of(&written))]).await;
    assert_eq!(last(), tally(2, [(FateKind::Equal, 2)]));

    world.ports.salesforce.edit(&world.id_of(&written), "LastName", Some("of sales"));
    let edited = |step| {
        if step == Step::SavedIntents {
            world.edit_row(&written, "of the app");
        }
    };
    world.run_with(vec![world.of_key(&written)], edited).await;
    assert_eq!(last(), tally(1, [(FateKind::Again, 1)]));

    ended_at(&world, world.of_key(&written), Step::SavedIntents).await;
    world.run_keys(std::slice::from_ref(&written)).await;
    assert_eq!(last(), tally(1, [(FateKind::Waiting, 1)]));
    world.ports.clock.advance(world.ports.settings().lease);
    world.run_keys(std::slice::from_ref(&written)).await;

    world.refuse_saves(SaveError::new("REQUIRED_FIELD_MISSING", "in its own words", &[]));
    world.edit_row(&written, "refused");
    world.run_keys(std::slice::from_ref(&written)).await;
    let last = || world.ports.steps.last_tally().unwrap();
    assert_eq!(last(), tally(1, [(FateKind::Rejected, 1)]));
    assert_eq!(world.ports.steps.uneven_tallies(), []);
}
