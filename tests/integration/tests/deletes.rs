//! A delete goes across with evidence, by policy and within a limit. In every other case the record is held
//! and shown.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use integration::{Options, SyncOptions, World};
use jiff::{SignedDuration, Timestamp};
use syncline_engine::{DeleteLimit, DeletePolicy, Deletes, Side};
use syncline_sync::{Ports, State, delete_counter};

const CONTACTS: &str = "CREATE TABLE contacts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, last_name varchar(80) NOT NULL, title text,
    internal_notes text)";

fn sync() -> SyncOptions {
    SyncOptions::contacts(&[("LastName", "last_name"), ("Title", "title")])
}

async fn world(sync: SyncOptions) -> World {
    let world =
        World::new(Options { sql: CONTACTS, syncs: vec![sync], lease: SignedDuration::from_millis(1_500) })
            .await;
    world.scan().await;
    world.to_rest().await;
    world
}

/// A world with one linked record. Its row has notes in a column that is not synced.
async fn linked(sync: SyncOptions) -> (World, String) {
    let world = world(sync).await;
    let id = world.create("Contact", &[("LastName", "Hopper"), ("Title", "Admiral")]);
    world.catch_up().await;
    world.to_rest().await;
    world.database.run("UPDATE contacts SET internal_notes = 'prefers tea'").await;
    world.to_rest().await;
    (world, id)
}

async fn rows(world: &World) -> i64 {
    world.database.count("SELECT count(*) FROM contacts").await
}

async fn held(world: &World) -> Option<String> {
    world.database.text("SELECT string_agg(body, ' ') FROM syncline.held").await
}

async fn conflicts(world: &World) -> Option<String> {
    let sql =
        "SELECT string_agg(concat_ws(' ', field, salesforce, postgres, winner, reason), ', ' ORDER BY field)
               FROM syncline.conflict";
    world.database.text(sql).await
}

#[tokio::test]
async fn a_delete_in_salesforce_deletes_the_row_and_leaves_a_tombstone() {
    let (world, id) = linked(sync().propagating()).await;
    world.delete("Contact", &id);
    world.catch_up().await;
    let summary = world.to_rest().await;
    assert_eq!((summary.rows_deleted, rows(&world).await), (1, 0));
    assert_eq!(world.database.count("SELECT count(*) FROM syncline.tombstone").await, 1);
    assert_eq!(held(&world).await, None);
    let why = "SELECT side || ' ' || reason FROM syncline.changes WHERE reason = 'deleted'";
    assert_eq!(world.database.text(why).await.as_deref(), Some("postgres deleted"));
    let calls = world.calls();
    world.to_rest().await;
    assert_eq!(world.calls(), calls, "our own delete is no news");
}

#[tokio::test]
async fn a_delete_in_postgres_deletes_the_record() {
    let (world, id) = linked(sync().propagating()).await;
    world.database.run("DELETE FROM contacts").await;
    let summary = world.to_rest().await;
    assert_eq!((summary.records_deleted, world.records("Contact")), (1, 0));
    let user = world.sales();
    assert!(
        world.simulator.org.lock().unwrap().undelete("Contact", &id, &user).is_ok(),
        "it is in the recycle bin"
    );
}

#[tokio::test]
async fn what_is_kept_stands_alone_until_the_deleted_one_comes_back() {
    let policy = DeletePolicy::Keep;
    let deletes = Deletes { from_salesforce: policy, from_postgres: policy };
    let (world, id) = linked(SyncOptions { deletes, ..sync() }).await;
    world.delete("Contact", &id);
    world.catch_up().await;
    world.to_rest().await;
    world.database.run("UPDATE contacts SET title = 'Rear Admiral'").await;
    world.to_rest().await;
    assert_eq!((rows(&world).await, world.records("Contact")), (1, 0), "nothing is created again");
    assert_eq!(held(&world).await, None, "nobody has to decide anything");
    let user = world.sales();
    world.simulator.org.lock().unwrap().undelete("Contact", &id, &user).unwrap();
    world.catch_up().await;
    world.to_rest().await;
    assert_eq!(
        world.field("Contact", &id, "Title").as_deref(),
        Some("Rear Admiral"),
        "it goes on where it was"
    );

    world.database.run("DELETE FROM contacts").await;
    world.to_rest().await;
    world.edit("Contact", &id, &[("Title", "Captain")]);
    world.catch_up().await;
    world.to_rest().await;
    assert_eq!((rows(&world).await, world.records("Contact")), (0, 1), "the row is not inserted again");
}

