//! Whose row it is: links that are missing, wrong, another's or filled by hand, and bases that a newer version wrote.

use super::fates::with_lookup;
use super::{World, both};
use jiff::SignedDuration;
use org::FieldType;
use syncline_engine::{DeletePolicy, Held, Parent, PostgresKey, SalesforceId, Side};
use syncline_sync::reconcile::Summary;
use syncline_sync::{Clock, Ports, Put, Queue, State, Step, Touch, consume, poll};

fn never_there() -> SalesforceId {
    SalesforceId::parse("003D00000099999").unwrap()
}

#[tokio::test]
async fn a_row_that_names_a_record_which_is_not_there_is_held_and_is_no_new_row() {
    let world = World::new();
    let [key] = world.rows(["one"]);
    world.ports.database.write_link("contacts", &key, Some(never_there().as_str()));
    let first = world.run_keys(std::slice::from_ref(&key)).await;
    assert_eq!(first.deferred, 1, "looked at by its record");
    let touch = Touch { id: Some(never_there()), ..world.of_key(&key) };
    assert_eq!(world.run(vec![touch]).await, Summary { held: 1, ..both() });
    let held = world.ports.state.held().remove(0);
    assert_eq!(held.held, Held::Missing { side: Side::Salesforce });
    assert_eq!(world.ports.salesforce.writes(), (0, 0));
}

#[tokio::test]
async fn a_row_whose_link_was_filled_by_hand_is_joined_to_that_record() {
    let world = World::new();
    let ([key], [id]) = (world.rows(["row"]), world.records(["row"]));
    world.ports.database.write_link("contacts", &key, Some(id.as_str()));
    world.run_keys(std::slice::from_ref(&key)).await;
    let due = world.ports.clock.now() + SignedDuration::from_secs(1);
    let due = world.ports.state.due(due, 9).await.unwrap();
    let touches: Vec<Touch> = due.into_iter().map(|due| due.touch.unwrap()).collect();
    assert_eq!((touches.len(), touches[0].id.as_ref()), (1, Some(&id)));
    assert_eq!(world.run(touches).await, Summary { equal: 1, ..both() });
    let base = world.ports.state.bases("contacts").remove(0);
    assert_eq!((base.salesforce_id, base.postgres_key, base.live), (Some(id), Some(key), true));
    assert_eq!((world.ports.salesforce.records().len(), world.ports.database.rows().len()), (1, 1));
}

#[tokio::test]
async fn a_link_that_is_no_id_is_rejected_with_what_it_holds() {
    let world = World::new();
    let [key] = world.rows(["one"]);
    world.ports.database.write_link("contacts", &key, Some("nonsense"));
    let summary = world.run_keys(std::slice::from_ref(&key)).await;
    assert_eq!((summary.rejected, summary.records_created), (1, 0));
    let rejected = world.ports.state.all_rejected().remove(0);
    assert_eq!((rejected.code.as_str(), rejected.side), ("LINK", Side::Postgres));
    assert!(rejected.message.contains("the link column holds") && rejected.message.contains("nonsense"));
}

#[tokio::test]
async fn a_linked_row_whose_link_is_changed_is_rejected_and_nothing_is_written() {
    let world = World::new();
    let keys = world.rows(["one", "two"]);
    world.run_keys(&keys).await;
    let (one, two) = (world.id_of(&keys[0]), world.id_of(&keys[1]));
    world.ports.database.write_link("contacts", &keys[0], Some(two.as_str()));
    let writes = world.ports.salesforce.writes();
    let summary = world.run_keys(&keys[..1]).await;
    assert_eq!(summary.rejected, 1);
    let rejected = world.ports.state.all_rejected().remove(0);
    assert_eq!(rejected.code, "LINK");
    for words in [one.as_str(), two.as_str()] {
        assert!(rejected.message.contains(words), "{}", rejected.message);
    }
    assert_eq!(world.ports.salesforce.writes(), writes);
    // The other record finds its own row by its key, and is not disturbed by the one that claims it.
    world.ports.salesforce.edit(&two, "FirstName", Some("still in step"));
    world.run_ids(std::slice::from_ref(&two)).await;
    assert!(world.ports.salesforce.records()[&one].values.get("FirstName").cloned().flatten().is_none());
}

