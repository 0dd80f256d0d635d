//! The contracts of the state store, the queue and the port for commands. Every implementation is tested
//! against them. So a test that uses the ports in memory also says something about the real ones.

use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use syncline_engine::{
    Base, BaseKey, Definition, Held, Intent, Parent, PostgresKey, Reason, SalesforceId, Side, Value,
};
use syncline_sync::{
    Binding, Breaker, Cleared, Conflict, Cursor, DatabaseIdentity, Deferred, HeldRecord, Operator, Outcomes,
    Pause, PauseCause, Put, Queue, RecordRef, Rejected, Source, State, Touch, WaitingRecord,
};

const SYNC: &str = "contacts";

fn id(number: u32) -> SalesforceId {
    SalesforceId::parse(&format!("003{number:012}")).unwrap()
}

fn key(number: u32) -> PostgresKey {
    PostgresKey(format!("[\"{number}\"]"))
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn base(number: u32) -> Base {
    let mut base = Base::new(BaseKey(id(number).to_string()));
    base.salesforce_id = Some(id(number));
    base.postgres_key = Some(key(number));
    base.live = true;
    base
}

fn put(base: &Base, expected: u64) -> Put {
    Put { base: base.clone(), expected, conflicts: vec![] }
}

fn conflict(number: u32) -> Conflict {
    Conflict {
        id: format!("c{number}"),
        sync: SYNC.into(),
        record: id(number).to_string(),
        salesforce_id: Some(id(number)),
        postgres_key: Some(key(number)),
        field: "LastName".into(),
        salesforce: Value::Text("here".into()),
        postgres: Value::Null,
        winner: Side::Salesforce,
        reason: Reason::Conflict,
        at: at(1),
    }
}

/// The contract of every [`Operator`]. The instance has to be bound to `organization_id` and `identity`, and
/// nothing else may be stored in it yet.
pub async fn operator<O: Operator, S: State>(
    operator: &O,
    state: &S,
    organization_id: &str,
    identity: &DatabaseIdentity,
) {
    let bound = Binding { organization_id: organization_id.to_owned(), identity: Some(identity.clone()) };
    assert_eq!(operator.binding().await.unwrap(), Some(bound));
    let moved = DatabaseIdentity { database: "another".to_owned(), ..identity.clone() };
    operator.rebind("00D000000000002AAA", &moved).await.unwrap();
    let bound = Binding { organization_id: "00D000000000002AAA".to_owned(), identity: Some(moved) };
    assert_eq!(operator.binding().await.unwrap(), Some(bound));

    assert_eq!(operator.definitions().await.unwrap(), []);
    let definition = crate::contact_definition(Side::Postgres);
    let stored = operator.put_definition(&definition).await.unwrap();
    assert_eq!(stored, definition, "the first one stands as it is");
    assert_eq!(operator.put_definition(&definition).await.unwrap(), stored, "nothing changed");
    let other = Definition { primary: Side::Salesforce, ..definition.clone() };
    let changed = operator.put_definition(&other).await.unwrap();
    assert_eq!(changed, Definition { version: stored.version + 1, ..other });
    assert_eq!(operator.definitions().await.unwrap(), [changed]);

    let overview = operator.overview(std::slice::from_ref(&definition.name)).await.unwrap();
    assert_eq!(overview.linked, [(definition.name, 0)]);
    assert_eq!((overview.queue, overview.deferred, overview.conflicts, overview.dead), (0, 0, 0, 0));
    assert_eq!(
        (overview.rejected, overview.held, overview.paused.len(), overview.breakers.len()),
        (0, 0, 0, 0)
    );
    assert_eq!(operator.conflicts(10).await.unwrap(), []);
    assert_eq!(operator.last_rejected(10).await.unwrap(), []);
    assert_eq!(operator.last_held(10).await.unwrap(), []);
    assert_eq!((overview.waiting, operator.waiting(10).await.unwrap()), (0, vec![]));
    assert_eq!(operator.dead_letters().await.unwrap(), []);
    assert_eq!(operator.redrive().await.unwrap(), 0);
    assert_eq!(operator.forget_bases().await.unwrap(), 0);

    let parent = Parent::Postgres("accounts".to_owned(), PostgresKey::of_columns(["9999"]));
    let touch = |number: u32| Touch::of_id(SYNC, id(number), Source::Person, at(1));
    let deferred =
        |number: u32, waits_for: Vec<Parent>| Deferred { touch: touch(number), due: at(60), waits_for };
    let refused = Deferred { touch: Touch { refusals: 1, ..touch(3) }, ..deferred(3, vec![]) };
    let outcomes = Outcomes {
        deferred: vec![deferred(1, vec![parent.clone()]), deferred(2, vec![]), refused],
        ..Outcomes::default()
    };
    state.store("contacts", outcomes).await.unwrap();
    let overview = operator.overview(&["contacts".to_owned()]).await.unwrap();
    assert_eq!((overview.deferred, overview.waiting), (2, 1), "what is refused counts as that");
    let shown = WaitingRecord::of(touch(1), vec![parent]);
    assert_eq!(operator.waiting(10).await.unwrap(), [shown], "the other one waits for nobody");
}

fn rejected(number: u32) -> Rejected {
    Rejected {
        form: 1,
        sync: SYNC.into(),
        record: id(number).to_string(),
        salesforce_id: Some(id(number)),
        postgres_key: None,
        side: Side::Salesforce,
        code: "STRING_TOO_LONG".into(),
        message: "Last Name: data value too large".into(),
        fields: vec!["LastName".into()],
        images: BTreeMap::new(),
        definition: 1,
        at: at(1),
    }
}

/// The contract of a state store. `conflicts` counts the entries of the conflict log.
pub async fn state<S: State>(
    state: &S,
    conflicts: impl AsyncFn() -> usize,
    held: impl AsyncFn() -> Vec<Held>,
) {
    bases_are_saved_by_compare_and_set(state).await;
    a_pointer_leads_to_one_base(state).await;
    conflicts_count_only_with_their_base(state, conflicts).await;
    deferred_touches_fold_and_come_due(state).await;
    outcomes_are_kept_until_cleared(state).await;
    a_delete_that_was_seen_stays_one(state, held).await;
    counters_slide_and_let_nobody_past_their_limit(state).await;
    the_bucket_of_calls_fills_with_time(state).await;
    what_ended_is_forgotten_in_time(state).await;
    small_things_read_back(state).await;
}

async fn bases_are_saved_by_compare_and_set<S: State>(state: &S) {
    let refs = [RecordRef::Id(id(1)), RecordRef::Key(key(1)), RecordRef::Id(id(99))];
    assert!(state.load(SYNC, &refs).await.unwrap().iter().all(|loaded| loaded.base.is_none()));
    assert_eq!(
        state.put(SYNC, vec![put(&base(1), 1)]).await.unwrap(),
        [false],
        "nothing stands to be replaced"
    );
    let both = vec![put(&base(1), 0), put(&base(2), 0)];
    assert_eq!(state.put(SYNC, both).await.unwrap(), [true, true]);
    let loaded = state.load(SYNC, &refs).await.unwrap();
    assert_eq!(loaded[0].base, loaded[1].base);
    assert_eq!(loaded[0].base.as_ref().unwrap().version, 1);
    assert!(loaded[2].base.is_none());

    let mut next = loaded[0].base.clone().unwrap();
    next.external_id = Some("test:contacts:1".into());
    next.intent = Some(Intent { id: "i1".into(), lease_until: at(5), salesforce: None, postgres: None });
    assert_eq!(state.put(SYNC, vec![put(&next, 1)]).await.unwrap(), [true]);
    assert_eq!(state.put(SYNC, vec![put(&next, 1)]).await.unwrap(), [false], "version 2 stands");
    let found = state.load(SYNC, &[RecordRef::ExternalId("test:contacts:1".into())]).await.unwrap();
    next.version = 2;
    assert_eq!(found[0].base, Some(next), "everything in a base reads back");
    let elsewhere = state.load("accounts", &refs[..1]).await.unwrap();
    assert!(elsewhere[0].base.is_none(), "another sync has bases of its own");
}

async fn a_pointer_leads_to_one_base<S: State>(state: &S) {
    let mut other = base(3);
    other.postgres_key = Some(key(1));
    assert_eq!(state.put(SYNC, vec![put(&other, 0)]).await.unwrap(), [false], "that row is another's");
    other.postgres_key = Some(key(3));
    assert_eq!(state.put(SYNC, vec![put(&other, 0)]).await.unwrap(), [true]);

    let mut gone = base(4);
    gone.live = false;
    assert_eq!(state.put(SYNC, vec![put(&gone, 0)]).await.unwrap(), [true]);
    let mut heir = base(5);
    heir.postgres_key = Some(key(4));
    assert_eq!(state.put(SYNC, vec![put(&heir, 0)]).await.unwrap(), [true], "a dead base gives its row up");
    let loaded = state.load(SYNC, &[RecordRef::Key(key(4))]).await.unwrap();
    assert_eq!(loaded[0].base.as_ref().unwrap().key, heir.key);
}

async fn conflicts_count_only_with_their_base<S: State>(state: &S, conflicts: impl AsyncFn() -> usize) {
    let mut lost = put(&base(2), 7);
    lost.conflicts.push(conflict(2));
    assert_eq!(state.put(SYNC, vec![lost]).await.unwrap(), [false]);
    assert_eq!(conflicts().await, 0);
    let mut won = put(&base(2), 1);
    won.conflicts.push(conflict(2));
    assert_eq!(state.put(SYNC, vec![won]).await.unwrap(), [true]);
    let mut again = put(&base(2), 2);
    again.conflicts.push(conflict(2));
    assert_eq!(state.put(SYNC, vec![again]).await.unwrap(), [true]);
    assert_eq!(conflicts().await, 1, "the same conflict saved twice is one");
}

async fn deferred_touches_fold_and_come_due<S: State>(state: &S) {
    let touch = |number, second| Touch::of_id(SYNC, id(number), Source::CatchUp, at(second));
    let mut deleted = touch(1, 3);
    deleted.evidence.sf_deleted = true;
    let parent = Parent::Salesforce("accounts".into(), id(50));
    let deferred = vec![
        Deferred { touch: touch(1, 5), due: at(100), waits_for: vec![] },
        Deferred { touch: deleted, due: at(200), waits_for: vec![] },
        Deferred { touch: touch(2, 5), due: at(900), waits_for: vec![parent.clone()] },
    ];
    state.store(SYNC, Outcomes { deferred, ..Outcomes::default() }).await.unwrap();
    assert!(state.due(at(99), 10).await.unwrap().is_empty());
    let due = state.due(at(100), 10).await.unwrap();
    assert_eq!(due.len(), 1, "two touches of one record are one, due when the first is");
    let folded = due[0].touch.clone().unwrap();
    assert!(folded.evidence.sf_deleted && folded.at == at(3));

    let again = vec![Deferred { touch: touch(1, 7), due: at(100), waits_for: vec![] }];
    state.store(SYNC, Outcomes { deferred: again, ..Outcomes::default() }).await.unwrap();
    state.drop_due(&[due[0].token.clone()]).await.unwrap();
    let due = state.due(at(100), 10).await.unwrap();
    assert_eq!(due.len(), 1, "what took in another touch meanwhile is not dropped");
    state.drop_due(&[due[0].token.clone()]).await.unwrap();
    assert!(state.due(at(100), 10).await.unwrap().is_empty());

    state.store(SYNC, Outcomes { linked: vec![parent], ..Outcomes::default() }).await.unwrap();
    let due = state.due(at(100), 10).await.unwrap();
    assert_eq!(due.len(), 1, "its parent was linked");
    state.drop_due(&[due[0].token.clone()]).await.unwrap();

    state.defer_message("contacts.1", "{\"v\":9}", at(100)).await.unwrap();
    let due = state.due(at(100), 10).await.unwrap();
    assert_eq!(due[0].touch, Err(("contacts.1".into(), "{\"v\":9}".into())));
    state.drop_due(&[due[0].token.clone()]).await.unwrap();

    let late = vec![Deferred { touch: touch(3, 5), due: at(90_000), waits_for: vec![] }];
    state.store(SYNC, Outcomes { deferred: late, ..Outcomes::default() }).await.unwrap();
    state.make_due(at(1_000), SignedDuration::from_secs(10)).await.unwrap();
    let due = state.due(at(1_010), 10).await.unwrap();
    assert_eq!(due.len(), 1, "the side that it waited for is back");
    state.drop_due(&[due[0].token.clone()]).await.unwrap();
    assert!(state.due(at(100_000), 10).await.unwrap().is_empty());
}

async fn outcomes_are_kept_until_cleared<S: State>(state: &S) {
    let held = HeldRecord {
        form: 1,
        sync: SYNC.into(),
        record: id(1).to_string(),
        salesforce_id: Some(id(1)),
        postgres_key: Some(key(1)),
        held: Held::Deleted { side: Side::Postgres },
        merged_into: None,
        at: at(1),
        seen: at(1),
    };
    let outcomes =
        Outcomes { rejected: vec![rejected(1), rejected(70)], held: vec![held], ..Outcomes::default() };
    state.store(SYNC, outcomes).await.unwrap();
    let loaded = state.load(SYNC, &[RecordRef::Id(id(1)), RecordRef::Id(id(2))]).await.unwrap();
    assert_eq!(loaded[0].rejected, Some(rejected(1)));
    assert_eq!(loaded[1].rejected, None);
    let bare = state.rejected(SYNC, &[BaseKey(id(70).to_string()), BaseKey("p:x".into())]).await.unwrap();
    assert_eq!(bare, [Some(rejected(70)), None]);
    let strays = [(Some(id(2)), Some(key(2))), (None, Some(key(1)))];
    for stray_of in strays.map(Some) {
        let cleared = vec![Cleared { record: id(70).to_string(), stray_of }];
        let outcomes = Outcomes { cleared, begun: at(90_000), ..Outcomes::default() };
        state.store(SYNC, outcomes).await.unwrap();
    }
    let bare = state.rejected(SYNC, &[BaseKey(id(70).to_string())]).await.unwrap();
    assert_eq!(bare, [Some(rejected(70))], "another record's, under a name that this one bore before");
    let of_it = (rejected(70).salesforce_id, rejected(70).postgres_key);
    let cleared = vec![Cleared { record: id(70).to_string(), stray_of: Some(of_it) }];
    state.store(SYNC, Outcomes { cleared, begun: at(90_000), ..Outcomes::default() }).await.unwrap();
    assert_eq!(state.rejected(SYNC, &[BaseKey(id(70).to_string())]).await.unwrap(), [None]);
    for (begun, left) in [(rejected(1).at, Some(rejected(1))), (at(90_000), None)] {
        let cleared = vec![Cleared { record: id(1).to_string(), stray_of: None }];
        state.store(SYNC, Outcomes { cleared, begun, ..Outcomes::default() }).await.unwrap();
        let loaded = state.load(SYNC, &[RecordRef::Id(id(1))]).await.unwrap();
        assert_eq!(loaded[0].rejected, left, "a run clears what was noted before it began");
    }
}

async fn a_delete_that_was_seen_stays_one<S: State>(state: &S, kept: impl AsyncFn() -> Vec<Held>) {
    let held = |second, held| {
        let record = id(8).to_string();
        let record = HeldRecord {
            form: 1,
            sync: SYNC.into(),
            record,
            salesforce_id: None,
            postgres_key: None,
            held,
            merged_into: None,
            at: at(second),
            seen: at(second),
        };
        Outcomes { held: vec![record], ..Outcomes::default() }
    };
    let missing = |side| Held::Missing { side };
    let deleted = |side| Held::Deleted { side };
    for (second, (next, expected)) in (1..).zip([
        (missing(Side::Postgres), missing(Side::Postgres)),
        (deleted(Side::Postgres), deleted(Side::Postgres)),
        (missing(Side::Postgres), deleted(Side::Postgres)),
        (missing(Side::Salesforce), missing(Side::Salesforce)),
    ]) {
        state.store(SYNC, held(second, next)).await.unwrap();
        assert_eq!(kept().await, [expected]);
    }
    for (begun, left) in [(at(4), vec![missing(Side::Salesforce)]), (at(5), vec![])] {
        let cleared = vec![Cleared { record: id(8).to_string(), stray_of: None }];
        state.store(SYNC, Outcomes { cleared, begun, ..Outcomes::default() }).await.unwrap();
        assert_eq!(kept().await, left, "it was seen again since the older run began");
    }
}

async fn counters_slide_and_let_nobody_past_their_limit<S: State>(state: &S) {
    let hour = SignedDuration::from_hours(1);
    let take =
        async |count, second| state.take("deletes/contacts", count, 10, at(second), hour).await.unwrap();
    assert!(take(6, 10_000).await);
    assert!(!take(5, 10_100).await, "eleven");
    assert!(take(4, 10_100).await, "what did not fit was not counted");
    assert!(!take(1, 13_000).await);
    assert_eq!(state.taken("deletes/contacts", at(13_000), hour).await.unwrap(), 10);
    assert!(take(6, 13_690).await, "an hour later the first six count no more");
    state.allow("deletes/contacts", 100, at(13_690)).await.unwrap();
    assert!(take(100, 13_691).await, "a person lets more through");
    assert!(!take(1, 13_692).await);
    let (one, other) = (
        state.take("deletes/race", 6, 10, at(10_000), hour),
        state.take("deletes/race", 6, 10, at(10_000), hour),
    );
    let (one, other) = futures_util::future::join(one, other).await;
    assert!(one.unwrap() != other.unwrap(), "of two at once one finds no room");
}

async fn the_bucket_of_calls_fills_with_time<S: State>(state: &S) {
    let draw = async |calls, second| state.draw(calls, 0.5, 20.0, at(second)).await.unwrap();
    let near = |one: f64, other: f64| (one - other).abs() < 0.01;
    assert!(near(draw(15, 1_000).await, 5.0), "it begins full");
    assert!(near(draw(15, 1_000).await, -10.0));
    assert!(near(draw(0, 1_010).await, -5.0), "ten seconds fill five");
    assert!(near(draw(0, 9_000).await, 20.0), "and never more than it holds");
}

async fn what_ended_is_forgotten_in_time<S: State>(state: &S) {
    let mut ended = base(20);
    ended.live = false;
    ended.ended_at = Some(at(100));
    assert_eq!(state.put("ended", vec![put(&ended, 0), put(&base(21), 0)]).await.unwrap(), [true, true]);
    assert_eq!(state.linked("ended").await.unwrap(), 1);
    state.forget(at(100)).await.unwrap();
    let refs = [RecordRef::Id(id(20)), RecordRef::Id(id(21))];
    let loaded = state.load("ended", &refs).await.unwrap();
    assert_eq!(loaded[0].base.as_ref().and_then(|base| base.ended_at), Some(at(100)));
    state.forget(at(101)).await.unwrap();
    let loaded = state.load("ended", &refs).await.unwrap();
    assert!(loaded[0].base.is_none() && loaded[1].base.is_some());
}

async fn small_things_read_back<S: State>(state: &S) {
    assert_eq!(state.cursor(SYNC).await.unwrap(), Cursor::default());
    let cursor =
        Cursor { stamp: Some(at(7)), id: Some(id(1)), salesforce_scanned: true, ..Cursor::default() };
    let stored = state.put_cursor(SYNC, &cursor).await.unwrap().unwrap();
    assert_eq!(stored, Cursor { revision: 1, ..cursor.clone() });
    assert_eq!(state.cursor(SYNC).await.unwrap(), stored);
    assert_eq!(state.put_cursor(SYNC, &cursor).await.unwrap(), None, "it was replaced since it was read");
    let newer = Cursor { stamp: Some(at(8)), ..stored.clone() };
    assert!(state.put_cursor(SYNC, &newer).await.unwrap().is_some());
    assert_eq!(state.put_cursor(SYNC, &stored).await.unwrap(), None);
    assert_eq!(state.cursor(SYNC).await.unwrap().stamp, Some(at(8)));
    let never_stored = Cursor { revision: 3, ..Cursor::default() };
    assert_eq!(state.put_cursor("another", &never_stored).await.unwrap(), None, "it was deleted since");
    assert_eq!(state.cursor("another").await.unwrap(), Cursor::default());
    assert_eq!(state.breaker(Side::Salesforce).await.unwrap(), Breaker::default());
    let breaker = Breaker::default().failed(at(1), "no answer");
    state.put_breaker(Side::Salesforce, &breaker).await.unwrap();
    assert_eq!(state.breaker(Side::Salesforce).await.unwrap(), breaker);
    assert_eq!(state.breaker(Side::Postgres).await.unwrap(), Breaker::default());
    assert_eq!(state.paused(SYNC).await.unwrap(), None);
    for cause in PauseCause::ALL {
        let pause = Pause { cause, message: "a field is gone".to_owned() };
        state.put_paused(SYNC, Some(&pause)).await.unwrap();
        assert_eq!(state.paused(SYNC).await.unwrap(), Some(pause));
    }
    assert_eq!(state.pulse().await.unwrap(), 0);
    state.put_pulse(7).await.unwrap();
    state.put_pulse(6).await.unwrap();
    assert_eq!(state.pulse().await.unwrap(), 7, "a pulse never goes back");
    state.put_paused(SYNC, None).await.unwrap();
    assert_eq!(state.paused(SYNC).await.unwrap(), None);
}

/// The contract of a queue. A message that is not dealt with comes again `visibility` after it was received;
/// `wait` lets that much time pass.
pub async fn queue<Q: Queue>(queue: &Q, visibility: SignedDuration, wait: impl AsyncFn(SignedDuration)) {
    assert!(queue.receive(10).await.unwrap().is_empty());
    let messages = vec![
        ("a".to_owned(), "1".to_owned()),
        ("a".to_owned(), "2".to_owned()),
        ("b".to_owned(), "3".to_owned()),
    ];
    assert!(queue.send(messages).await.iter().all(Result::is_ok));

    let first = queue.receive(1).await.unwrap();
    assert_eq!(first.len(), 1);
    assert_eq!(first[0].receive_count, 1);
    let others = queue.receive(10).await.unwrap();
    assert!(others.iter().all(|delivery| delivery.group != first[0].group), "its group is held");
    assert!(!others.is_empty(), "other groups are not");
    assert!(queue.receive(10).await.unwrap().is_empty(), "all groups are held");

    queue.release(&[first[0].receipt.clone()]).await.unwrap();
    let again = queue.receive(10).await.unwrap();
    assert!(again.iter().any(|delivery| delivery.body == first[0].body && delivery.receive_count == 2));
    let receipts: Vec<String> = again.iter().map(|delivery| delivery.receipt.clone()).collect();
    queue.done(&receipts).await.unwrap();

    wait(visibility + SignedDuration::from_millis(50)).await;
    let late = queue.receive(10).await.unwrap();
    assert!(
        late.iter().any(|delivery| others.iter().any(|other| other.body == delivery.body)),
        "nobody dealt with it"
    );
    let stale: Vec<String> = others.iter().map(|delivery| delivery.receipt.clone()).collect();
    queue.done(&stale).await.unwrap();
    let receipts: Vec<String> = late.iter().map(|delivery| delivery.receipt.clone()).collect();
    queue.release(&receipts).await.unwrap();
    let mut left = Vec::new();
    loop {
        let deliveries = queue.receive(10).await.unwrap();
        if deliveries.is_empty() {
            break;
        }
        let receipts: Vec<String> = deliveries.iter().map(|delivery| delivery.receipt.clone()).collect();
        left.extend(deliveries);
        queue.done(&receipts).await.unwrap();
    }
    assert!(!left.is_empty(), "a receipt that is out of date deals with nothing");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MemoryQueue, MemoryState, SteppedClock};

    #[tokio::test]
    async fn the_state_in_memory_keeps_the_contract() {
        let memory = MemoryState::default();
        let held = async || memory.held().into_iter().map(|one| one.held).collect();
        state(&memory, async || memory.conflicts().len(), held).await;
    }

    #[tokio::test]
    async fn the_queue_in_memory_keeps_the_contract() {
        let clock = SteppedClock::at(1);
        let visibility = SignedDuration::from_secs(30);
        let memory = MemoryQueue::new(clock.clone(), visibility);
        queue(&memory, visibility, async |wait| clock.advance(wait)).await;
    }
}