#[tokio::test]
async fn a_delete_against_an_update_is_a_conflict_and_the_primary_wins() {
    for (primary, lives) in [(Side::Salesforce, false), (Side::Postgres, true)] {
        let (world, id) = linked(SyncOptions { primary, ..sync().propagating() }).await;
        world.delete("Contact", &id);
        world.database.run("UPDATE contacts SET title = 'Captain'").await;
        world.catch_up().await;
        world.to_rest().await;
        let expected = format!("Title Captain {} deleted", primary.word());
        assert_eq!(conflicts(&world).await.as_deref(), Some(expected.as_str()));
        assert_eq!(rows(&world).await, i64::from(lives));
        assert_eq!(
            world.records("Contact"),
            usize::from(lives),
            "what won stands on both sides, or on neither"
        );
        if lives {
            let link = world.database.text("SELECT salesforce_id FROM contacts").await.unwrap();
            assert_ne!(link, id, "Salesforce has no undelete by REST: it is a record of its own");
            assert_eq!(world.field("Contact", &link, "Title").as_deref(), Some("Captain"));
        }
    }
    let (world, id) = linked(sync().propagating()).await;
    world.database.run("DELETE FROM contacts").await;
    world.edit("Contact", &id, &[("Title", "Captain")]);
    world.catch_up().await;
    world.to_rest().await;
    assert_eq!(conflicts(&world).await.as_deref(), Some("Title Captain salesforce deleted"));
    let row = world.database.text("SELECT id || ' ' || title || ' ' || salesforce_id FROM contacts").await;
    assert_eq!(row, Some(format!("1 Captain {id}")), "under the key that it had");
}

#[tokio::test]
async fn an_undelete_brings_the_whole_row_back() {
    let (world, id) = linked(sync().propagating()).await;
    world.delete("Contact", &id);
    world.catch_up().await;
    world.to_rest().await;
    assert_eq!(rows(&world).await, 0);
    let user = world.sales();
    world.simulator.org.lock().unwrap().undelete("Contact", &id, &user).unwrap();
    world.edit("Contact", &id, &[("Title", "Rear Admiral")]);
    world.catch_up().await;
    world.to_rest().await;
    let row = "SELECT concat_ws(', ', id, last_name, title, internal_notes, salesforce_id) FROM contacts";
    let expected = format!("1, Hopper, Rear Admiral, prefers tea, {id}");
    assert_eq!(world.database.text(row).await, Some(expected), "its key and what Salesforce never knew, too");
}

#[tokio::test]
async fn an_undelete_whose_key_is_taken_gets_another() {
    let (world, id) = linked(sync().propagating()).await;
    world.delete("Contact", &id);
    world.catch_up().await;
    world.to_rest().await;
    world
        .database
        .run(
            "INSERT INTO contacts (id, last_name) OVERRIDING SYSTEM VALUE VALUES (1, 'Noether');
              SELECT setval(pg_get_serial_sequence('contacts', 'id'), 10)",
        )
        .await;
    world.to_rest().await;
    let user = world.sales();
    world.simulator.org.lock().unwrap().undelete("Contact", &id, &user).unwrap();
    world.catch_up().await;
    world.to_rest().await;
    let sql = "SELECT string_agg(id || ' ' || last_name, ', ' ORDER BY id) FROM contacts";
    assert_eq!(world.database.text(sql).await.as_deref(), Some("1 Noether, 11 Hopper"));
    assert_eq!(world.records("Contact"), 2);
}

#[tokio::test]
async fn the_delete_limit_pauses_before_the_first_and_says_how_to_go_on() {
    let delete_limit = DeleteLimit { percent: 100, count: 12 };
    let world = world(SyncOptions { delete_limit, ..sync().propagating() }).await;
    world
        .database
        .run("INSERT INTO contacts (last_name) SELECT 'c' || n FROM generate_series(1, 40) n")
        .await;
    world.to_rest().await;
    world.database.run("DELETE FROM contacts WHERE id <= 5").await;
    world.to_rest().await;
    assert_eq!(world.records("Contact"), 35, "a few are nobody's worry");
    world.database.run("DELETE FROM contacts").await;
    poll::poll_log(&world, &world.definitions).await.unwrap();
    let reason = world.database.text("SELECT reason FROM syncline.paused").await.unwrap();
    assert!(
        reason.contains("limit of 12") && reason.contains("syncline resume contacts --deletes 35"),
        "{reason}"
    );
    assert_eq!(world.alerts.raised().len(), 1);
    let deliveries = syncline_sync::Queue::receive(world.queue(), 10).await.unwrap();
    let applied = applier::handle(&world, &world.definitions, &deliveries, None).await;
    syncline_sync::Queue::done(world.queue(), &applied.done).await.unwrap();
    assert_eq!(world.records("Contact"), 35, "not one of them was deleted");

    let now = Timestamp::now();
    world.state().allow(&delete_counter("contacts"), 35, now).await.unwrap();
    world.state().put_paused("contacts", None).await.unwrap();
    world.state().make_due(now, SignedDuration::ZERO).await.unwrap();
    world.to_rest().await;
    assert_eq!(world.records("Contact"), 0, "a person let them through");
}

