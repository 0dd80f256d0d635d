//! `serve` as a process of its own: both sides become equal, and SIGTERM, a second `serve` and SIGKILL do no
//! harm.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod installation;

use installation::Installation;
use salesforce_sim::Stored;
use std::collections::BTreeMap;
use std::time::Duration;

const QUIET: &str =
    "SELECT NOT EXISTS (SELECT FROM syncline.log) AND NOT EXISTS (SELECT FROM syncline.queue_message)
    AND NOT EXISTS (SELECT FROM syncline.deferred)";
const ALL_LINKED: &str = "SELECT count(*) = count(salesforce_id) AND count(*) > 0 FROM contacts";
const AT_REST: &str =
    "SELECT (SELECT count(*) FROM syncline.log) + (SELECT count(*) FROM syncline.queue_message)
                       + (SELECT count(*) FROM syncline.deferred) = 0";

fn edit(installation: &Installation, id: &str, title: &str) {
    let mut org = installation.simulator.org.lock().unwrap();
    let user = org.users[1].clone();
    let fields = BTreeMap::from([("Title".to_owned(), Some(Stored::Text(title.to_owned())))]);
    org.update("Contact", id, &fields, &user).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_on_either_side_stands_on_both_and_sigterm_ends_cleanly() {
    let installation = Installation::new().await;
    installation.send_messages();
    let served = installation.serve().await;
    installation.database.run("INSERT INTO contacts (last_name) VALUES ('Hopper')").await;
    installation.until(ALL_LINKED).await;
    installation.until(QUIET).await;
    let id = installation.database.text("SELECT salesforce_id FROM contacts").await.unwrap();
    edit(&installation, &id, "Admiral");
    installation.until("SELECT title = 'Admiral' FROM contacts").await;
    let second = installation.command(&["status"]).output().unwrap();
    assert!(String::from_utf8_lossy(&second.stdout).contains("active"));
    let history = installation.command(&["history", &id]).output().unwrap();
    let history = String::from_utf8_lossy(&history.stdout).into_owned();
    assert!(history.contains("Admiral") && history.contains("outbound-message"), "{history}");
    assert_eq!(served.terminate().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_serve_is_harmless() {
    let installation = Installation::new().await;
    let first = installation.serve().await;
    let other = installation
        .configuration()
        .replace(&installation.listen.to_string(), &support::cluster::free_port().unwrap().to_string());
    installation.write(&other);
    let second = installation::Served(installation.command(&["serve"]).spawn().unwrap());
    installation
        .database
        .run("INSERT INTO contacts (last_name) SELECT 'c' || n FROM generate_series(1, 300) n")
        .await;
    installation.until(ALL_LINKED).await;
    installation.until(AT_REST).await;
    assert_eq!(installation.simulator.org.lock().unwrap().records["Contact"].len(), 300, "no record twice");
    drop((first, second));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigkill_loses_nothing_and_doubles_nothing() {
    let installation = Installation::new().await;
    installation.send_messages();
    for round in 0..6_u64 {
        let served = installation.serve().await;
        installation
            .database
            .run(&format!(
                "INSERT INTO contacts (last_name) SELECT 'r{round} ' || n FROM generate_series(1, 40) n"
            ))
            .await;
        installation.database.run(&format!("UPDATE contacts SET first_name = 'f{round} ' || id")).await;
        let ids: Vec<String> = {
            let org = installation.simulator.org.lock().unwrap();
            org.records
                .get("Contact")
                .into_iter()
                .flat_map(|records| records.keys().take(30).cloned())
                .collect()
        };
        for id in &ids {
            edit(&installation, id, &format!("t{round} {id}"));
        }
        tokio::time::sleep(Duration::from_millis(30 + round * 67)).await;
        drop(served);
    }
    let served = installation.serve().await;
    installation.until(ALL_LINKED).await;
    installation.until(AT_REST).await;
    let rows = installation
        .database
        .client
        .query("SELECT salesforce_id, last_name, first_name, title FROM contacts", &[])
        .await
        .unwrap();
    let org = installation.simulator.org.lock().unwrap();
    assert_eq!((rows.len(), org.records["Contact"].len()), (240, 240));
    for row in rows {
        let id: String = row.get(0);
        let record = &org.records["Contact"][&id];
        for (installation, field) in ["LastName", "FirstName", "Title"].into_iter().enumerate() {
            assert_eq!(
                record.values.get(field).map(Stored::text),
                row.get::<_, Option<String>>(installation + 1),
                "{field} of {id}"
            );
        }
    }
    drop(served);
}

/// Three contacts in Salesforce, with these last names.
fn create_contacts(installation: &Installation, names: &[&str]) {
    let mut org = installation.simulator.org.lock().unwrap();
    let user = org.users[1].clone();
    for name in names {
        let text = |text: &str| Some(Stored::Text(text.to_owned()));
        let fields =
            BTreeMap::from([("LastName".to_owned(), text(name)), ("Department".to_owned(), text("Navy"))]);
        org.create("Contact", &fields, &user).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_applied_while_serve_runs_is_taken_up() {
    let installation = Installation::new().await;
    let names: Vec<String> = (0..20).map(|n| format!("c{n}")).collect();
    create_contacts(&installation, &names.iter().map(String::as_str).collect::<Vec<_>>());
    let served = installation.serve().await;
    installation.until("SELECT count(salesforce_id) = 20 FROM contacts").await;
    installation.until(AT_REST).await;

    // A field is added, and no record changes.
    installation.database.run("ALTER TABLE contacts ADD COLUMN department text").await;
    let wider = installation.configuration() + "Department = \"department\"\n";
    installation.write(&wider);
    let output = installation.command(&["apply"]).output().unwrap();
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{words} {}", String::from_utf8_lossy(&output.stderr));
    assert!(words.contains("a running `syncline serve` takes this up within 10 seconds"), "{words}");
    installation.until("SELECT count(*) FILTER (WHERE department = 'Navy') = 20 FROM contacts").await;

    // A sync is added.
    installation.database.run("CREATE TABLE public.accounts (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, name text NOT NULL)").await;
    let two = wider.clone()
        + "[sync.accounts]\nobject = \"Account\"\ntable = \"accounts\"\n[sync.accounts.fields]\nName = \"name\"\n";
    installation.write(&two);
    assert!(installation.command(&["apply"]).status().unwrap().success());
    installation.database.run("INSERT INTO accounts (name) VALUES ('Navy')").await;
    installation.until("SELECT count(salesforce_id) = 1 FROM accounts").await;

    // A sync is taken away: its rows stay alone.
    installation.write(&wider);
    assert!(installation.command(&["apply"]).status().unwrap().success());
    tokio::time::sleep(Duration::from_secs(11)).await;
    installation
        .database
        .run("INSERT INTO accounts (name) VALUES ('Army'); INSERT INTO contacts (last_name) VALUES ('last')")
        .await;
    installation.until("SELECT salesforce_id IS NOT NULL FROM contacts WHERE last_name = 'last'").await;
    installation.until(AT_REST).await;
    assert_eq!(installation.database.count("SELECT count(salesforce_id) FROM accounts").await, 1);
    assert_eq!(served.terminate().code(), Some(0));
}
