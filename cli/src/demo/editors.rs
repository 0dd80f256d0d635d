//! Two busy teams, from a seed: one in Salesforce by REST, one in the app's tables by SQL, and pairs of people who
//! work on the same record at the same moment.

use super::stage::Stage;
use super::watch::Watch;
use crate::failure::Failure;
use compare::{Edit, Ledger};
use jiff::Timestamp;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_postgres::Client;

const FIRST: &[&str] =
    &["Ada", "Grace", "Emmy", "Alan", "Edsger", "Barbara", "Donald", "Frances", "Tony", "Radia"];
const LAST: &[&str] =
    &["Lovelace", "Hopper", "Noether", "Turing", "Liskov", "Knuth", "Allen", "Hoare", "Perlman"];
const TITLES: &[&str] = &["Buyer", "Engineer", "Director", "Analyst", "Captain", "Architect", "Chair"];
const DEPARTMENTS: &[&str] = &["Research", "Sales", "Finance", "Support", "Field"];
const COMPANIES: &[&str] = &["Acme", "Globex", "Initech", "Umbra", "Hooli", "Stark", "Wayne"];
/// Edits in a burst.
const BURST: usize = 1_000;
/// Between two edits of one team.
const PAUSE_MS: std::ops::Range<u64> = 90..260;

/// What one team does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Salesforce,
    Postgres,
    Pairs,
}

/// A record that both teams may edit: its object, the editors' id, and its Salesforce Id if the team knows it.
#[derive(Clone)]
struct Known {
    object: &'static str,
    editor: String,
    id: Option<String>,
}

/// What the teams share.
struct Shared {
    salesforce: String,
    token: String,
    http: reqwest::Client,
    ledger: Arc<Ledger>,
    watch: Arc<Watch>,
    records: Mutex<Vec<Known>>,
}

/// A team.
pub(crate) struct Team {
    role: Role,
    shared: Arc<Shared>,
    app: Client,
    random: ChaCha8Rng,
    count: usize,
}

impl Team {
    /// All teams, signed in.
    pub(crate) async fn all(
        stage: &Stage,
        ledger: &Arc<Ledger>,
        watch: &Arc<Watch>,
        seed: u64,
    ) -> Result<Vec<Self>, Failure> {
        let http = reqwest::Client::new();
        let form =
            [("grant_type", "client_credentials"), ("client_id", "sales"), ("client_secret", "sales-secret")];
        let url = format!("{}/services/oauth2/token", stage.salesforce());
        let answer: Value = http.post(url).form(&form).send().await?.json().await?;
        let shared = Arc::new(Shared {
            salesforce: stage.salesforce().to_owned(),
            token: answer["access_token"].as_str().unwrap_or_default().to_owned(),
            http,
            ledger: ledger.clone(),
            watch: watch.clone(),
            records: Mutex::default(),
        });
        let mut teams = Vec::new();
        for (number, role) in [Role::Salesforce, Role::Postgres, Role::Pairs].into_iter().enumerate() {
            let random = ChaCha8Rng::seed_from_u64(seed.wrapping_mul(31).wrapping_add(number as u64));
            teams.push(Self { role, shared: shared.clone(), app: stage.app().await?, random, count: 0 });
        }
        Ok(teams)
    }

