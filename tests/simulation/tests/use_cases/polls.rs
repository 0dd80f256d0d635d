//! What a poll takes up and where it goes on: the capture log, the pulse, what was deferred, scans and their cursors,
//! and the two limits that stop it.

use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use support::{MemoryPorts, contact_definition};
use syncline_engine::{Definition, DeleteLimit, DeletePolicy, SalesforceId, Side};
use syncline_sync::{
    Breaker, Clock, Cursor, Database, Deferred, MessageBody, Outcomes, PortError, Ports, Queue, Source,
    State, Touch, consume, delete_counter, poll, pulse, watch,
};

fn definition() -> Definition {
    contact_definition(Side::Salesforce)
}

fn ports() -> MemoryPorts {
    MemoryPorts::new(1, true)
}

fn named(name: &str) -> BTreeMap<String, Option<String>> {
    BTreeMap::from([("LastName".to_owned(), Some(name.to_owned()))])
}

fn seconds(count: i64) -> SignedDuration {
    SignedDuration::from_secs(count)
}

/// The touches that wait in the queue, which is emptied.
async fn queued(ports: &MemoryPorts) -> Vec<Touch> {
    let mut touches = Vec::new();
    loop {
        let deliveries = ports.queue.receive(10).await.unwrap();
        if deliveries.is_empty() {
            touches.sort_by_key(Touch::deferred_key);
            return touches;
        }
        for delivery in &deliveries {
            touches.extend(serde_json::from_str::<MessageBody>(&delivery.body).unwrap().touches);
        }
        let receipts: Vec<String> = deliveries.into_iter().map(|delivery| delivery.receipt).collect();
        ports.queue.done(&receipts).await.unwrap();
    }
}

/// Everything that waits is reconciled.
async fn settle(ports: &MemoryPorts, definition: &Definition) {
    let definitions = std::slice::from_ref(definition);
    poll::capture_log(ports, definitions).await.unwrap();
    loop {
        let deliveries = ports.queue.receive(10).await.unwrap();
        if deliveries.is_empty() {
            return;
        }
        let applied = consume::consume(ports, definitions, &deliveries, None).await;
        ports.queue.done(&applied.done).await.unwrap();
    }
}

fn limited(from_postgres: DeletePolicy) -> Definition {
    let mut definition = definition();
    definition.deletes.from_postgres = from_postgres;
    definition.delete_limit = DeleteLimit { percent: 100, count: 3 };
    definition
}

async fn ten_linked(ports: &MemoryPorts, definition: &Definition) -> Vec<syncline_engine::PostgresKey> {
    let keys = (0..10).map(|n| ports.database.insert("contacts", named(&format!("c{n}")))).collect();
    settle(ports, definition).await;
    assert_eq!(ports.salesforce.records().len(), 10);
    keys
}

#[tokio::test]
async fn deletes_beyond_the_limit_pause_the_sync_before_the_first_is_carried_across() {
    for (deleted, stopped) in [(2, false), (3, false), (4, true), (6, true)] {
        let (ports, definition) = (ports(), limited(DeletePolicy::Propagate));
        let keys = ten_linked(&ports, &definition).await;
        for key in &keys[..deleted] {
            ports.database.delete("contacts", key);
        }
        poll::capture_log(&ports, std::slice::from_ref(&definition)).await.unwrap();
        let paused = ports.state.paused("contacts").await.unwrap();
        assert_eq!(paused.is_some(), stopped, "{deleted} of ten, three let through");
        let raised = ports.alerts.raised();
        if stopped {
            let reason = paused.unwrap().message;
            assert!(reason.contains("the delete limit of 3 within an hour"), "{reason}");
            assert!(reason.contains(&format!("syncline resume contacts --deletes {deleted}")), "{reason}");
            assert_eq!((raised.len(), raised[0].message.as_str()), (1, reason.as_str()));
        }
        settle(&ports, &definition).await;
        assert_eq!(ports.salesforce.deletes(), if stopped { 0 } else { deleted });
        assert_eq!(ports.alerts.raised().len(), usize::from(stopped), "said once");
    }
}

