//! What a run leaves in the capture log, for whoever reads it next, and in history, for people.

use super::World;
use std::sync::Arc;
use support::RowRefusal;
use syncline_engine::{Side, Value};
use syncline_sync::{Database, HistoryRow, LogBatch};

/// The keys in the capture log, which is emptied.
async fn logged(world: &World) -> usize {
    let log = world.ports.database.take_log(100).await.unwrap();
    let count = log.touches().len();
    log.commit().await.unwrap();
    count
}

fn of_side(world: &World, side: Side) -> Vec<HistoryRow> {
    world.ports.database.history().into_iter().filter(|row| row.side == side).collect()
}

#[tokio::test]
async fn syncline_own_writes_leave_no_row_in_the_capture_log() {
    let world = World::new();
    let [id] = world.records(["one"]);
    let ids = std::slice::from_ref(&id);
    world.run_ids(ids).await;
    assert_eq!(logged(&world).await, 0, "an insert");
    world.ports.salesforce.edit(&id, "LastName", Some("edited"));
    world.run_ids(ids).await;
    assert_eq!(logged(&world).await, 0, "an update");
    world.ports.salesforce.delete(&id);
    assert_eq!(world.run_ids(ids).await.rows_deleted, 1);
    assert_eq!(logged(&world).await, 0, "a delete");
    let [key] = world.rows(["row"]);
    assert_eq!(logged(&world).await, 1, "the app's own insert");
    world.run_keys(std::slice::from_ref(&key)).await;
    assert!(world.ports.database.rows()[&key].link.is_some());
    assert_eq!(logged(&world).await, 0, "its link");
}

#[tokio::test]
async fn a_table_that_two_syncs_share_keeps_every_touch_for_the_other_one() {
    let mut world = World::new();
    world.definition.table_shared = true;
    let [id] = world.records(["one"]);
    world.run_ids(std::slice::from_ref(&id)).await;
    assert_eq!(logged(&world).await, 1);
    let [key] = world.rows(["row"]);
    logged(&world).await;
    world.run_keys(std::slice::from_ref(&key)).await;
    assert_eq!(logged(&world).await, 1, "the link as well");
}

#[tokio::test]
async fn a_value_that_a_trigger_changes_in_our_write_stays_in_the_capture_log() {
    // The field that is written, and one that is not.
    for field in ["LastName", "FirstName"] {
        let mut world = World::new();
        world.ports.database.rules.before = Some(Arc::new(move |_, _, values| {
            values.insert(field.to_owned(), Some("by trigger".to_owned()));
            Ok(())
        }));
        let [id] = world.records(["one"]);
        let ids = std::slice::from_ref(&id);
        world.run_ids(ids).await;
        assert_eq!(logged(&world).await, 1, "{field} of an insert");
        world.ports.salesforce.edit(&id, "LastName", Some("edited"));
        let update = world.run_ids(ids).await;
        assert_eq!(update.rows_updated, 1);
        let expected = usize::from(field == "LastName");
        assert_eq!(logged(&world).await, expected, "{field} of an update; what stood already is no change");
    }
}

#[tokio::test]
async fn writing_a_link_leaves_a_log_row_only_if_a_trigger_changes_the_row() {
    for meddles in [true, false] {
        let mut world = World::new();
        world.ports.database.rules.before = Some(Arc::new(move |_, before, values| {
            if meddles && before.is_some() {
                values.insert("FirstName".to_owned(), Some("linked".to_owned()));
            }
            Ok(())
        }));
        let [key] = world.rows(["row"]);
        logged(&world).await;
        world.run_keys(std::slice::from_ref(&key)).await;
        assert_eq!(logged(&world).await, usize::from(meddles));
    }
}

