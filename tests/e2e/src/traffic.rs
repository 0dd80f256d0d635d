//! People who edit both sides: in Salesforce by REST, in the app's database by SQL. Every edit that a side
//! confirms is written to the ledger.

use jiff::Timestamp;
use judge::{Edit, Ledger};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::Path;
use tokio_postgres::Client;

/// The fields that people edit, with their columns.
pub const FIELDS: [(&str, &str); 3] = [("FirstName", "first_name"), ("Title", "title"), ("Phone", "phone")];

/// All people who edit, and their connections.
pub struct Traffic {
    salesforce: String,
    token: String,
    http: reqwest::Client,
    app: Client,
    ledger: Ledger,
    random: ChaCha8Rng,
    count: u32,
    /// The editors' own ids of the records that exist.
    records: Vec<String>,
    ids: HashMap<String, String>,
}

impl Traffic {
    /// Signs in on both sides and creates the ledger.
    ///
    /// # Panics
    /// When a side refuses.
    pub async fn new(salesforce: &str, app: Client, ledger: &Path, seed: u64) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self {
            token: sign_in(&http, salesforce).await,
            salesforce: salesforce.to_owned(),
            http,
            app,
            ledger: Ledger::create(ledger).unwrap(),
            random: ChaCha8Rng::seed_from_u64(seed),
            count: 0,
            records: Vec::new(),
            ids: HashMap::new(),
        }
    }

    /// Replaces the connection to the app's database, after the database was restarted.
    pub fn reconnect(&mut self, app: Client) {
        self.app = app;
    }

    /// A random number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.random.next_u64() % limit as u64).unwrap()
    }

    /// The editors' own ids of the records that exist.
    #[must_use]
    pub fn records(&self) -> &[String] {
        &self.records
    }

    fn next(&mut self, what: &str) -> String {
        self.count += 1;
        format!("{what}-{}", self.count)
    }

    fn write(&self, side: &str, record: &str, op: &str, fields: &[(&str, &str, Option<String>)]) {
        let edit = |(field, value, saw): &(&str, &str, Option<String>)| Edit {
            n: 0,
            at_ms: Timestamp::now().as_millisecond(),
            side: side.to_owned(),
            object: "Contact".to_owned(),
            record: record.to_owned(),
            op: op.to_owned(),
            field: (*field).to_owned(),
            value: (*value).to_owned(),
            saw: saw.clone(),
            outcome: "confirmed".to_owned(),
        };
        self.ledger.write(&mut fields.iter().map(edit).collect::<Vec<_>>()).unwrap();
    }

    async fn call(&mut self, method: Method, path: &str, body: Option<&Value>) -> Value {
        let url = format!("{}/services/data/v62.0/{path}", self.salesforce);
        let mut request = self.http.request(method, url);
        if let Some(body) = body {
            request = request.json(body);
        }
        let send = |token: &str| request.try_clone().unwrap().bearer_auth(token).send();
        let mut answer = send(&self.token).await.unwrap();
        if answer.status().as_u16() == 401 {
            self.token = sign_in(&self.http, &self.salesforce).await;
            answer = send(&self.token).await.unwrap();
        }
        let text = answer.text().await.unwrap();
        if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() }
    }

    /// The Salesforce Id of a record. `None` while Salesforce does not have the record.
    pub async fn id_of(&mut self, record: &str) -> Option<String> {
        if let Some(id) = self.ids.get(record) {
            return Some(id.clone());
        }
        let query = format!("query?q=SELECT+Id+FROM+Contact+WHERE+Editor_Id__c='{record}'");
        let answer = self.call(Method::GET, &query, None).await;
        let id = answer["records"][0]["Id"].as_str()?.to_owned();
        self.ids.insert(record.to_owned(), id.clone());
        Some(id)
    }

    /// Creates a record in Salesforce. Returns the editors' own id of the record.
    ///
    /// # Panics
    /// When Salesforce refuses the record.
    pub async fn create_in_salesforce(&mut self) -> String {
        let (record, name) = (self.next("s"), self.next("Name"));
        let body = json!({"Editor_Id__c": record, "LastName": name});
        let answer = self.call(Method::POST, "sobjects/Contact", Some(&body)).await;
        let id = answer["id"].as_str().unwrap_or_else(|| panic!("{answer}"));
        self.ids.insert(record.clone(), id.to_owned());
        self.write("salesforce", &record, "create", &[("LastName", &name, None)]);
        self.records.push(record.clone());
        record
    }

    /// Inserts a row into the app's table. Returns the editors' own id of the row.
    ///
    /// # Panics
    /// When the database refuses the row.
    pub async fn create_in_postgres(&mut self) -> String {
        let (record, name) = (self.next("p"), self.next("Name"));
        let sql = "INSERT INTO contacts (editor_id, last_name) VALUES ($1, $2)";
        self.app.execute(sql, &[&record, &name]).await.unwrap();
        self.write("postgres", &record, "create", &[("LastName", &name, None)]);
        self.records.push(record.clone());
        record
    }

    /// Inserts `count` rows in one statement.
    ///
    /// # Panics
    /// When the database refuses the rows.
    pub async fn insert_many(&mut self, count: usize) {
        let records: Vec<String> = (0..count).map(|_| self.next("p")).collect();
        let names: Vec<String> = (0..count).map(|_| self.next("Name")).collect();
        let sql = "INSERT INTO contacts (editor_id, last_name) SELECT * FROM unnest($1::text[], $2::text[])";
        self.app.execute(sql, &[&records, &names]).await.unwrap();
        for (record, name) in records.iter().zip(&names) {
            self.write("postgres", record, "create", &[("LastName", name, None)]);
        }
        self.records.extend(records);
    }

    /// Reads a field in Salesforce and then edits it. Does nothing if Salesforce does not have the record
    /// (yet).
    pub async fn edit_in_salesforce(&mut self, record: &str, field: &str) {
        let Some(id) = self.id_of(record).await else { return };
        let value = self.next("v");
        let path = format!("sobjects/Contact/{id}");
        let before = self.call(Method::GET, &format!("{path}?fields={field}"), None).await;
        let saw = before[field].as_str().map(str::to_owned);
        if self.call(Method::PATCH, &path, Some(&json!({field: value}))).await.is_null() {
            self.write("salesforce", record, "update", &[(field, &value, saw)]);
        }
    }

    /// Edits a field in the app's table, and notes the value that was there before.
    ///
    /// # Panics
    /// When the database refuses the edit.
    pub async fn edit_in_postgres(&mut self, record: &str, field: &str) {
        let value = self.next("v");
        let column = FIELDS.iter().find(|(name, _)| *name == field).unwrap().1;
        let sql = format!(
            "UPDATE contacts t SET {column} = $2
             FROM (SELECT id, {column} AS saw FROM contacts WHERE editor_id = $1 FOR UPDATE) o
             WHERE t.id = o.id RETURNING o.saw"
        );
        let rows = self.app.query(&sql, &[&record, &value]).await.unwrap();
        if let Some(row) = rows.first() {
            self.write("postgres", record, "update", &[(field, &value, row.get(0))]);
        }
    }

    /// Edits one field in Salesforce and, right after that, in Postgres. If Syncline is paused, neither
    /// editor sees the value of the other.
    pub async fn edit_both(&mut self, record: &str, field: &str) {
        self.edit_in_salesforce(record, field).await;
        self.edit_in_postgres(record, field).await;
    }

    /// Deletes the first `count` of the records that exist, in the app's table.
    ///
    /// # Panics
    /// When the database refuses.
    pub async fn delete_in_postgres(&mut self, count: usize) {
        let gone: Vec<String> = self.records.drain(..count).collect();
        self.app.execute("DELETE FROM contacts WHERE editor_id = ANY($1)", &[&gone]).await.unwrap();
        for record in gone {
            self.write("postgres", &record, "delete", &[("", "", None)]);
        }
    }

    /// Deletes the first `count` of the records that exist, in Salesforce.
    pub async fn delete_in_salesforce(&mut self, count: usize) {
        let gone: Vec<String> = self.records.drain(..count).collect();
        for record in gone {
            let Some(id) = self.id_of(&record).await else { continue };
            self.call(Method::DELETE, &format!("sobjects/Contact/{id}"), None).await;
            self.write("salesforce", &record, "delete", &[("", "", None)]);
        }
    }

    /// Sets a field to this value in the app's table.
    ///
    /// # Panics
    /// When there is no such row.
    pub async fn set_in_postgres(&mut self, record: &str, field: &str, value: &str) {
        let column = FIELDS.iter().find(|(name, _)| *name == field).unwrap().1;
        let sql = format!("SELECT {column} FROM contacts WHERE editor_id = $1");
        let saw: Option<String> = self.app.query_one(&sql, &[&record]).await.unwrap().get(0);
        let sql = format!("UPDATE contacts SET {column} = $2 WHERE editor_id = $1");
        self.app.execute(&sql, &[&record, &value]).await.unwrap();
        self.write("postgres", record, "update", &[(field, value, saw)]);
    }

    /// Sets a field to this value in Salesforce.
    ///
    /// # Panics
    /// When there is no such record.
    pub async fn set_in_salesforce(&mut self, record: &str, field: &str, value: &str) {
        let id = self.id_of(record).await.unwrap();
        let path = format!("sobjects/Contact/{id}");
        let before = self.call(Method::GET, &format!("{path}?fields={field}"), None).await;
        let saw = before[field].as_str().map(str::to_owned);
        assert!(self.call(Method::PATCH, &path, Some(&json!({field: value}))).await.is_null());
        self.write("salesforce", record, "update", &[(field, value, saw)]);
    }

    /// Sets a field of several records in one call, and so in one transaction of Salesforce: the outbound message
    /// names all of them.
    ///
    /// # Panics
    /// When Salesforce refuses one of them.
    pub async fn set_together_in_salesforce(&mut self, field: &str, values: &[(&str, &str)]) {
        let (mut bodies, mut saw) = (Vec::new(), Vec::new());
        for (record, value) in values {
            let id = self.id_of(record).await.unwrap();
            let before = self.call(Method::GET, &format!("sobjects/Contact/{id}?fields={field}"), None).await;
            saw.push(before[field].as_str().map(str::to_owned));
            bodies.push(json!({"attributes": {"type": "Contact"}, "Id": id, field: value}));
        }
        let body = json!({"allOrNone": true, "records": bodies});
        let answer = self.call(Method::PATCH, "composite/sobjects", Some(&body)).await;
        assert!(answer.as_array().unwrap().iter().all(|one| one["success"] == true), "{answer}");
        for ((record, value), saw) in values.iter().zip(saw) {
            self.write("salesforce", record, "update", &[(field, value, saw)]);
        }
    }

    /// Edits one field of `count` rows in one statement.
    ///
    /// # Panics
    /// When the database refuses the edit.
    pub async fn edit_many_in_postgres(&mut self, field: &str, count: usize) {
        let column = FIELDS.iter().find(|(name, _)| *name == field).unwrap().1;
        self.count += 1;
        let sql = format!(
            "UPDATE contacts t SET {column} = 'v-{}-' || t.id FROM (SELECT * FROM contacts ORDER BY id LIMIT {count}) o WHERE o.id = t.id
             RETURNING t.editor_id, t.{column}, o.{column}",
            self.count
        );
        for row in self.app.query(&sql, &[]).await.unwrap() {
            let (record, value): (String, String) = (row.get(0), row.get(1));
            self.write("postgres", &record, "update", &[(field, &value, row.get(2))]);
        }
    }

    /// One random act: creates a record or edits a field, on either side.
    pub async fn something(&mut self) {
        let field = FIELDS[self.below(FIELDS.len())].0;
        if self.records.len() < 10 {
            match self.below(2) {
                0 => self.create_in_salesforce().await,
                _ => self.create_in_postgres().await,
            };
            return;
        }
        let place = self.below(self.records.len());
        let record = self.records[place].clone();
        match self.below(10) {
            0 => drop(self.create_in_salesforce().await),
            1 => drop(self.create_in_postgres().await),
            2..=5 => self.edit_in_salesforce(&record, field).await,
            _ => self.edit_in_postgres(&record, field).await,
        }
    }
}

async fn sign_in(http: &reqwest::Client, salesforce: &str) -> String {
    let form =
        [("grant_type", "client_credentials"), ("client_id", "sales"), ("client_secret", "sales-secret")];
    let url = format!("{salesforce}/services/oauth2/token");
    let answer: Value = http.post(url).form(&form).send().await.unwrap().json().await.unwrap();
    answer["access_token"].as_str().unwrap().to_owned()
}
