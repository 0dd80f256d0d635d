//! The editors of the demo, whose choices depend on a seed only: a team that edits in Salesforce by REST, a
//! team that edits in the app's tables by SQL, and pairs of people who edit the same record on both sides at
//! the same moment. They make each edit in both worlds.

use super::number::thousands;
use super::world::{Known, World, edit};
use crate::failure::Failure;
use jiff::Timestamp;
use judge::Edit;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use reqwest::Method;
use serde_json::json;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};
use tokio_postgres::Client;

const FIRST: &[&str] =
    &["Ada", "Grace", "Emmy", "Alan", "Edsger", "Barbara", "Donald", "Frances", "Tony", "Radia"];
const LAST: &[&str] =
    &["Lovelace", "Hopper", "Noether", "Turing", "Liskov", "Knuth", "Allen", "Hoare", "Perlman"];
const TITLES: &[&str] = &["Buyer", "Engineer", "Director", "Analyst", "Captain", "Architect", "Chair"];
const DEPARTMENTS: &[&str] = &["Research", "Sales", "Finance", "Support", "Field"];
const COMPANIES: &[&str] = &["Acme", "Globex", "Initech", "Umbra", "Hooli", "Stark", "Wayne"];
/// The number of edits in a burst.
const BURST: usize = 1_000;
/// The pause between two edits of one team, in milliseconds. Pairs pause six times as long.
const PAUSE_MS: std::ops::Range<u64> = 90..260;

/// Where a team edits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Salesforce,
    Postgres,
    Pairs,
}

/// What all teams share.
pub(crate) struct Shared {
    /// Syncline's world, then the script's world.
    pub(crate) worlds: Vec<World>,
    /// The records that exist as far as the teams know.
    records: Mutex<Vec<Known>>,
    /// Notified when the next edit of the pairs has to be a conflict.
    pub(crate) conflict: Notify,
}

impl Shared {
    pub(crate) fn new(worlds: Vec<World>) -> Self {
        Self { worlds, records: Mutex::default(), conflict: Notify::new() }
    }
}

/// A team of editors.
pub(crate) struct Team {
    role: Role,
    shared: Arc<Shared>,
    /// One connection to the app's tables for each world.
    apps: Vec<Client>,
    random: ChaCha8Rng,
    /// Counts the team's values and records, so that each has a number of its own.
    count: usize,
}

impl Team {
    /// All teams, each with its own connections and its own random choices from the seed.
    pub(crate) fn all(shared: &Arc<Shared>, apps: Vec<Vec<Client>>, seed: u64) -> Vec<Self> {
        let roles = [Role::Salesforce, Role::Postgres, Role::Pairs];
        let teams = roles.into_iter().zip(apps).enumerate().map(|(number, (role, apps))| {
            let random = ChaCha8Rng::seed_from_u64(seed.wrapping_mul(31).wrapping_add(number as u64));
            Self { role, shared: shared.clone(), apps, random, count: 0 }
        });
        teams.collect()
    }

