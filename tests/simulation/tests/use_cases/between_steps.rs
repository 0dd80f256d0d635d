//! What happens between the steps of a run: edits after its read, time that passes, and another run at the same record.

use super::fates::refusing;
use super::{World, both};
use jiff::SignedDuration;
use org::SaveError;
use syncline_engine::{DeletePolicy, SalesforceId, Side};
use syncline_sync::reconcile::Summary;
use syncline_sync::{Clock, HistoryOutcome, PortError, Ports, State, Step};

const fn milliseconds(count: i64) -> SignedDuration {
    SignedDuration::from_millis(count)
}

fn last_name(world: &World, id: &SalesforceId) -> Option<String> {
    world.ports.salesforce.records()[id].values["LastName"].clone()
}

#[tokio::test]
async fn an_edit_that_falls_between_an_older_read_and_the_write_is_not_written_over() {
    for (wait, looked_again) in [(40, false), (60, true)] {
        let world = World::new();
        let (key, id) = world.linked().await;
        world.edit_row(&key, "of the app");
        let calls = world.ports.salesforce.calls();
        let summary = world
            .run_with(vec![world.of_key(&key)], |step| {
                if step == Step::CommittedPostgres {
                    world.ports.clock.advance(milliseconds(wait));
                    world.ports.salesforce.edit(&id, "LastName", Some("of sales"));
                }
            })
            .await;
        assert_eq!(summary.records_updated, usize::from(!looked_again), "{wait} ms");
        assert_eq!(world.ports.salesforce.calls() - calls, 2, "a read, then a write or another read");
        let stands = if looked_again { "of sales" } else { "of the app" };
        assert_eq!(last_name(&world, &id).as_deref(), Some(stands));
        if looked_again {
            assert_eq!(summary, Summary { deferred: 1, ..both() });
            assert_eq!(world.ports.database.closed().last().unwrap().1, HistoryOutcome::Refused);
            let summary = world.run_keys(std::slice::from_ref(&key)).await;
            assert_eq!((summary.conflicts, summary.rows_updated), (1, 1), "met as a conflict");
        }
    }
}

#[tokio::test]
async fn a_read_that_grew_old_is_repeated_and_written_on_if_the_field_did_not_change() {
    let world = World::new();
    let (key, id) = world.linked().await;
    world.edit_row(&key, "of the app");
    let calls = world.ports.salesforce.calls();
    let at = |step| {
        if step == Step::CommittedPostgres {
            world.ports.clock.advance(milliseconds(60));
            world.ports.salesforce.edit(&id, "FirstName", Some("another field"));
        }
    };
    let summary = world.run_with(vec![world.of_key(&key)], at).await;
    assert_eq!(summary, Summary { records_updated: 1, ..both() });
    assert_eq!(world.ports.salesforce.calls() - calls, 3);
    assert_eq!(last_name(&world, &id).as_deref(), Some("of the app"));
}

#[tokio::test]
async fn a_delete_is_not_carried_across_over_an_edit_that_came_meanwhile() {
    for edited in [true, false] {
        let world = World::new();
        let (key, id) = world.linked().await;
        world.ports.database.delete("contacts", &key);
        let mut touch = world.of_key(&key);
        touch.evidence.pg_deleted = true;
        let at = |step| {
            if step == Step::CommittedPostgres {
                world.ports.clock.advance(milliseconds(60));
                if edited {
                    world.ports.salesforce.edit(&id, "FirstName", Some("wait"));
                }
            }
        };
        let summary = world.run_with(vec![touch], at).await;
        assert_eq!(summary.records_deleted, usize::from(!edited));
        assert_eq!(world.ports.salesforce.records()[&id].deleted, !edited);
        assert_eq!(summary.deferred, usize::from(edited));
    }
}

#[tokio::test]
async fn a_call_is_begun_only_in_the_first_third_of_the_lease() {
    for (seconds, sent) in [(9, true), (11, false)] {
        for creates in [true, false] {
            let world = World::new();
            let key = if creates { world.rows(["one"])[0].clone() } else { world.linked().await.0 };
            world.edit_row(&key, "edited");
            let at = |step| {
                if step == Step::CommittedPostgres {
                    world.ports.clock.advance(SignedDuration::from_secs(seconds));
                }
            };
            let summary = world.run_with(vec![world.of_key(&key)], at).await;
            assert_eq!(summary.records_created + summary.records_updated, usize::from(sent), "{seconds} s");
            assert_eq!(summary.deferred, usize::from(!sent));
            assert_eq!(summary.outage, None);
            if !sent {
                assert_eq!(world.ports.database.closed().last().unwrap().1, HistoryOutcome::Refused);
                let again = world.run_keys(std::slice::from_ref(&key)).await;
                assert_eq!(again.records_created + again.records_updated, 1, "nothing stands in its way");
            }
        }
    }
}

