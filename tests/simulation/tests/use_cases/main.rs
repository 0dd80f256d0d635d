//! The use cases one at a time, in memory, by a clock that only these tests move: polls, messages, outages, and single
//! runs over touches of contacts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod bases;
mod between_steps;
mod capture;
mod created_anew;
mod echoes;
mod fates;
mod messages;
mod outages;
mod polls;
mod rows;
mod tried_again;

use jiff::SignedDuration;
use std::collections::BTreeMap;
use std::future::poll_fn;
use support::{MemoryPorts, contact_definition};
use syncline_engine::{Definition, DeletePolicy, Deletes, PostgresKey, SalesforceId, Side};
use syncline_sync::reconcile::{Summary, reconcile};
use syncline_sync::{Clock, Pause, PauseCause, Source, Step, Touch};

fn values(last_name: &str) -> BTreeMap<String, Option<String>> {
    BTreeMap::from([("LastName".to_owned(), Some(last_name.to_owned()))])
}

struct World {
    ports: MemoryPorts,
    definition: Definition,
}

impl World {
    fn new() -> Self {
        let mut definition = contact_definition(Side::Salesforce);
        definition.deletes =
            Deletes { from_salesforce: DeletePolicy::Propagate, from_postgres: DeletePolicy::Propagate };
        Self { ports: MemoryPorts::new(1, true), definition }
    }

    /// From now on, Salesforce refuses every save with this error.
    fn refuse_saves(&self, error: org::SaveError) {
        self.ports.salesforce.set_up(|org| org.faults.saves_refused = Some(error));
    }

    fn rows<const N: usize>(&self, names: [&str; N]) -> [PostgresKey; N] {
        names.map(|name| self.ports.database.insert("contacts", values(name)))
    }

    fn records<const N: usize>(&self, names: [&str; N]) -> [SalesforceId; N] {
        names.map(|name| self.ports.salesforce.insert(values(name)))
    }

    fn of_key(&self, key: &PostgresKey) -> Touch {
        Touch::of_key("contacts", key.clone(), Source::CaptureLog, self.ports.clock.now())
    }

    fn of_id(&self, id: &SalesforceId) -> Touch {
        Touch::of_id("contacts", id.clone(), Source::OutboundMessage, self.ports.clock.now())
    }

    async fn run(&self, touches: Vec<Touch>) -> Summary {
        // Well after whatever was done last: whole seconds tie.
        self.ports.clock.advance(SignedDuration::from_secs(5));
        reconcile(&self.ports, &self.definition, touches).await.unwrap()
    }

    async fn run_keys(&self, keys: &[PostgresKey]) -> Summary {
        self.run(keys.iter().map(|key| self.of_key(key)).collect()).await
    }

    async fn run_ids(&self, ids: &[SalesforceId]) -> Summary {
        self.run(ids.iter().map(|id| self.of_id(id)).collect()).await
    }

    /// A run during which something happens as it passes its steps.
    async fn run_with(&self, touches: Vec<Touch>, mut at: impl FnMut(Step)) -> Summary {
        self.ports.clock.advance(SignedDuration::from_secs(5));
        let mut run = Box::pin(reconcile(&self.ports, &self.definition, touches));
        let mut passed = self.ports.steps.last();
        let summary = poll_fn(|context| {
            let answer = run.as_mut().poll(context);
            let last = self.ports.steps.last();
            if last != passed {
                passed = last;
                last.into_iter().for_each(&mut at);
            }
            answer
        });
        summary.await.unwrap()
    }

    /// A row that is linked, and its record.
    async fn linked(&self) -> (PostgresKey, SalesforceId) {
        let [key] = self.rows(["one"]);
        self.run_keys(std::slice::from_ref(&key)).await;
        let id = self.id_of(&key);
        (key, id)
    }

    fn id_of(&self, key: &PostgresKey) -> SalesforceId {
        SalesforceId::parse(self.ports.database.rows()[key].link.as_deref().unwrap()).unwrap()
    }

    fn edit_row(&self, key: &PostgresKey, name: &str) {
        assert!(self.ports.database.edit("contacts", key, "LastName", Some(name)));
    }
}

fn a_person_looks() -> Pause {
    Pause { cause: PauseCause::Person, message: "a person looks".to_owned() }
}

/// Both sides were asked, and nothing else is to be told.
fn both() -> Summary {
    Summary { reached_salesforce: true, reached_postgres: true, ..Summary::default() }
}