    /// Edits until `stopped` becomes true. Bursts come at fixed shares of `duration`.
    pub(crate) async fn work(
        mut self,
        duration: Duration,
        mut stopped: watch::Receiver<bool>,
    ) -> Result<(), Failure> {
        let started = Instant::now();
        // In a long demo, the bursts are repeated every ten minutes.
        let rounds = (duration.as_secs() / 600).max(1);
        let mut bursts: Vec<(f64, bool)> = Vec::new();
        for round in (0..rounds).rev() {
            let at = |share: f64| {
                (f64::from(u32::try_from(round).unwrap_or(0)) + share)
                    / f64::from(u32::try_from(rounds).unwrap_or(1))
            };
            match self.role {
                // Only once, a thousand contacts are inserted: no company gets that many every ten minutes.
                Role::Postgres if round == 0 => bursts.extend([(at(0.70), false), (at(0.15), true)]),
                Role::Postgres => bursts.push((at(0.70), false)),
                Role::Salesforce => bursts.push((at(0.45), false)),
                Role::Pairs => {}
            }
        }
        let shared = self.shared.clone();
        while !*stopped.borrow() {
            let share = started.elapsed().as_secs_f64() / duration.as_secs_f64();
            match (self.role, bursts.last().copied()) {
                (Role::Postgres, Some((at, true))) if share >= at => {
                    bursts.pop();
                    self.insert_burst().await?;
                }
                (Role::Postgres, Some((at, false))) if share >= at => {
                    bursts.pop();
                    self.update_burst().await?;
                }
                (Role::Salesforce, Some((at, _))) if share >= at => {
                    bursts.pop();
                    self.collection_burst().await?;
                }
                (Role::Pairs, _) => self.pair(false).await?,
                _ if self.count < 4 || self.below(6) == 0 => self.create().await?,
                _ if self.below(25) == 0 => self.delete().await?,
                _ => self.edit().await?,
            }
            let pause = PAUSE_MS.start + self.below_u64(PAUSE_MS.end - PAUSE_MS.start);
            let pause = if self.role == Role::Pairs { pause * 6 } else { pause };
            let wanted = async {
                match self.role {
                    Role::Pairs => shared.conflict.notified().await,
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(pause)) => {}
                () = wanted => self.pair(true).await?,
                _ = stopped.changed() => {}
            }
        }
        Ok(())
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.below_u64(limit.max(1) as u64)).unwrap_or(0)
    }

    fn below_u64(&mut self, limit: u64) -> u64 {
        self.random.next_u64() % limit.max(1)
    }

    fn pick(&mut self, words: &[&'static str]) -> &'static str {
        words[self.below(words.len())]
    }

    fn letter(&self) -> char {
        match self.role {
            Role::Salesforce => 's',
            Role::Postgres => 'p',
            Role::Pairs => 'b',
        }
    }

    /// A new value for the field, which no other edit uses.
    fn value(&mut self, field: &str) -> String {
        self.count += 1;
        let number = format!("{}{}", self.letter(), self.count);
        match field {
            "FirstName" => format!("{} {number}", self.pick(FIRST)),
            "LastName" => format!("{} {number}", self.pick(LAST)),
            "Title" => format!("{} {number}", self.pick(TITLES)),
            "Department" => format!("{} {number}", self.pick(DEPARTMENTS)),
            "Website" => format!("https://{}-{number}.example", self.pick(COMPANIES).to_lowercase()),
            "Phone" => format!("+1 555 {:04} {number}", self.below(10_000)),
            _ => format!("{} {number}", self.pick(COMPANIES)),
        }
    }

    fn records(&self) -> std::sync::MutexGuard<'_, Vec<Known>> {
        self.shared.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn any(&mut self, object: Option<&str>) -> Option<Known> {
        let place = self.random.next_u64();
        let records = self.records();
        let fitting: Vec<&Known> =
            records.iter().filter(|known| object.is_none_or(|object| known.object == object)).collect();
        let place = usize::try_from(place).unwrap_or(0) % fitting.len().max(1);
        fitting.get(place).map(|known| (*known).clone())
    }

    async fn create(&mut self) -> Result<(), Failure> {
        let object = if self.count < 2 || self.below(5) == 0 { "Account" } else { "Contact" };
        self.count += 1;
        let known = Known { object, editor: format!("{}-{}", self.letter(), self.count) };
        let fields: &[&'static str] =
            if object == "Account" { &["Name", "Website"] } else { &["FirstName", "LastName", "Title"] };
        let values: Vec<(&str, String)> = fields.iter().map(|field| (*field, self.value(field))).collect();
        let parent = if object == "Contact" { self.any(Some("Account")) } else { None };
        for (world, app) in self.shared.worlds.iter().zip(&self.apps) {
            if self.role == Role::Salesforce {
                world.create_in_salesforce(&known, &values, parent.as_ref()).await?;
            } else {
                world.create_in_postgres(app, &known, &values, parent.as_ref()).await?;
            }
        }
        self.records().push(known);
        Ok(())
    }

    async fn edit(&mut self) -> Result<(), Failure> {
        let Some(known) = self.any(None) else { return Ok(()) };
        let fields: &[&'static str] = match known.object {
            "Account" => &["Website", "Phone", "Name"],
            _ => &["FirstName", "Title", "Phone", "Department"],
        };
        let field = self.pick(fields);
        let value = self.value(field);
        for (world, app) in self.shared.worlds.iter().zip(&self.apps) {
            let edit = if self.role == Role::Salesforce {
                world.edit_in_salesforce(&known, field, &value).await?
            } else {
                world.edit_in_postgres(app, &known, field, &value).await?
            };
            world.done(edit.into_iter().collect(), None)?;
        }
        Ok(())
    }

    async fn delete(&mut self) -> Result<(), Failure> {
        let Some(known) = self.any(Some("Contact")) else { return Ok(()) };
        self.records().retain(|other| *other != known);
        for (world, app) in self.shared.worlds.iter().zip(&self.apps) {
            if self.role == Role::Salesforce {
                world.delete_in_salesforce(&known).await?;
            } else {
                world.delete_in_postgres(app, &known).await?;
            }
        }
        Ok(())
    }

    /// Two people edit one contact on both sides at the same moment: the same field, which is a conflict, or
    /// two different fields, which merge. With `conflict`, always the same field.
    async fn pair(&mut self, conflict: bool) -> Result<(), Failure> {
        let Some(known) = self.any(Some("Contact")) else { return Ok(()) };
        let same = conflict || self.below(2) == 0;
        let fields = if same { ("Title", "Title") } else { ("Title", "Department") };
        let (here, there) = (self.value(fields.0), self.value(fields.1));
        for (world, app) in self.shared.worlds.iter().zip(&self.apps) {
            let Some(one) = world.edit_in_salesforce(&known, fields.0, &here).await? else { continue };
            let other = world.edit_in_postgres(app, &known, fields.1, &there).await?;
            world.done([Some(one), other].into_iter().flatten().collect(), None)?;
        }
        Ok(())
    }

    async fn insert_burst(&mut self) -> Result<(), Failure> {
        let (mut knowns, mut lasts) = (Vec::new(), Vec::new());
        for _ in 0..BURST {
            lasts.push(self.value("LastName"));
            knowns.push(Known { object: "Contact", editor: format!("p-{}", self.count) });
        }
        let editors: Vec<&str> = knowns.iter().map(|known| known.editor.as_str()).collect();
        let sql = "INSERT INTO contacts (editor_id, last_name) SELECT * FROM unnest($1::text[], $2::text[])";
        for (world, app) in self.shared.worlds.iter().zip(&self.apps) {
            app.execute(sql, &[&editors, &lasts]).await?;
            let edits = knowns
                .iter()
                .zip(&lasts)
                .map(|(known, last)| edit("postgres", known, "create", "LastName", last, None));
            world.done(edits.collect(), Some("1,000 contacts inserted in one statement"))?;
        }
        self.records().extend(knowns);
        Ok(())
    }

    async fn update_burst(&mut self) -> Result<(), Failure> {
        let knowns: Vec<Known> =
            self.records().iter().filter(|known| known.object == "Contact").take(BURST).cloned().collect();
        let editors: Vec<&str> = knowns.iter().map(|known| known.editor.as_str()).collect();
        let values: Vec<String> = editors.iter().map(|_| self.value("Department")).collect();
        let sql = "UPDATE contacts t SET department = u.value
                   FROM unnest($1::text[], $2::text[]) AS u(editor, value),
                        (SELECT id, editor_id, department AS saw FROM contacts WHERE editor_id = ANY($1) FOR UPDATE) o
                   WHERE o.editor_id = u.editor AND t.id = o.id RETURNING u.editor, u.value, o.saw";
        for (world, app) in self.shared.worlds.iter().zip(&self.apps) {
            let rows = app.query(sql, &[&editors, &values]).await?;
            let edits: Vec<Edit> = rows
                .iter()
                .map(|row| {
                    let known = Known { object: "Contact", editor: row.get(0) };
                    edit("postgres", &known, "update", "Department", row.get(1), row.get(2))
                })
                .collect();
            let what = format!("{} departments set in one statement", thousands(edits.len()));
            world.done(edits, Some(&what))?;
        }
        Ok(())
    }

    async fn collection_burst(&mut self) -> Result<(), Failure> {
        let random = self.random.clone();
        let count = self.count;
        for world in 0..self.shared.worlds.len() {
            // Random choices and counts begin at the same point in each world, so that the values are the
            // same.
            self.random = random.clone();
            self.count = count;
            self.collection_burst_in(world).await?;
        }
        Ok(())
    }

    async fn collection_burst_in(&mut self, world: usize) -> Result<(), Failure> {
        let shared = self.shared.clone();
        let world = &shared.worlds[world];
        let query = format!("query?q=SELECT+Id,Editor_Id__c,Phone+FROM+Contact+ORDER+BY+Id+LIMIT+{BURST}");
        let answer = world.call(Method::GET, &query, None).await?;
        let records = answer["records"].as_array().cloned().unwrap_or_default();
        let mut edits = Vec::new();
        for chunk in records.chunks(200) {
            let mut bodies = Vec::new();
            let mut written = Vec::new();
            for record in chunk {
                let editor = record["Editor_Id__c"].as_str().unwrap_or_default().to_owned();
                let known = Known { object: "Contact", editor };
                let value = self.value("Phone");
                let saw = record["Phone"].as_str().map(str::to_owned);
                bodies.push(json!({"attributes": {"type": "Contact"}, "id": record["Id"], "Phone": value}));
                written.push(edit("salesforce", &known, "update", "Phone", &value, saw));
            }
            let body = json!({"allOrNone": false, "records": bodies});
            let answer = world.call(Method::PATCH, "composite/sobjects", Some(&body)).await?;
            let results = answer.as_array().cloned().unwrap_or_default();
            let now = Timestamp::now().as_millisecond();
            edits.extend(
                written
                    .into_iter()
                    .zip(results)
                    .filter(|(_, result)| result["success"] == json!(true))
                    .map(|(edit, _)| Edit { at_ms: now, ..edit }),
            );
        }
        let what = format!("{} phones updated by one import", thousands(edits.len()));
        world.done(edits, Some(&what))
    }
}