    /// Edits until it is told to stop.
    pub(crate) async fn work(
        mut self,
        duration: Duration,
        mut stopped: watch::Receiver<bool>,
    ) -> Result<(), Failure> {
        let started = Instant::now();
        let mut bursts = match self.role {
            Role::Postgres => vec![(0.70, false), (0.15, true)],
            Role::Salesforce => vec![(0.45, false)],
            Role::Pairs => vec![],
        };
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
                (Role::Pairs, _) => self.pair().await?,
                _ if self.count < 4 || self.below(6) == 0 => self.create().await?,
                _ => self.edit().await?,
            }
            let pause = PAUSE_MS.start + self.below_u64(PAUSE_MS.end - PAUSE_MS.start);
            let pause = if self.role == Role::Pairs { pause * 6 } else { pause };
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(pause)) => {}
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

    /// A value that no other edit uses.
    fn value(&mut self, field: &str) -> String {
        self.count += 1;
        let letter = match self.role {
            Role::Salesforce => 's',
            Role::Postgres => 'p',
            Role::Pairs => 'b',
        };
        let number = format!("{letter}{}", self.count);
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

    fn edit_of(
        &self,
        side: &str,
        known: &Known,
        op: &str,
        field: &str,
        value: String,
        saw: Option<String>,
    ) -> Edit {
        Edit {
            n: 0,
            at_ms: Timestamp::now().as_millisecond(),
            side: side.to_owned(),
            object: known.object.to_owned(),
            record: known.editor.clone(),
            op: op.to_owned(),
            field: field.to_owned(),
            value,
            saw,
            outcome: "confirmed".to_owned(),
        }
    }

    fn done(&self, mut edits: Vec<Edit>, burst: Option<&str>) -> Result<(), Failure> {
        self.shared.ledger.write(&mut edits)?;
        self.shared.watch.expect(&edits, burst);
        Ok(())
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

    async fn call(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        let url = format!("{}/services/data/v62.0/{path}", self.shared.salesforce);
        let mut request = self.shared.http.request(method, url).bearer_auth(&self.shared.token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await?;
        let text = answer.text().await?;
        if text.is_empty() {
            return Ok(Value::Null);
        }
        Ok(serde_json::from_str(&text)?)
    }

    /// The Id of a record that only its editors' id is known of, once it stands in Salesforce.
    async fn id_of(&self, known: &Known) -> Result<Option<String>, Failure> {
        if known.id.is_some() {
            return Ok(known.id.clone());
        }
        let query = format!("query?q=SELECT+Id+FROM+{}+WHERE+Editor_Id__c='{}'", known.object, known.editor);
        let answer = self.call(reqwest::Method::GET, &query, None).await?;
        Ok(answer["records"][0]["Id"].as_str().map(str::to_owned))
    }

    async fn create(&mut self) -> Result<(), Failure> {
        let object = if self.count < 2 || self.below(5) == 0 { "Account" } else { "Contact" };
        self.count += 1;
        let letter = if self.role == Role::Salesforce { "s" } else { "p" };
        let mut known = Known { object, editor: format!("{letter}-{}", self.count), id: None };
        let fields: &[&str] =
            if object == "Account" { &["Name", "Website"] } else { &["FirstName", "LastName", "Title"] };
        let values: Vec<(&str, String)> = fields.iter().map(|field| (*field, self.value(field))).collect();
        let parent = if object == "Contact" { self.any(Some("Account")) } else { None };
        let side = if self.role == Role::Salesforce { "salesforce" } else { "postgres" };
        if self.role == Role::Salesforce {
            let mut body = json!({"Editor_Id__c": known.editor});
            for (field, value) in &values {
                body[*field] = json!(value);
            }
            if let Some(parent) = &parent
                && let Some(id) = self.id_of(parent).await?
            {
                body["AccountId"] = json!(id);
            }
            let answer = self.call(reqwest::Method::POST, &format!("sobjects/{object}"), Some(&body)).await?;
            known.id = answer["id"].as_str().map(str::to_owned);
        } else if object == "Account" {
            let sql = "INSERT INTO accounts (editor_id, name, website) VALUES ($1, $2, $3)";
            self.app.execute(sql, &[&known.editor, &values[0].1, &values[1].1]).await?;
        } else {
            let parent = parent.map(|parent| parent.editor);
            let sql = "INSERT INTO contacts (editor_id, first_name, last_name, title, account_id)
                       VALUES ($1, $2, $3, $4, (SELECT id FROM accounts WHERE editor_id = $5))";
            self.app
                .execute(sql, &[&known.editor, &values[0].1, &values[1].1, &values[2].1, &parent])
                .await?;
        }
        let edits: Vec<Edit> = values
            .into_iter()
            .map(|(field, value)| self.edit_of(side, &known, "create", field, value, None))
            .collect();
        self.records().push(known);
        self.done(edits, None)
    }

    async fn edit(&mut self) -> Result<(), Failure> {
        let Some(known) = self.any(None) else { return Ok(()) };
        let fields: &[&'static str] = match known.object {
            "Account" => &["Website", "Phone", "Name"],
            _ => &["FirstName", "Title", "Phone", "Department"],
        };
        let field = self.pick(fields);
        let value = self.value(field);
        let edit = if self.role == Role::Salesforce {
            self.edit_in_salesforce(&known, field, value).await?
        } else {
            self.edit_in_postgres(&known, field, value).await?
        };
        self.done(edit.into_iter().collect(), None)
    }

    async fn edit_in_salesforce(
        &self,
        known: &Known,
        field: &str,
        value: String,
    ) -> Result<Option<Edit>, Failure> {
        let Some(id) = self.id_of(known).await? else { return Ok(None) };
        let path = format!("sobjects/{}/{id}", known.object);
        let before = self.call(reqwest::Method::GET, &format!("{path}?fields={field}"), None).await?;
        let saw = before[field].as_str().map(str::to_owned);
        let answer = self.call(reqwest::Method::PATCH, &path, Some(&json!({field: value}))).await?;
        if !answer.is_null() {
            return Err(Failure::new(format!("Salesforce refused an edit of {field}: {answer}")));
        }
        Ok(Some(self.edit_of("salesforce", known, "update", field, value, saw)))
    }

    async fn edit_in_postgres(
        &self,
        known: &Known,
        field: &str,
        value: String,
    ) -> Result<Option<Edit>, Failure> {
        let table = if known.object == "Account" { "accounts" } else { "contacts" };
        let column = match field {
            "FirstName" => "first_name",
            "Title" => "title",
            "Phone" => "phone",
            "Department" => "department",
            "Website" => "website",
            _ => "name",
        };
        let sql = format!(
            "UPDATE {table} t SET {column} = $2
             FROM (SELECT id, {column} AS saw FROM {table} WHERE editor_id = $1 FOR UPDATE) o
             WHERE t.id = o.id RETURNING o.saw"
        );
        let rows = self.app.query(&sql, &[&known.editor, &value]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(Some(self.edit_of("postgres", known, "update", field, value, row.try_get(0)?)))
    }

    /// Two people on one record at one moment: the same field, or two.
    async fn pair(&mut self) -> Result<(), Failure> {
        let Some(known) = self.any(Some("Contact")) else { return Ok(()) };
        let same = self.below(2) == 0;
        let fields = if same { ("Title", "Title") } else { ("Title", "Department") };
        let (here, there) = (self.value(fields.0), self.value(fields.1));
        let Some(one) = self.edit_in_salesforce(&known, fields.0, here).await? else { return Ok(()) };
        let other = self.edit_in_postgres(&known, fields.1, there).await?;
        self.done([Some(one), other].into_iter().flatten().collect(), None)
    }

    async fn insert_burst(&mut self) -> Result<(), Failure> {
        let mut edits = Vec::new();
        let (mut editors, mut lasts) = (Vec::new(), Vec::new());
        for _ in 0..BURST {
            let value = self.value("LastName");
            let known = Known { object: "Contact", editor: format!("p-{}", self.count), id: None };
            edits.push(self.edit_of("postgres", &known, "create", "LastName", value.clone(), None));
            editors.push(known.editor);
            lasts.push(value);
        }
        let sql = "INSERT INTO contacts (editor_id, last_name) SELECT * FROM unnest($1::text[], $2::text[])";
        self.app.execute(sql, &[&editors, &lasts]).await?;
        confirm(&mut edits);
        let mut records = self.records();
        records.extend(editors.into_iter().map(|editor| Known { object: "Contact", editor, id: None }));
        drop(records);
        self.done(edits, Some("1,000 contacts inserted in one statement"))
    }

    async fn update_burst(&mut self) -> Result<(), Failure> {
        let sql = "SELECT editor_id FROM contacts ORDER BY id LIMIT $1";
        let rows = self.app.query(sql, &[&i64::try_from(BURST).unwrap_or(1_000)]).await?;
        let editors: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        let values: Vec<String> = editors.iter().map(|_| self.value("Department")).collect();
        let sql = "UPDATE contacts t SET department = u.value
                   FROM unnest($1::text[], $2::text[]) AS u(editor, value),
                        (SELECT id, editor_id, department AS saw FROM contacts WHERE editor_id = ANY($1) FOR UPDATE) o
                   WHERE o.editor_id = u.editor AND t.id = o.id RETURNING u.editor, u.value, o.saw";
        let rows = self.app.query(sql, &[&editors, &values]).await?;
        let edits: Vec<Edit> = rows
            .iter()
            .map(|row| {
                let known = Known { object: "Contact", editor: row.get(0), id: None };
                self.edit_of("postgres", &known, "update", "Department", row.get(1), row.get(2))
            })
            .collect();
        let what = format!("{} departments set in one statement", thousands(edits.len()));
        self.done(edits, Some(&what))
    }

    async fn collection_burst(&mut self) -> Result<(), Failure> {
        let query = format!("query?q=SELECT+Id,Editor_Id__c,Phone+FROM+Contact+ORDER+BY+Id+LIMIT+{BURST}");
        let answer = self.call(reqwest::Method::GET, &query, None).await?;
        let records = answer["records"].as_array().cloned().unwrap_or_default();
        let mut edits = Vec::new();
        for chunk in records.chunks(200) {
            let mut bodies = Vec::new();
            let mut written = Vec::new();
            for record in chunk {
                let editor = record["Editor_Id__c"].as_str().unwrap_or_default().to_owned();
                let known = Known { object: "Contact", editor, id: None };
                let value = self.value("Phone");
                let saw = record["Phone"].as_str().map(str::to_owned);
                bodies.push(json!({"attributes": {"type": "Contact"}, "id": record["Id"], "Phone": value}));
                written.push(self.edit_of("salesforce", &known, "update", "Phone", value, saw));
            }
            let body = json!({"allOrNone": false, "records": bodies});
            let answer = self.call(reqwest::Method::PATCH, "composite/sobjects", Some(&body)).await?;
            let results = answer.as_array().cloned().unwrap_or_default();
            confirm(&mut written);
            edits.extend(
                written
                    .into_iter()
                    .zip(results)
                    .filter(|(_, result)| result["success"] == json!(true))
                    .map(|(edit, _)| edit),
            );
        }
        let what = format!("{} phones updated by one import", thousands(edits.len()));
        self.done(edits, Some(&what))
    }
}

fn confirm(edits: &mut [Edit]) {
    let now = Timestamp::now().as_millisecond();
    for edit in edits {
        edit.at_ms = now;
    }
}

/// 12345 as 12,345.
pub(crate) fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