#[tokio::test]
async fn a_run_whose_lease_is_over_rolls_its_rows_back() {
    for (seconds, written) in [(29, true), (31, false)] {
        let world = World::new();
        let [id] = world.records(["one"]);
        world.run_ids(std::slice::from_ref(&id)).await;
        world.ports.salesforce.edit(&id, "LastName", Some("of sales"));
        let at = |step| {
            if step == Step::SavedIntents {
                world.ports.clock.advance(SignedDuration::from_secs(seconds));
            }
        };
        let summary = world.run_with(vec![world.of_id(&id)], at).await;
        let row = world.ports.database.rows().into_values().next().unwrap();
        let stands = if written { "of sales" } else { "one" };
        assert_eq!(row.values["LastName"].as_deref(), Some(stands), "{seconds} s");
        assert_eq!(summary.deferred, usize::from(!written));
        assert_eq!(world.run_ids(std::slice::from_ref(&id)).await.rows_updated, usize::from(!written));
    }
}

#[tokio::test]
async fn a_run_defers_a_record_under_another_intent_and_takes_over_when_the_lease_has_ended() {
    let world = World::new();
    let (key, id) = world.linked().await;
    world.edit_row(&key, "of the app");
    // A run that ends with its intent saved, as a process does that is killed.
    {
        let mut run = Box::pin(syncline_sync::reconcile::reconcile(
            &world.ports,
            &world.definition,
            vec![world.of_key(&key)],
        ));
        while world.ports.steps.last() != Some(Step::SavedIntents)
            || world.ports.state.bases("contacts")[0].intent.is_none()
        {
            std::future::poll_fn(|context| {
                let _ = std::future::Future::poll(run.as_mut(), context);
                std::task::Poll::Ready(())
            })
            .await;
        }
    }
    let now = world.ports.clock.now();
    let calls = world.ports.salesforce.calls();
    let summary = world.run_keys(std::slice::from_ref(&key)).await;
    assert_eq!(summary, Summary { deferred: 1, ..Summary::default() }, "its record is left alone");
    assert_eq!(world.ports.salesforce.calls(), calls);
    let due = world.ports.state.next_due().unwrap().duration_since(now);
    assert!(due > SignedDuration::from_secs(5) && due < SignedDuration::from_secs(6), "soon: {due}");
    let waiting = world.ports.state.due(now + SignedDuration::from_secs(10), 9).await.unwrap();
    assert_eq!(waiting[0].touch.as_ref().unwrap().attempt, 1, "and later each time");
    let touch = syncline_sync::Touch { attempt: 9, ..world.of_key(&key) };
    world.run(vec![touch]).await;
    world.ports.clock.advance(world.ports.settings().lease);
    assert_eq!(world.run_keys(std::slice::from_ref(&key)).await.records_updated, 1);
    assert_eq!(last_name(&world, &id).as_deref(), Some("of the app"));
    assert!(world.ports.state.conflicts().is_empty());
}

#[tokio::test]
async fn a_rejected_record_is_stored_before_its_base_is_saved() {
    let world = refusing();
    let keys = world.rows(["bad"]);
    let stands = std::cell::Cell::new(None);
    let at = |step| {
        if step == Step::SavedBases {
            stands.set(Some(world.ports.state.all_rejected().len()));
        }
    };
    world.run_with(vec![world.of_key(&keys[0])], at).await;
    assert_eq!(stands.get(), Some(1));
}

#[tokio::test]
async fn a_rejection_is_dated_after_the_runs_beginning_even_if_the_clock_is_set_back() {
    let world = refusing();
    let keys = world.rows(["bad"]);
    let began = world.ports.clock.now() + SignedDuration::from_secs(5);
    let at = |step| {
        if step == Step::ReadPostgres {
            world.ports.clock.advance(-SignedDuration::from_secs(60));
        }
    };
    world.run_with(vec![world.of_key(&keys[0])], at).await;
    let rejected = world.ports.state.all_rejected();
    assert!(rejected[0].at > began, "{} is before {began}", rejected[0].at);
}

#[tokio::test]
async fn a_record_whose_base_another_run_saved_first_is_deferred() {
    for at_intent in [true, false] {
        let world = World::new();
        let (key, _) = world.linked().await;
        world.edit_row(&key, "of the app");
        let step_of_the_other = if at_intent { Step::ReadPostgres } else { Step::Finished };
        let at = |step| {
            if step == step_of_the_other {
                world.ports.state.save_meanwhile("contacts");
            }
        };
        let summary = world.run_with(vec![world.of_key(&key)], at).await;
        assert_eq!(summary.deferred, 1);
        assert_eq!(summary.records_updated, usize::from(!at_intent));
        let touch =
            world.ports.state.due(world.ports.clock.now() + SignedDuration::from_secs(1), 9).await.unwrap();
        assert_eq!(touch[0].touch.as_ref().unwrap().attempt, 1);
    }
}