#[tokio::test]
async fn a_touch_whose_id_and_key_belong_to_two_records_reconciles_both() {
    let world = World::new();
    let keys = world.rows(["one", "two"]);
    world.run_keys(&keys).await;
    world.edit_row(&keys[1], "edited");
    let touch = Touch { id: Some(world.id_of(&keys[0])), ..world.of_key(&keys[1]) };
    let summary = world.run(vec![touch]).await;
    assert_eq!((summary.equal, summary.records_updated), (1, 1));
}

#[tokio::test]
async fn an_id_and_a_key_without_base_that_lead_to_two_rows_are_looked_at_apart() {
    let world = World::new();
    let ([linked, other], [id]) = (world.rows(["one", "two"]), world.records(["one"]));
    world.ports.database.write_link("contacts", &linked, Some(id.as_str()));
    let touch = Touch { id: Some(id.clone()), ..world.of_key(&other) };
    let summary = world.run(vec![touch]).await;
    assert_eq!(summary, Summary { deferred: 2, ..both() });
    let due = world.ports.clock.now() + SignedDuration::from_secs(1);
    let due = world.ports.state.due(due, 9).await.unwrap();
    let mut named: Vec<_> =
        due.into_iter().map(|due| due.touch.unwrap()).map(|touch| (touch.id, touch.key)).collect();
    named.sort();
    assert_eq!(named, [(None, Some(other)), (Some(id), None)]);
}

#[tokio::test]
async fn a_record_whose_base_has_a_newer_form_is_deferred_for_about_a_minute() {
    let world = World::new();
    let [key] = world.rows(["one"]);
    world.run_keys(std::slice::from_ref(&key)).await;
    let mut base = world.ports.state.bases("contacts").remove(0);
    base.form += 1;
    let put = Put { expected: base.version, base, conflicts: vec![] };
    assert_eq!(world.ports.state.put("contacts", vec![put]).await, Ok(vec![true]));
    world.edit_row(&key, "edited");
    let before = world.ports.clock.now();
    let calls = world.ports.salesforce.calls();
    assert_eq!(
        world.run_keys(std::slice::from_ref(&key)).await,
        Summary { deferred: 1, ..Summary::default() }
    );
    assert_eq!(world.ports.salesforce.calls(), calls);
    let wait = world.ports.state.next_due().unwrap().duration_since(before);
    assert!(wait >= SignedDuration::from_secs(64) && wait < SignedDuration::from_secs(66), "{wait}");
}

#[tokio::test]
async fn a_row_that_got_another_key_stays_its_records() {
    let world = World::new();
    let (key, id) = world.linked().await;
    let new_key = world.ports.database.change_key("contacts", &key).unwrap();
    world.edit_row(&new_key, "edited");
    let touch = Touch { old_key: Some(key), ..world.of_key(&new_key) };
    assert_eq!(world.run(vec![touch]).await.records_updated, 1);
    let base = world.ports.state.bases("contacts").remove(0);
    assert_eq!((base.salesforce_id, base.postgres_key), (Some(id.clone()), Some(new_key)));
    assert!(!world.ports.salesforce.records()[&id].deleted);
}

#[tokio::test]
async fn a_row_whose_key_changed_and_whose_link_was_emptied_is_followed_by_its_old_key() {
    let world = World::new();
    let (key, id) = world.linked().await;
    let new_key = world.ports.database.change_key("contacts", &key).unwrap();
    world.ports.database.write_link("contacts", &new_key, None);
    world.edit_row(&new_key, "edited");
    let touch = Touch { old_key: Some(key.clone()), ..world.of_key(&new_key) };
    let summary = world.run(vec![touch]).await;
    assert_eq!((summary.records_updated, summary.records_created, summary.rows_updated), (1, 0, 1));
    assert_eq!(world.id_of(&new_key), id);
    assert_eq!(world.ports.state.bases("contacts")[0].postgres_key.as_ref(), Some(&new_key));
    // A row that took the old key since is looked at for itself.
    let due = world.ports.state.due(world.ports.clock.now() + SignedDuration::from_secs(1), 9).await.unwrap();
    let touched: Vec<_> = due.into_iter().map(|due| due.touch.unwrap().key).collect();
    assert_eq!(touched, [Some(key)]);
}