#[tokio::test]
async fn the_delete_limit_holds_for_deletes_in_salesforce_too() {
    let delete_limit = DeleteLimit { percent: 100, count: 12 };
    let world = world(SyncOptions { delete_limit, ..sync().propagating() }).await;
    let ids: Vec<String> =
        (0..30).map(|n| world.create("Contact", &[("LastName", &format!("c{n}"))])).collect();
    world.catch_up().await;
    world.to_rest().await;
    for id in &ids {
        world.delete("Contact", id);
    }
    world.catch_up().await;
    for _ in 0..5 {
        let deliveries = syncline_sync::Queue::receive(world.queue(), 10).await.unwrap();
        let applied = applier::handle(&world, &world.definitions, &deliveries, None).await;
        syncline_sync::Queue::done(world.queue(), &applied.done).await.unwrap();
    }
    assert!(rows(&world).await >= 18, "{} rows are left", rows(&world).await);
    assert_eq!(world.database.count("SELECT count(*) FROM syncline.paused").await, 1);
}

#[tokio::test]
async fn a_hidden_record_is_missing_and_never_a_delete() {
    let (world, id) = linked(sync().propagating()).await;
    world.simulator.org.lock().unwrap().hidden.insert(id.clone());
    world.database.run("UPDATE contacts SET title = 'Captain'").await;
    world.to_rest().await;
    assert_eq!((rows(&world).await, world.records("Contact")), (1, 1));
    assert!(held(&world).await.unwrap().contains("\"missing\""), "shown as missing");
    world.simulator.org.lock().unwrap().hidden.clear();
    world.database.run("UPDATE contacts SET title = 'Rear Admiral'").await;
    world.to_rest().await;
    assert_eq!(world.field("Contact", &id, "Title").as_deref(), Some("Rear Admiral"));
    assert_eq!(held(&world).await, None);
}

#[tokio::test]
async fn a_row_deleted_while_its_record_is_hidden_is_deleted_once_it_shows() {
    let (world, id) = linked(sync().propagating()).await;
    world.simulator.org.lock().unwrap().hidden.insert(id.clone());
    world.database.run("DELETE FROM contacts").await;
    world.to_rest().await;
    assert_eq!(world.records("Contact"), 1);
    world.simulator.org.lock().unwrap().hidden.clear();
    world.catch_up().await;
    world.to_rest().await;
    assert_eq!((rows(&world).await, world.records("Contact")), (0, 0), "the evidence was remembered");
}

#[tokio::test]
async fn a_purged_record_is_missing_and_its_row_stays() {
    let (world, id) = linked(sync().propagating()).await;
    world.delete("Contact", &id);
    world.simulator.org.lock().unwrap().purge("Contact", &id);
    world.database.run("UPDATE contacts SET title = 'Captain'").await;
    world.to_rest().await;
    assert_eq!(rows(&world).await, 1);
    assert!(held(&world).await.unwrap().contains("\"missing\""));
}

#[tokio::test]
async fn a_partition_detached_is_missing_and_never_a_delete() {
    let (world, _) = linked(sync().propagating()).await;
    world
        .database
        .run(
            "CREATE TABLE elsewhere AS SELECT * FROM contacts;
              SET session_replication_role = replica; ALTER TABLE contacts DISABLE TRIGGER USER;
              DELETE FROM contacts; ALTER TABLE contacts ENABLE TRIGGER USER; RESET session_replication_role",
        )
        .await;
    world.catch_up().await;
    world.to_rest().await;
    assert_eq!(world.records("Contact"), 1, "no DELETE was captured");
    assert!(held(&world).await.unwrap().contains("\"missing\""));
}

