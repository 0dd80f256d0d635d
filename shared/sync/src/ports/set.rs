//! One value for each port, put together.

use super::{Alerts, Clock, Database, Ports, Queue, Random, Salesforce, Settings, State, Steps};
use crate::process_memory::ProcessMemory;

/// All ports of an instance and its settings, as one value. Each mode of Syncline, and each kind of test, names
/// the types of its own ports once, in an alias of this type.
#[derive(Clone, Debug)]
pub struct PortSet<Sf, Db, St, Q, C, R, A, S> {
    /// The port to Salesforce.
    pub salesforce: Sf,
    /// The port to Postgres.
    pub database: Db,
    /// The state store.
    pub state: St,
    /// The queue of touches.
    pub queue: Q,
    /// The clock.
    pub clock: C,
    /// The source of random bits.
    pub random: R,
    /// The channel for alerts.
    pub alerts: A,
    /// The port that is told of each step.
    pub steps: S,
    /// The instance's settings.
    pub settings: Settings,
    /// What this process remembers.
    pub process_memory: ProcessMemory,
}

impl<Sf, Db, St, Q, C, R, A, S> Ports for PortSet<Sf, Db, St, Q, C, R, A, S>
where
    Sf: Salesforce,
    Db: Database,
    St: State,
    Q: Queue,
    C: Clock,
    R: Random,
    A: Alerts,
    S: Steps,
{
    type Salesforce = Sf;
    type Database = Db;
    type State = St;
    type Queue = Q;
    type Clock = C;
    type Random = R;
    type Alerts = A;
    type Steps = S;

    fn salesforce(&self) -> &Sf {
        &self.salesforce
    }
    fn database(&self) -> &Db {
        &self.database
    }
    fn state(&self) -> &St {
        &self.state
    }
    fn queue(&self) -> &Q {
        &self.queue
    }
    fn clock(&self) -> &C {
        &self.clock
    }
    fn random(&self) -> &R {
        &self.random
    }
    fn alerts(&self) -> &A {
        &self.alerts
    }
    fn steps(&self) -> &S {
        &self.steps
    }
    fn settings(&self) -> &Settings {
        &self.settings
    }
    fn process_memory(&self) -> &ProcessMemory {
        &self.process_memory
    }
}

/// Something that holds ports beside other things, such as the world of a test. It can be given wherever ports
/// are asked for.
pub trait HasPorts: Send + Sync {
    /// The type of the ports.
    type Held: Ports;

    /// The ports.
    fn ports(&self) -> &Self::Held;
}

impl<T: HasPorts> Ports for T {
    type Salesforce = <T::Held as Ports>::Salesforce;
    type Database = <T::Held as Ports>::Database;
    type State = <T::Held as Ports>::State;
    type Queue = <T::Held as Ports>::Queue;
    type Clock = <T::Held as Ports>::Clock;
    type Random = <T::Held as Ports>::Random;
    type Alerts = <T::Held as Ports>::Alerts;
    type Steps = <T::Held as Ports>::Steps;

    fn salesforce(&self) -> &Self::Salesforce {
        self.ports().salesforce()
    }
    fn database(&self) -> &Self::Database {
        self.ports().database()
    }
    fn state(&self) -> &Self::State {
        self.ports().state()
    }
    fn queue(&self) -> &Self::Queue {
        self.ports().queue()
    }
    fn clock(&self) -> &Self::Clock {
        self.ports().clock()
    }
    fn random(&self) -> &Self::Random {
        self.ports().random()
    }
    fn alerts(&self) -> &Self::Alerts {
        self.ports().alerts()
    }
    fn steps(&self) -> &Self::Steps {
        self.ports().steps()
    }
    fn settings(&self) -> &Settings {
        self.ports().settings()
    }
    fn process_memory(&self) -> &ProcessMemory {
        self.ports().process_memory()
    }
}