#[tokio::test]
async fn a_row_that_waits_for_a_parent_to_be_created_anew_is_followed_to_its_new_key() {
    let mut world = with_lookup();
    world.definition.primary = Side::Postgres;
    world.definition.fields.last_mut().unwrap().salesforce_required = true;
    let (key, id) = world.linked().await;
    world.ports.salesforce.delete(&id);
    let new_key = world.ports.database.change_key("contacts", &key).unwrap();
    world.ports.database.write_link("contacts", &new_key, None);
    world.ports.database.edit("contacts", &new_key, "AccountId", Some("99"));
    world.edit_row(&new_key, "edited");
    let touch = Touch { old_key: Some(key.clone()), ..world.of_key(&new_key) };
    world.run(vec![touch]).await;
    let base = world.ports.state.bases("contacts").remove(0);
    assert_eq!((base.postgres_key.as_ref(), base.live), (Some(&new_key), true));
    // What still names the old key does not make a missing row of it.
    world.run_keys(&[key]).await;
    let held: Vec<Held> = world.ports.state.held().into_iter().map(|held| held.held).collect();
    let parent = Parent::Postgres("accounts".to_owned(), PostgresKey::of_columns(["99"]));
    assert_eq!(held, [Held::Waiting { field: "AccountId".to_owned(), parent }]);
}

async fn deferred(world: &World) -> Vec<Touch> {
    let due =
        world.ports.state.due(world.ports.clock.now() + SignedDuration::from_secs(1), 99).await.unwrap();
    let mut touches: Vec<Touch> = due.into_iter().map(|due| due.touch.unwrap()).collect();
    touches.sort_by_key(Touch::deferred_key);
    touches
}

#[tokio::test]
async fn a_touch_of_an_unknown_id_and_a_known_row_reconciles_both() {
    let world = World::new();
    let [key] = world.rows(["one"]);
    world.run_keys(std::slice::from_ref(&key)).await;
    let [stranger] = world.records(["stranger"]);
    let touch = Touch { id: Some(stranger.clone()), ..world.of_key(&key) };
    let summary = world.run(vec![touch]).await;
    assert_eq!((summary.rows_inserted, summary.equal), (1, 1));
    let links: Vec<_> = world.ports.database.rows().into_values().filter_map(|row| row.link).collect();
    assert!(links.contains(&stranger.to_string()));
}

#[tokio::test]
async fn a_touch_whose_id_key_and_old_key_name_three_records_reconciles_all_three() {
    let world = World::new();
    let [one, two] = world.rows(["one", "two"]);
    world.run_keys(&[one.clone(), two.clone()]).await;
    let [new] = world.rows(["new"]);
    let touch = Touch { id: Some(world.id_of(&one)), old_key: Some(two), ..world.of_key(&new) };
    let summary = world.run(vec![touch]).await;
    assert_eq!((summary.records_created, summary.equal), (1, 2));
}

#[tokio::test]
async fn a_touch_that_names_a_record_and_an_unknown_row_defers_a_touch_of_the_row_alone() {
    let world = World::new();
    let [one] = world.rows(["one"]);
    world.run_keys(std::slice::from_ref(&one)).await;
    let [new] = world.rows(["new"]);
    let touch = Touch { id: Some(world.id_of(&one)), ..world.of_key(&new) };
    let summary = world.run(vec![touch]).await;
    assert_eq!((summary.equal, summary.records_created), (1, 0));
    let touches = deferred(&world).await;
    assert_eq!(touches.len(), 1);
    assert_eq!((touches[0].id.as_ref(), touches[0].key.as_ref()), (None, Some(&new)));
    let touch = Touch { id: Some(world.id_of(&one)), ..world.of_key(&one) };
    assert_eq!(world.run(vec![touch]).await, Summary { equal: 1, ..both() }, "its own row is not");
}

#[tokio::test]
async fn a_touch_does_not_link_a_record_and_a_row_that_have_no_base() {
    let world = World::new();
    let ([key], [id]) = (world.rows(["row"]), world.records(["record"]));
    let touch = Touch { id: Some(id.clone()), ..world.of_key(&key) };
    assert_eq!(world.run(vec![touch]).await, Summary { deferred: 2, ..both() });
    let named: Vec<_> = deferred(&world).await.into_iter().map(|touch| (touch.id, touch.key)).collect();
    assert_eq!(named, [(Some(id), None), (None, Some(key.clone()))]);

    let world = World::new();
    let ([key], [one, other]) = (world.rows(["row"]), world.records(["one", "other"]));
    world.ports.database.write_link("contacts", &key, Some(other.as_str()));
    let touch = Touch { id: Some(one), ..world.of_key(&key) };
    let summary = world.run(vec![touch]).await;
    assert_eq!((summary.rejected, summary.deferred), (0, 1), "the row is the other one's");
    let touch = deferred(&world).await.remove(0);
    assert_eq!((touch.id, touch.key), (Some(other), Some(key)));
}