#[tokio::test]
async fn a_merge_in_salesforce_deletes_the_losers_and_moves_their_children() {
    let mut contacts = SyncOptions::contacts(&[("LastName", "last_name")]).propagating();
    contacts.fields.push(("AccountId", "account_id", Some("accounts")));
    let accounts = SyncOptions::new("accounts", "Account", &[("Name", "name")]).propagating();
    let sql = "CREATE TABLE accounts (id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, name text);
               CREATE TABLE contacts (id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, last_name text,
                   account_id int REFERENCES accounts)";
    let world = World::new(Options {
        sql,
        syncs: vec![contacts, accounts],
        lease: SignedDuration::from_millis(1_500),
    })
    .await;
    let [winner, loser] = ["Acme", "ACME Inc."].map(|name| world.create("Account", &[("Name", name)]));
    world.create("Contact", &[("LastName", "Hopper"), ("AccountId", &loser)]);
    world.scan().await;
    world.to_rest().await;
    let user = world.sales();
    world
        .simulator
        .org
        .lock()
        .unwrap()
        .merge("Account", &winner, std::slice::from_ref(&loser), &user)
        .unwrap();
    world.catch_up().await;
    world.to_rest().await;
    for _ in 0..20 {
        world.catch_up().await;
        world.database.run("UPDATE syncline.deferred SET due = now()").await;
        world.to_rest().await;
        if world.database.count("SELECT count(*) FROM accounts").await == 1 {
            break;
        }
    }
    let sql = "SELECT c.last_name || ' ' || a.name FROM contacts c JOIN accounts a ON a.id = c.account_id";
    assert_eq!(world.database.text(sql).await.as_deref(), Some("Hopper Acme"));
    assert_eq!(world.database.count("SELECT count(*) FROM accounts").await, 1);
    assert_eq!(world.database.count("SELECT count(*) FROM syncline.rejected").await, 0);
}

#[tokio::test]
async fn a_merge_under_review_names_the_winner() {
    let (world, loser) = linked(sync()).await;
    let winner = world.create("Contact", &[("LastName", "Hopper")]);
    world.catch_up().await;
    world.to_rest().await;
    let user = world.sales();
    world
        .simulator
        .org
        .lock()
        .unwrap()
        .merge("Contact", &winner, std::slice::from_ref(&loser), &user)
        .unwrap();
    world.catch_up().await;
    world.to_rest().await;
    assert!(held(&world).await.unwrap().contains(&format!("\"merged_into\":\"{winner}\"")));
}

#[tokio::test]
async fn a_delete_that_a_foreign_key_refuses_is_shown_and_done_once_it_can_be() {
    let (world, id) = linked(sync().propagating()).await;
    world
        .database
        .run("CREATE TABLE orders (contact_id bigint REFERENCES contacts); INSERT INTO orders VALUES (1)")
        .await;
    world.delete("Contact", &id);
    world.catch_up().await;
    world.scan().await;
    let deliveries = syncline_sync::Queue::receive(world.queue(), 10).await.unwrap();
    let applied = applier::handle(&world, &world.definitions, &deliveries, None).await;
    syncline_sync::Queue::done(world.queue(), &applied.done).await.unwrap();
    let body = world.database.text("SELECT body FROM syncline.rejected").await.unwrap();
    assert!(body.contains("foreign key constraint") && body.contains("orders"), "{body}");
    world.database.run("DELETE FROM orders").await;
    world.to_rest().await;
    assert_eq!(rows(&world).await, 0, "it was tried again by itself");
    assert_eq!(world.database.count("SELECT count(*) FROM syncline.rejected").await, 0);
}

#[tokio::test]
async fn a_cascade_carries_its_deletes_across() {
    let mut contacts = SyncOptions::contacts(&[("LastName", "last_name")]).propagating();
    contacts.fields.push(("AccountId", "account_id", Some("accounts")));
    let accounts = SyncOptions::new("accounts", "Account", &[("Name", "name")]).propagating();
    let sql = "CREATE TABLE accounts (id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, name text);
               CREATE TABLE contacts (id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, last_name text,
                   account_id int REFERENCES accounts ON DELETE CASCADE)";
    let world = World::new(Options {
        sql,
        syncs: vec![contacts, accounts],
        lease: SignedDuration::from_millis(1_500),
    })
    .await;
    let acme = world.create("Account", &[("Name", "Acme")]);
    world.create("Contact", &[("LastName", "Hopper"), ("AccountId", &acme)]);
    world.scan().await;
    world.to_rest().await;
    world.database.run("DELETE FROM accounts").await;
    world.to_rest().await;
    assert_eq!((world.records("Account"), world.records("Contact")), (0, 0));
}