#[tokio::test]
async fn deletes_of_the_same_hour_count_together_and_a_new_hour_starts_anew() {
    for (wait, stopped) in [(600, true), (3_700, false)] {
        let (ports, definition) = (ports(), limited(DeletePolicy::Propagate));
        let keys = ten_linked(&ports, &definition).await;
        for (place, key) in keys[..4].iter().enumerate() {
            if place == 2 {
                ports.clock.advance(seconds(wait));
            }
            ports.database.delete("contacts", key);
            settle(&ports, &definition).await;
        }
        assert_eq!(ports.salesforce.deletes(), if stopped { 3 } else { 4 });
        assert_eq!(ports.state.paused("contacts").await.unwrap().is_some(), stopped);
        let now = ports.clock.now();
        let counted = ports.state.taken(&delete_counter("contacts"), now, syncline_sync::DELETE_WINDOW).await;
        assert_eq!(counted.unwrap(), if stopped { 3 } else { 2 });
    }
    assert_eq!(delete_counter("contacts"), "deletes/contacts");
}

#[tokio::test]
async fn deletes_that_are_not_carried_across_are_not_limited() {
    for policy in [DeletePolicy::Keep, DeletePolicy::Review] {
        let (ports, definition) = (ports(), limited(policy));
        for key in ten_linked(&ports, &definition).await {
            ports.database.delete("contacts", &key);
        }
        assert_eq!(poll::capture_log(&ports, &[definition]).await, Ok(10));
        assert_eq!(ports.state.paused("contacts").await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_sync_is_limited_by_its_own_deletes_and_definition() {
    let (ports, definition) = (ports(), limited(DeletePolicy::Propagate));
    let keys = ten_linked(&ports, &definition).await;
    for key in &keys[..6] {
        ports.database.delete("contacts", key);
    }
    let other = Definition { name: "other".to_owned(), ..definition };
    poll::capture_log(&ports, &[other]).await.unwrap();
    assert_eq!(ports.state.paused("other").await.unwrap(), None);
    assert_eq!(ports.state.paused("contacts").await.unwrap(), None);
}

#[tokio::test]
async fn a_truncated_table_pauses_its_sync_and_says_so() {
    let (ports, definition) = (ports(), definition());
    ten_linked(&ports, &definition).await;
    ports.database.truncate("contacts");
    assert_eq!(poll::capture_log(&ports, std::slice::from_ref(&definition)).await, Ok(0));
    let reason = ports.state.paused("contacts").await.unwrap().unwrap().message;
    assert!(reason.contains("was truncated"), "{reason}");
    assert_eq!(ports.alerts.raised().len(), 1);
    assert_eq!(poll::capture_log(&ports, &[definition]).await, Ok(0));
    assert_eq!(ports.alerts.raised().len(), 1, "the mark has left the log");
    assert_eq!(ports.salesforce.deletes(), 0);
}

#[tokio::test]
async fn a_pulse_that_is_behind_or_too_far_ahead_pauses_every_sync() {
    // The store knows so much, the database answers so much more or less.
    for (known, ahead, fits) in [
        (0, 1, true),
        (0, 500, true),
        (40, 1, true),
        (40, 20, true),
        (40, 21, false),
        (40, 0, false),
        (40, -9, false),
    ] {
        let (ports, definition) = (ports(), definition());
        ports.state.put_pulse(known).await.unwrap();
        let beat = known.checked_add_signed(ahead).unwrap();
        for _ in 1..beat {
            ports.database.beat().await.unwrap();
        }
        let answer = pulse::pulse(&ports, std::slice::from_ref(&definition)).await;
        let paused = ports.state.paused("contacts").await.unwrap();
        if fits {
            assert_eq!((answer, paused), (Ok(()), None), "{known} and {beat}");
            assert_eq!(ports.state.pulse().await.unwrap(), beat);
            continue;
        }
        let reason = paused.unwrap().message;
        let words = format!("the pulse in the database is {beat} and the one in the state store is {known}");
        assert!(reason.starts_with(&words), "{reason}");
        assert_eq!(answer, Err(PortError::Identity { message: reason }));
        assert_eq!((ports.state.pulse().await.unwrap(), ports.alerts.raised().len()), (known, 1));
        let _ = pulse::pulse(&ports, &[definition]).await;
        assert_eq!(ports.alerts.raised().len(), 1, "said once");
    }
}

#[tokio::test]
async fn what_is_due_goes_to_the_queue_touches_and_newer_messages_alike() {
    let ports = ports();
    let now = ports.clock.now();
    let id = |n: usize| SalesforceId::parse(&format!("003D00000000{n:03}")).unwrap();
    let deferred = |n: usize, due: Timestamp| Deferred {
        touch: Touch::of_id("contacts", id(n), Source::Person, now),
        due,
        waits_for: vec![],
    };
    let stored = vec![deferred(1, now), deferred(2, now), deferred(3, now + seconds(60))];
    ports.state.store("contacts", Outcomes { deferred: stored, ..Outcomes::default() }).await.unwrap();
    for n in 0..3 {
        ports.state.defer_message("contacts.0", &format!("newer {n}"), now).await.unwrap();
    }
    assert_eq!(poll::due(&ports).await, Ok(5));
    let mut bodies = Vec::new();
    for delivery in ports.queue.receive(10).await.unwrap() {
        bodies.push(delivery.body);
    }
    for n in 0..3 {
        assert!(bodies.contains(&format!("newer {n}")));
    }
    let touches: usize = bodies
        .iter()
        .filter_map(|body| serde_json::from_str::<MessageBody>(body).ok())
        .map(|one| one.touches.len())
        .sum();
    assert_eq!(touches, 2);
    assert_eq!((poll::due(&ports).await, ports.state.deferred()), (Ok(0), 1));
    ports
        .state
        .store("contacts", Outcomes { deferred: vec![deferred(4, now)], ..Outcomes::default() })
        .await
        .unwrap();
    assert_eq!(poll::due(&ports).await, Ok(1), "touches alone");
}

#[tokio::test]
async fn the_first_scan_takes_all_of_salesforce_by_id_and_then_all_of_the_table_by_key() {
    let (mut ports, definition) = (ports(), definition());
    ports.salesforce.page = 2;
    let ids: Vec<SalesforceId> = (0..5).map(|n| ports.salesforce.insert(named(&format!("r{n}")))).collect();
    ports.salesforce.delete(&ids[3]);
    let first = ports.database.insert("contacts", named("row"));
    ports.database.write_link("contacts", &first, Some(ids[0].as_str()));
    for _ in 1..2_000 {
        ports.database.insert("contacts", named("row"));
    }
    let scan = async || poll::scan(&ports, &definition).await.unwrap();
    let cursor = async || ports.state.cursor("contacts").await.unwrap();

    assert_eq!(scan().await, (2, true));
    let began = cursor().await.scan_started.unwrap();
    assert_eq!((cursor().await.scan_id, cursor().await.form), (Some(ids[1].clone()), 1));
    ports.clock.advance(seconds(30));
    assert_eq!(scan().await, (1, true), "what is deleted already needs no look");
    assert!(!cursor().await.salesforce_scanned);
    assert_eq!(scan().await, (1, true));
    let after = cursor().await;
    assert!(after.salesforce_scanned && !after.postgres_scanned);
    assert_eq!((after.scan_id, after.scan_started), (None, None));
    assert_eq!(after.stamp, Some(began - ports.settings().look_back), "behind the beginning, not the end");
    let touches = queued(&ports).await;
    assert_eq!(touches.len(), 4);
    assert!(touches.iter().all(|touch| touch.source == Source::FirstScan && touch.stamp.is_none()));

    assert_eq!(scan().await, (2_000, true), "a full page may not be the last");
    assert!(!cursor().await.postgres_scanned && cursor().await.scan_key.is_some());
    assert_eq!(scan().await, (0, false));
    assert!(cursor().await.postgres_scanned && cursor().await.scan_key.is_none());
    let touches = queued(&ports).await;
    let linked: Vec<&Touch> = touches.iter().filter(|touch| touch.id.is_some()).collect();
    assert_eq!((touches.len(), linked.len()), (2_000, 1));
    assert_eq!((linked[0].id.as_ref(), linked[0].key.as_ref()), (Some(&ids[0]), Some(&first)));
}

#[tokio::test]
async fn catch_up_goes_page_by_page_in_order_of_stamps_and_waits_for_its_interval() {
    let (mut ports, definition) = (ports(), definition());
    ports.salesforce.page = 2;
    let scan = async |ports: &MemoryPorts| poll::scan(ports, &definition).await.unwrap();
    while scan(&ports).await.1 {}
    ports.clock.advance(seconds(1_000));
    let ids: Vec<SalesforceId> = (0..3)
        .map(|n| {
            ports.clock.advance(seconds(2));
            ports.salesforce.insert(named(&format!("r{n}")))
        })
        .collect();
    ports.salesforce.delete(&ids[2]);
    ports.clock.advance(seconds(2));
    let stamps: BTreeMap<SalesforceId, Timestamp> =
        ports.salesforce.records().into_iter().map(|(id, record)| (id, record.stamp)).collect();
    let cursor = async || ports.state.cursor("contacts").await.unwrap();

    assert_eq!(scan(&ports).await, (2, true));
    let midway = cursor().await;
    assert_eq!((midway.id.as_ref(), midway.stamp), (Some(&ids[1]), Some(stamps[&ids[1]])));
    let began = midway.scan_started.unwrap();
    assert_eq!(midway.next, None);
    assert_eq!(scan(&ports).await, (1, false));
    let after = cursor().await;
    assert_eq!(after.stamp, Some(began - ports.settings().look_back));
    assert_eq!((after.id, after.scan_started), (None, None));
    let next = after.next.unwrap();
    let wait = next.duration_since(ports.clock.now());
    assert!(wait > seconds(59) && wait <= seconds(60), "{wait}");

    let touches = queued(&ports).await;
    assert_eq!(touches.len(), 3);
    for touch in touches {
        let id = touch.id.unwrap();
        assert_eq!((touch.source, touch.stamp), (Source::CatchUp, Some(stamps[&id])));
        assert_eq!(touch.evidence.sf_deleted, id == ids[2]);
        assert!(!touch.evidence.pg_deleted);
    }
    let calls = ports.salesforce.calls();
    assert_eq!(scan(&ports).await, (0, false));
    assert_eq!(ports.salesforce.calls(), calls, "not before it is due");
    ports.clock.advance_to(next);
    assert_eq!(scan(&ports).await, (0, true), "what lies within the look-back is met again, but was queued");
    assert_eq!(scan(&ports).await, (0, false));
    ports.clock.advance_to(cursor().await.next.unwrap());
    ports.process_memory().forget();
    assert_eq!(scan(&ports).await, (2, true), "a new process remembers nothing and queues it again");
}

#[tokio::test]
async fn an_edit_within_the_second_of_one_that_catch_up_has_seen_is_seen_by_the_next_one() {
    let (ports, definition) = (ports(), definition());
    while poll::scan(&ports, &definition).await.unwrap().1 {}
    ports.clock.advance(seconds(60));
    ports.salesforce.insert(named("one"));
    for (after, count) in [(0, 1), (60, 1), (60, 0)] {
        ports.clock.advance(seconds(after));
        assert_eq!(poll::scan(&ports, &definition).await.unwrap().0, count, "whole seconds tie");
    }
}

/// A poll that was under way when a new definition was applied stores the cursor that apply deleted.
#[tokio::test]
async fn the_scans_begin_anew_under_a_new_definition_even_if_a_poll_stores_the_old_cursor() {
    let (ports, old) = (ports(), definition());
    ports.salesforce.insert(named("a record"));
    ports.database.insert("contacts", named("a row"));
    while poll::scan(&ports, &old).await.unwrap().1 {}
    let cursor = ports.state.cursor("contacts").await.unwrap();
    assert_eq!(cursor.definition, old.version);
    let new = Definition { version: old.version + 1, ..old.clone() };
    assert_eq!(poll::scan(&ports, &new).await.unwrap(), (1, true), "the record");
    assert_eq!(poll::scan(&ports, &new).await.unwrap(), (1, false), "its row");
    let of_new = ports.state.cursor("contacts").await.unwrap();
    assert_eq!((of_new.definition, of_new.salesforce_scanned, of_new.postgres_scanned), (2, true, true));
    // A process that has not loaded the new definition yet leaves the cursor alone.
    assert_eq!(poll::scan(&ports, &old).await.unwrap(), (0, false));
    assert_eq!(ports.state.cursor("contacts").await.unwrap(), of_new);
    // An older version of Syncline stores no version in it.
    let stored = syncline_sync::Cursor { definition: 0, ..of_new.clone() };
    ports.state.put_cursor("contacts", &stored).await.unwrap();
    ports.clock.advance(seconds(60));
    assert!(!poll::scan(&ports, &new).await.unwrap().1, "the scans go on");
}

#[tokio::test]
async fn salesforces_clock_alone_decides_when_a_record_is_read_once_more() {
    for skew in [-90, 0, 90] {
        let (ports, definition) = (ports(), definition());
        ports.salesforce.set_up(|org| org.set_skew(seconds(skew)));
        while poll::scan(&ports, &definition).await.unwrap().1 {}
        let id = ports.salesforce.insert(named("one"));
        let mut seen = Vec::new();
        for minute in 1..=12 {
            ports.clock.advance(seconds(60));
            poll::scan(&ports, &definition).await.unwrap();
            for touch in queued(&ports).await {
                assert_eq!(touch.id, Some(id.clone()));
                seen.push((minute, touch.late));
            }
        }
        // The look-back is ten minutes. The record is read once more in the last fifth of it.
        assert_eq!(seen, [(1, false), (8, true)], "{skew}");
    }
}

#[tokio::test]
async fn a_cursor_is_given_up_at_fourteen_days_unless_its_scan_is_under_way() {
    let hours = SignedDuration::from_hours;
    let days = |count: i64| hours(24 * count);
    for (age, under_way, kept) in
        [(days(14), false, true), (days(14) + seconds(1), false, false), (days(14) + hours(1), true, true)]
    {
        let (ports, definition) = (ports(), definition());
        let now = Timestamp::from_second(ports.clock.now().as_second()).unwrap();
        let cursor = Cursor {
            form: 1,
            salesforce_scanned: true,
            postgres_scanned: true,
            stamp: Some(now - age),
            scan_started: under_way.then_some(now),
            ..Cursor::default()
        };
        ports.state.put_cursor("contacts", &cursor).await.unwrap();
        assert_eq!(poll::scan(&ports, &definition).await, Ok((0, !kept)));
        let after = ports.state.cursor("contacts").await.unwrap();
        assert_eq!(after.salesforce_scanned, kept, "{age:#}");
        assert_eq!(after.form, 1);
    }
    let (ports, definition) = (ports(), definition());
    let cursor = Cursor { form: 1, salesforce_scanned: true, postgres_scanned: true, ..Cursor::default() };
    ports.state.put_cursor("contacts", &cursor).await.unwrap();
    assert_eq!(poll::scan(&ports, &definition).await, Ok((0, true)), "a cursor without a stamp starts anew");
    assert!(!ports.state.cursor("contacts").await.unwrap().salesforce_scanned);
}

#[tokio::test]
async fn nothing_is_scanned_while_paused_or_while_a_side_is_away_or_the_budget_is_spent() {
    let (mut ports, definition) = (ports(), definition());
    ports.salesforce.insert(named("one"));
    let idle = async |ports: &MemoryPorts| {
        let calls = ports.salesforce.calls();
        assert_eq!(poll::scan(ports, &definition).await, Ok((0, false)));
        assert_eq!(ports.salesforce.calls(), calls);
    };
    ports.state.put_paused("contacts", Some(&super::a_person_looks())).await.unwrap();
    idle(&ports).await;
    ports.state.put_paused("contacts", None).await.unwrap();
    for side in [Side::Salesforce, Side::Postgres] {
        let open = Breaker { open_until: Some(ports.clock.now()), ..Breaker::default() };
        ports.state.put_breaker(side, &open).await.unwrap();
        idle(&ports).await;
        ports.state.put_breaker(side, &Breaker::default()).await.unwrap();
    }
    ports.set_daily_calls(Some(0));
    for _ in 0..20 {
        let _ = poll::scan(&ports, &definition).await;
    }
    idle(&ports).await;
    ports.set_daily_calls(None);
    assert!(poll::scan(&ports, &definition).await.is_ok());
}

#[tokio::test]
async fn a_side_that_fails_is_probed_once_its_wait_is_over_and_not_before() {
    let (ports, definitions) = (ports(), [definition()]);
    let down = PortError::Outage { side: Side::Salesforce, message: "away".to_owned() };
    let until = ports.clock.now() + seconds(5);
    let open = Breaker { form: 1, failures: 3, open_until: Some(until), message: String::new() };
    ports.state.put_breaker(Side::Salesforce, &open).await.unwrap();
    watch(&ports, &definitions).await.unwrap();
    assert_eq!(ports.salesforce.calls(), 0, "left alone");
    ports.salesforce.set_down(Some(down));
    ports.clock.advance(seconds(6));
    watch(&ports, &definitions).await.unwrap();
    assert_eq!(ports.salesforce.calls(), 1);
    let still = ports.state.breaker(Side::Salesforce).await.unwrap();
    assert_eq!(still.failures, 4);
    assert!(still.open_until.unwrap() > ports.clock.now());
    ports.salesforce.set_down(None);
    ports.clock.advance(seconds(6));
    watch(&ports, &definitions).await.unwrap();
    assert_eq!(ports.state.breaker(Side::Salesforce).await.unwrap(), Breaker::default());
}