#[tokio::test]
async fn touches_of_one_record_are_reconciled_once_and_a_second_key_change_is_deferred() {
    let world = World::new();
    let (key, id) = world.linked().await;
    let touches = vec![world.of_id(&id), world.of_key(&key)];
    assert_eq!(world.run(touches).await, Summary { equal: 1, ..both() });
    let second = world.ports.database.change_key("contacts", &key).unwrap();
    let third = world.ports.database.change_key("contacts", &second).unwrap();
    let moves = vec![
        Touch { id: Some(id.clone()), old_key: Some(key), ..world.of_key(&second) },
        Touch { id: Some(id.clone()), old_key: Some(second.clone()), ..world.of_key(&third) },
    ];
    let summary = world.run(moves).await;
    assert_eq!(summary.equal, 1);
    assert!(
        deferred(&world).await.iter().any(|touch| touch.key.as_ref() == Some(&third)),
        "one after the other"
    );
    let bases = world.ports.state.bases("contacts");
    assert_eq!((bases.len(), bases[0].postgres_key.as_ref()), (1, Some(&third)), "found by its link");
}

#[tokio::test]
async fn a_new_row_under_a_key_that_names_another_base_gets_a_base_of_its_own() {
    let world = World::new();
    let [first] = world.rows(["one"]);
    let mut key = first.clone();
    for _ in 0..3 {
        world.run_keys(std::slice::from_ref(&key)).await;
        let moved = world.ports.database.change_key("contacts", &first).unwrap();
        world.run(vec![Touch { old_key: Some(first.clone()), ..world.of_key(&moved) }]).await;
        let values = super::values("next");
        world.ports.database.insert_as("contacts", &first, None, values).unwrap();
        key = first.clone();
    }
    let names: Vec<String> = world.ports.state.bases("contacts").into_iter().map(|base| base.key.0).collect();
    assert_eq!(names, ["p:[\"1\"]", "p:[\"1\"]~2", "p:[\"1\"]~3"]);
    assert_eq!(world.ports.salesforce.records().len(), 3);
}

#[tokio::test]
async fn a_row_relinked_to_a_record_whose_row_was_deleted_rejects_both_records() {
    let world = World::new();
    let [one, two] = world.rows(["one", "two"]);
    world.run_keys(&[one.clone(), two.clone()]).await;
    let (first, second) = (world.id_of(&one), world.id_of(&two));
    world.ports.database.write_link("contacts", &one, Some(second.as_str()));
    world.ports.database.delete("contacts", &two);
    let writes = world.ports.salesforce.writes();
    let summary = world.run_ids(std::slice::from_ref(&second)).await;
    assert_eq!((summary.rejected, summary.deferred, summary.held), (1, 0, 0));
    let rejected = world.ports.state.all_rejected().remove(0);
    assert_eq!((rejected.code.as_str(), rejected.salesforce_id), ("LINK", Some(second)));
    let words = format!("row {one} belongs to {first}, but its link column names this record");
    assert_eq!(rejected.message, words);
    let summary = world.run_ids(std::slice::from_ref(&first)).await;
    assert_eq!(summary.rejected, 1);
    assert_eq!(world.ports.salesforce.writes(), writes);
}

#[tokio::test]
async fn a_row_whose_key_changed_while_its_record_was_created_anew_is_found_by_the_link_it_still_shows() {
    for by_new_key in [true, false] {
        let mut world = World::new();
        world.definition.primary = Side::Postgres;
        let [key] = world.rows(["one"]);
        world.run_keys(std::slice::from_ref(&key)).await;
        let gone = world.id_of(&key);
        world.ports.salesforce.delete(&gone);
        world.edit_row(&key, "edited, so it stays");
        super::bases::ended_at(&world, world.of_key(&key), Step::WroteSalesforce).await;
        let new_key = world.ports.database.change_key("contacts", &key).unwrap();
        world.ports.clock.advance(world.ports.settings().lease);
        world.run_keys(&[if by_new_key { new_key.clone() } else { key }]).await;
        to_rest(&world).await;
        let id = world.id_of(&new_key);
        assert_ne!(id, gone);
        let records = world.ports.salesforce.records();
        assert_eq!((records.len(), records[&id].deleted, records[&gone].deleted), (2, false, true));
        let bases = world.ports.state.bases("contacts");
        assert_eq!((bases.len(), bases[0].postgres_key.as_ref(), bases[0].live), (1, Some(&new_key), true));
        assert_eq!(bases[0].replaced, [gone]);
    }
}