#[tokio::test]
async fn history_names_record_field_values_source_reason_and_actor() {
    let world = World::new();
    let [key] = world.rows(["one"]);
    let mut touch = world.of_key(&key);
    touch.actor = Some("jane".to_owned());
    world.run(vec![touch]).await;
    let id = world.id_of(&key);
    let created = of_side(&world, Side::Salesforce);
    assert_eq!((created.len(), of_side(&world, Side::Postgres).len()), (1, 0));
    assert_eq!((created[0].field.clone(), created[0].postgres_key.clone()), (None, Some(key.clone())));
    assert_eq!((created[0].reason.as_str(), created[0].source.as_str()), ("created", "capture-log"));
    assert_eq!(created[0].actor.as_deref(), Some("jane"));

    world.edit_row(&key, "edited");
    world.run_keys(std::slice::from_ref(&key)).await;
    let updated = of_side(&world, Side::Salesforce).remove(1);
    assert_eq!(updated.field.as_deref(), Some("LastName"));
    assert_eq!((updated.before, updated.after), (Value::Text("one".into()), Value::Text("edited".into())));
    assert_eq!(updated.salesforce_id, Some(id.clone()));

    world.ports.salesforce.edit(&id, "FirstName", Some("of sales"));
    world.run_ids(std::slice::from_ref(&id)).await;
    let row = of_side(&world, Side::Postgres).pop().unwrap();
    assert_eq!(row.field.as_deref(), Some("FirstName"));
    assert_eq!((row.before, row.after), (Value::Null, Value::Text("of sales".into())));
    assert_eq!((row.source.as_str(), row.actor), ("outbound-message", None));

    world.ports.salesforce.delete(&id);
    world.run_ids(std::slice::from_ref(&id)).await;
    let row = of_side(&world, Side::Postgres).pop().unwrap();
    assert_eq!((row.field, row.reason.as_str()), (None, "deleted"));
}

#[tokio::test]
async fn a_link_that_was_emptied_is_filled_again_and_history_says_so() {
    let world = World::new();
    let (key, id) = world.linked().await;
    assert!(world.ports.database.write_link("contacts", &key, None));
    let summary = world.run_keys(std::slice::from_ref(&key)).await;
    assert_eq!((summary.rows_updated, world.id_of(&key)), (1, id.clone()));
    let row = of_side(&world, Side::Postgres).pop().unwrap();
    assert_eq!(row.field.as_deref(), Some("salesforce_id"));
    assert_eq!((row.before, row.after), (Value::Null, Value::Text(id.to_string())));
    assert_eq!(row.reason, "filled-empty");
    assert_eq!(
        of_side(&world, Side::Salesforce).len(),
        1,
        "its create; nothing was written there for the link"
    );
}

#[tokio::test]
async fn a_row_that_postgres_refuses_is_rejected_by_its_field_and_others_stand() {
    let mut world = World::new();
    world.ports.database.rules.before = Some(Arc::new(|_, _, values| {
        if values.get("LastName").is_some_and(|name| name.as_deref() == Some("bad")) {
            return Err(RowRefusal {
                code: "23514".to_owned(),
                message: "violates check constraint".to_owned(),
                column: Some("last_name".to_owned()),
            });
        }
        Ok(())
    }));
    let ids = world.records(["good", "bad"]);
    let summary = world.run_ids(&ids).await;
    assert_eq!((summary.rows_inserted, summary.rejected, summary.deferred), (1, 1, 0));
    let rejected = world.ports.state.all_rejected().remove(0);
    assert_eq!((rejected.code.as_str(), rejected.side), ("23514", Side::Postgres));
    assert_eq!(rejected.fields, ["LastName"], "the field of the column that it names");
    assert_eq!(rejected.salesforce_id.as_ref(), Some(&ids[1]));
    assert_eq!(world.run_ids(&ids).await.skipped, 1);
}

#[tokio::test]
async fn a_row_whose_parent_is_not_there_yet_is_tried_again_by_itself() {
    let mut world = World::new();
    world.ports.database.rules.before = Some(Arc::new(|_, _, _| {
        let message = "violates foreign key constraint".to_owned();
        Err(RowRefusal { code: "23503".to_owned(), message, column: None })
    }));
    let ids = world.records(["one"]);
    let summary = world.run_ids(&ids).await;
    assert_eq!((summary.rejected, summary.deferred), (1, 1));
    assert_eq!(world.run_ids(&ids).await.skipped, 0);
}