#[tokio::test]
async fn deletes_and_missing_records_of_one_run_are_limited_together() {
    for (deleted, carried) in [(10, true), (11, false)] {
        let mut world = World::new();
        world.definition.delete_limit = syncline_engine::DeleteLimit { percent: 100, count: 10 };
        let keys = world.rows(["name"; 12]);
        world.run_keys(&keys).await;
        let gone = keys[..deleted].iter().map(|key| {
            world.ports.database.delete("contacts", key);
            let mut touch = world.of_key(key);
            touch.evidence.pg_deleted = true;
            touch
        });
        world.edit_row(&keys[11], "edited");
        let touches: Vec<_> = gone.chain([world.of_key(&keys[11])]).collect();
        let summary = world.run(touches).await;
        assert_eq!(summary.records_deleted, if carried { deleted } else { 0 });
        assert_eq!(summary.deferred, if carried { 0 } else { deleted });
        assert_eq!(summary.records_updated, 1, "what is no delete goes on");
        assert_eq!(world.ports.state.paused("contacts").await.unwrap().is_some(), !carried);
    }
    let mut world = World::new();
    world.definition.delete_limit = syncline_engine::DeleteLimit { percent: 100, count: 3 };
    world.definition.deletes.from_salesforce = DeletePolicy::Propagate;
    let keys = world.rows(["name"; 5]);
    world.run_keys(&keys).await;
    for key in &keys {
        world.ports.salesforce.hide(&world.id_of(key), true);
    }
    let summary = world.run_keys(&keys).await;
    assert_eq!((summary.held, summary.rows_deleted), (5, 0), "absence is no delete");
    let reason = world.ports.state.paused("contacts").await.unwrap().unwrap().message;
    assert!(reason.contains("5 more were deleted or are missing"), "{reason}");
}

#[tokio::test]
async fn a_delete_that_somebody_else_carried_out_first_is_done() {
    let world = World::new();
    let (key, id) = world.linked().await;
    world.ports.database.delete("contacts", &key);
    let mut touch = world.of_key(&key);
    touch.evidence.pg_deleted = true;
    let at = |step| {
        if step == Step::CommittedPostgres {
            world.ports.salesforce.delete(&id);
        }
    };
    let summary = world.run_with(vec![touch], at).await;
    assert_eq!((summary.rejected, summary.deferred), (0, 0));
    assert!(!world.ports.state.bases("contacts")[0].live);
    assert_eq!(world.ports.database.closed().last().unwrap().1, HistoryOutcome::Written);
}

#[tokio::test]
async fn an_update_of_a_record_that_is_deleted_meanwhile_is_rejected_only_after_a_few_tries() {
    for (attempt, rejected) in [(0, 0), (4, 0), (5, 1), (6, 1)] {
        let world = World::new();
        let (key, id) = world.linked().await;
        world.edit_row(&key, "of the app");
        let at = |step| {
            if step == Step::CommittedPostgres {
                world.ports.salesforce.delete(&id);
            }
        };
        let touch = syncline_sync::Touch { attempt, ..world.of_key(&key) };
        let summary = world.run_with(vec![touch], at).await;
        assert_eq!((summary.deferred, summary.rejected), (1, rejected), "{attempt}");
    }
}

#[tokio::test]
async fn an_update_that_is_refused_for_what_it_says_is_rejected_at_once() {
    // A deleted parent may come back, or the row may get another one: such a record is tried again by itself.
    let cases: [(_, &[&str], _); 2] = [("ENTITY_IS_DELETED", &["AccountId"], 1), ("STRING_TOO_LONG", &[], 0)];
    for (code, fields, deferred) in cases {
        for creates in [true, false] {
            let world = World::new();
            let key = if creates { world.rows(["one"])[0].clone() } else { world.linked().await.0 };
            world.edit_row(&key, "refused");
            world.refuse_saves(SaveError::new(code, "in its own words", fields));
            let summary = world.run_keys(std::slice::from_ref(&key)).await;
            assert_eq!((summary.rejected, summary.deferred), (1, deferred), "{code}");
            assert_eq!(world.ports.state.all_rejected()[0].code, code);
        }
    }
    let world = World::new();
    let [key] = world.rows(["one"]);
    world.refuse_saves(SaveError::new("ENTITY_IS_DELETED", "entity is deleted", &[]));
    let summary = world.run_keys(&[key]).await;
    assert_eq!((summary.rejected, summary.deferred), (1, 1), "a record that is created has a deleted parent");
}

#[tokio::test]
async fn an_outage_after_the_row_is_committed_is_reported_and_defers_the_record() {
    let world = World::new();
    let (key, id) = world.linked().await;
    world.edit_row(&key, "of the app");
    let away = PortError::Outage { side: Side::Salesforce, message: "away".into() };
    let at = |step| {
        if step == Step::CommittedPostgres {
            world.ports.salesforce.set_down(Some(away.clone()));
        }
    };
    let summary = world.run_with(vec![world.of_key(&key)], at).await;
    assert_eq!(summary, Summary { deferred: 1, outage: Some(away.clone()), ..both() });
    world.ports.salesforce.set_down(None);
    world.run_keys(std::slice::from_ref(&key)).await;
    assert_eq!(last_name(&world, &id).as_deref(), Some("of the app"));
}