#[tokio::test]
async fn rows_whose_records_are_created_anew_are_linked_to_the_new_ones_also_under_another_key() {
    let mut world = World::new();
    world.definition.primary = Side::Postgres;
    let keys = world.rows(["one", "two"]);
    world.run_keys(&keys).await;
    let gone = keys.clone().map(|key| world.id_of(&key));
    for (key, id) in keys.iter().zip(&gone) {
        world.ports.salesforce.delete(id);
        world.edit_row(key, "edited, so it stays");
    }
    let moved = std::cell::RefCell::new(None);
    let at = |step| {
        if step == Step::CommittedPostgres {
            *moved.borrow_mut() = world.ports.database.change_key("contacts", &keys[1]);
        }
    };
    let touches = keys.iter().map(|key| world.of_key(key)).collect();
    let summary = world.run_with(touches, at).await;
    assert_eq!((summary.records_created, summary.deferred), (2, 0));
    let new_key = moved.into_inner().unwrap();
    for (key, gone) in [&keys[0], &new_key].into_iter().zip(gone) {
        let id = world.id_of(key);
        let base = world
            .ports
            .state
            .bases("contacts")
            .into_iter()
            .find(|base| base.salesforce_id == Some(id.clone()));
        let base = base.unwrap();
        assert_eq!((base.postgres_key.as_ref(), base.replaced), (Some(key), vec![gone]));
    }
}

#[tokio::test]
async fn a_record_that_comes_back_before_another_is_in_its_stead_finds_what_was_agreed_on() {
    let mut world = World::new();
    world.definition.primary = Side::Postgres;
    world.ports.salesforce.set_up(|org| {
        let fields = &mut org.schema_mut("Contact").unwrap().fields;
        let name = fields.iter_mut().find(|field| field.name == "LastName").unwrap();
        name.kind = FieldType::Text("string", 9);
    });
    let [key] = world.rows(["one"]);
    world.ports.database.edit("contacts", &key, "FirstName", Some("agreed on"));
    world.run_keys(std::slice::from_ref(&key)).await;
    let id = world.id_of(&key);
    world.ports.salesforce.delete(&id);
    world.edit_row(&key, "much too long a name");
    assert_eq!(world.run_keys(std::slice::from_ref(&key)).await.rejected, 1, "it cannot be created anew");
    world.ports.database.edit("contacts", &key, "FirstName", None);
    world.edit_row(&key, "short");
    world.ports.salesforce.undelete(&id);
    world.run_ids(std::slice::from_ref(&id)).await;
    to_rest(&world).await;
    let record = world.ports.salesforce.records()[&id].values.clone();
    assert_eq!((record.get("FirstName"), record["LastName"].as_deref()), (None, Some("short")));
    assert_eq!(world.ports.database.rows()[&key].values["FirstName"], None, "that it was emptied is an edit");
    assert!(world.ports.state.conflicts().iter().all(|conflict| conflict.field != "FirstName"));
}

#[tokio::test]
async fn a_row_deleted_while_its_record_is_created_deletes_the_record() {
    let world = World::new();
    let [key] = world.rows(["one"]);
    super::bases::ended_at(&world, world.of_key(&key), Step::WroteSalesforce).await;
    world.ports.database.delete("contacts", &key);
    to_rest(&world).await;
    assert!(world.ports.salesforce.records().values().all(|record| record.deleted));
    assert!(world.ports.database.rows().is_empty());
    assert_eq!((world.ports.state.held(), world.ports.state.all_rejected()), (vec![], vec![]));
}

/// Polls and applies until nothing is left to do, for two minutes at most.
pub(super) async fn to_rest(world: &World) {
    let definitions = std::slice::from_ref(&world.definition);
    for _ in 0..240 {
        poll::capture_log(&world.ports, definitions).await.unwrap();
        poll::due(&world.ports).await.unwrap();
        loop {
            let deliveries = world.ports.queue.receive(10).await.unwrap();
            if deliveries.is_empty() {
                break;
            }
            let applied = consume::consume(&world.ports, definitions, &deliveries, None).await;
            assert_eq!(applied.release, Vec::<String>::new());
            world.ports.queue.done(&applied.done).await.unwrap();
        }
        if world.ports.state.deferred() == 0 && world.ports.database.log_len() == 0 {
            return;
        }
        world.ports.clock.advance(SignedDuration::from_millis(500));
    }
    panic!("{} touches are still deferred", world.ports.state.deferred());
}

/// Each row and the record that it is linked to hold the same, and each has one base that knows both.
fn all_agree(world: &World) {
    let (rows, records) = (world.ports.database.rows(), world.ports.salesforce.records());
    let bases = world.ports.state.bases("contacts");
    for (key, row) in &rows {
        let id = SalesforceId::parse(row.link.as_deref().unwrap()).unwrap();
        assert_eq!(row.values["LastName"], records[&id].values["LastName"], "row {key}");
        let base = bases.iter().find(|base| base.salesforce_id.as_ref() == Some(&id)).unwrap();
        assert_eq!((base.postgres_key.as_ref(), base.live, &base.intent), (Some(key), true, &None));
    }
    assert_eq!((rows.len(), records.values().filter(|record| !record.deleted).count()), (2, 2));
    assert!(world.ports.state.all_rejected().is_empty() && world.ports.state.held().is_empty());
}

#[tokio::test]
async fn two_rows_that_swap_their_keys_stay_their_own_records() {
    for edited in [true, false] {
        let world = World::new();
        let [one, two] = world.rows(["one", "two"]);
        to_rest(&world).await;
        let (first, second) = (world.id_of(&one), world.id_of(&two));
        let free = world.ports.database.free_key();
        for (from, to) in [(&one, &free), (&two, &one), (&free, &two)] {
            assert!(world.ports.database.change_key_to("contacts", from, to));
        }
        if edited {
            world.edit_row(&two, "one, edited");
            world.edit_row(&one, "two, edited");
        }
        to_rest(&world).await;
        assert_eq!((world.id_of(&two), world.id_of(&one)), (first.clone(), second.clone()));
        all_agree(&world);
        world.ports.salesforce.edit(&first, "LastName", Some("of sales"));
        world.run_ids(&[first]).await;
        to_rest(&world).await;
        assert_eq!(world.ports.database.rows()[&two].values["LastName"].as_deref(), Some("of sales"));
        all_agree(&world);
    }
}

#[tokio::test]
async fn a_row_that_takes_a_deleted_ones_key_stays_its_own_record() {
    for policy in [DeletePolicy::Propagate, DeletePolicy::Review, DeletePolicy::Keep] {
        for seen_between in [true, false] {
            let mut world = World::new();
            world.definition.deletes.from_postgres = policy;
            let [one, two] = world.rows(["one", "two"]);
            to_rest(&world).await;
            let (first, second) = (world.id_of(&one), world.id_of(&two));
            assert!(world.ports.database.delete("contacts", &one));
            if seen_between {
                to_rest(&world).await;
            }
            assert!(world.ports.database.change_key_to("contacts", &two, &one));
            world.edit_row(&one, "two, edited");
            to_rest(&world).await;
            let told = format!("{policy:?}, {seen_between}: {:?}", world.ports.state.all_rejected());
            assert_eq!(world.id_of(&one), second);
            let records = world.ports.salesforce.records();
            assert_eq!(records[&second].values["LastName"].as_deref(), Some("two, edited"), "{told}");
            assert_eq!(records[&first].deleted, policy == DeletePolicy::Propagate, "{told}");
            assert_eq!(world.ports.state.all_rejected(), [], "{told}");
            let held: Vec<_> = world.ports.state.held().into_iter().map(|held| held.salesforce_id).collect();
            let expected = if policy == DeletePolicy::Review { vec![Some(first)] } else { vec![] };
            assert_eq!(held, expected, "{told}");
            world.ports.salesforce.edit(&second, "LastName", Some("of sales"));
            world.run_ids(&[second]).await;
            let rows = world.ports.database.rows();
            assert_eq!((rows.len(), rows[&one].values["LastName"].as_deref()), (1, Some("of sales")));
        }
    }
}
