//! Commands as processes: bad input of every kind ends in one clear message and a non-zero exit code, and
//! good input works twice.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod installation;

use installation::Installation;

/// Runs a command that has to fail with an error message and without a panic, and answers what it wrote to
/// standard error.
fn refused(installation: &Installation, arguments: &[&str]) -> String {
    let output = installation.command(arguments).output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{arguments:?} succeeded: {words}");
    assert!(words.contains("error: "), "{words}");
    assert!(!words.contains("panicked"), "{words}");
    words
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_with_several_errors_names_them_all_at_once() {
    let installation = Installation::new().await;
    let text = installation
        .configuration()
        .replace("client-credentials", "magic")
        .replace("[sync.contacts]", "[sync.Contacts]");
    installation.write(&text.replace("secret = \"env:DATABASE_URL\"", "sslmode = \"maybe\""));
    let words = refused(&installation, &["validate"]);
    for expected in ["salesforce.auth", "postgres.secret: is missing", "postgres.sslmode", "sync.Contacts"] {
        assert!(words.contains(expected), "{expected} is missing from {words}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_file_or_secret_is_named() {
    let installation = Installation::new().await;
    assert!(refused(&installation, &["validate", "--config", "nowhere.toml"]).contains("nowhere.toml"));
    installation.write(&installation.configuration().replace("env:DATABASE_URL", "env:NO_SUCH_VARIABLE"));
    assert!(refused(&installation, &["apply"]).contains("environment variable NO_SUCH_VARIABLE is not set"));
    installation.write(&installation.configuration().replace("env:SALESFORCE", "file:no-such-file"));
    assert!(refused(&installation, &["apply"]).contains("no-such-file cannot be read"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unreachable_servers_are_both_named() {
    let installation = Installation::new().await;
    installation
        .write(&installation.configuration().replace(&installation.simulator.url, "http://127.0.0.1:9"));
    let output = installation
        .command(&["apply"])
        .env("DATABASE_URL", "postgres://app@127.0.0.1:9/app")
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(words.contains("127.0.0.1:9/app") && words.contains("postgres.secret"), "{words}");
    assert!(words.contains("http://127.0.0.1:9") && words.contains("salesforce.login_url"), "{words}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_credentials_are_refused_in_the_servers_words() {
    let installation = Installation::new().await;
    let secret = r#"{"client_id": "syncline", "client_secret": "hunter2"}"#;
    let output = installation.command(&["apply"]).env("SALESFORCE", secret).output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(words.contains("invalid client credentials") && !words.contains("hunter2"), "{words}");
    let url = installation.database.url.replace("syncline@", "nobody:hunter2@");
    let output = installation.command(&["apply"]).env("DATABASE_URL", url).output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(words.contains("role \"nobody\" does not exist") && !words.contains("hunter2"), "{words}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apply_names_every_problem_of_every_sync_and_changes_nothing() {
    let installation = Installation::new().await;
    let text = installation
        .configuration()
        .replace("LastName = \"last_name\"\n", "")
        .replace("FirstName =", "Birthdate =")
        .replace("Title = \"title\"", "Title = \"titel\"\nNope__c = \"title\"");
    installation.write(
        &(text
            + "[sync.ghosts]\nobject = \"Ghost__c\"\ntable = \"ghosts\"\nfields = \"*\"\n\
         [sync.stray]\nobject = \"Account\"\ntable = \"nowhere.stray\"\nfields = \"*\"\n"),
    );
    let words = refused(&installation, &["apply"]);
    for expected in [
        "Contact.LastName is required by Salesforce and not mapped",
        "public.contacts has no column titel",
        "Contact has no field Nope__c",
        "a Salesforce date cannot be kept in a text column: use date",
        "Salesforce has no object Ghost__c",
        "there is no schema nowhere for table nowhere.stray",
    ] {
        assert!(words.contains(expected), "{expected} is missing from {words}");
    }
    assert_eq!(
        installation.database.count("SELECT count(*) FROM pg_namespace WHERE nspname = 'syncline'").await,
        0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_permission_is_named_with_the_grant_that_helps() {
    let installation = Installation::new().await;
    installation
        .database
        .run("DROP ROLE IF EXISTS weak; CREATE ROLE weak LOGIN; GRANT SELECT ON contacts TO weak")
        .await;
    let url = installation.database.url.replace("syncline@", "weak@");
    let output = installation.command(&["apply"]).env("DATABASE_URL", url).output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    installation.database.run("DROP OWNED BY weak; DROP ROLE weak").await;
    assert!(words.contains("GRANT SELECT, INSERT, UPDATE ON public.contacts TO weak"), "{words}");
    assert!(words.contains("GRANT TRIGGER ON public.contacts TO weak"), "{words}");
    assert!(
        words.contains("does not own public.contacts") && words.contains("GRANT syncline TO weak"),
        "{words}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_before_apply_say_so() {
    let installation = Installation::new().await;
    assert!(refused(&installation, &["status"]).contains("run `syncline apply`"));
    assert!(refused(&installation, &["serve"]).contains("run `syncline apply`"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_definition_that_changed_is_not_served_before_it_is_applied() {
    let installation = Installation::new().await;
    assert!(installation.command(&["apply"]).status().unwrap().success());
    installation
        .write(&installation.configuration().replace("primary = \"salesforce\"", "primary = \"postgres\""));
    let words = refused(&installation, &["serve"]);
    assert!(words.contains("differs from what is applied for these syncs: contacts"), "{words}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_in_use_is_named() {
    let installation = Installation::new().await;
    let taken = std::net::TcpListener::bind(("127.0.0.1", installation.listen)).unwrap();
    let words = refused(&installation, &["serve", "--apply"]);
    assert!(
        words.contains(&format!("127.0.0.1:{}", installation.listen)) && words.contains("serve.listen"),
        "{words}"
    );
    drop(taken);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_org_is_not_written_to() {
    let installation = Installation::new().await;
    assert!(installation.command(&["apply"]).status().unwrap().success());
    installation.simulator.org.lock().unwrap().organization_id = "00D5e000000EViLEAO".into();
    let words = refused(&installation, &["serve"]);
    assert!(words.contains("00D5e000000SIMuEAO") && words.contains("00D5e000000EViLEAO"), "{words}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apply_creates_what_is_missing_and_changes_nothing_when_run_again() {
    let installation = Installation::new().await;
    installation.write(
        &(installation.configuration()
            + "[sync.widgets]\nobject = \"Widget__c\"\ntable = \"crm_widgets\"\nfields = \"*\"\n"),
    );
    let output = installation.command(&["apply"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let columns =
        "SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum)
                   FROM pg_attribute WHERE attrelid = 'crm_widgets'::regclass AND attnum > 0";
    let columns = installation.database.text(columns).await.unwrap();
    for expected in [
        "id bigint",
        "salesforce_id character varying(18)",
        "price numeric,",
        "seen_at timestamp with time zone",
        "code character varying(36)",
        "active boolean",
    ] {
        assert!(columns.contains(expected), "{expected} is missing from {columns}");
    }
    let again = installation.command(&["apply"]).output().unwrap();
    assert!(again.status.success());
    assert!(String::from_utf8_lossy(&again.stdout).contains("definition 1"));
    for command in ["status", "conflicts", "rejected"] {
        assert!(installation.command(&[command]).status().unwrap().success(), "{command}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_fields_are_frozen_when_they_are_applied() {
    let installation = Installation::new().await;
    installation.write(
        &(installation.configuration()
            + "[sync.widgets]\nobject = \"Widget__c\"\ntable = \"crm_widgets\"\nfields = \"*\"\n"),
    );
    assert!(installation.command(&["apply"]).status().unwrap().success());
    {
        let mut org = installation.simulator.org.lock().unwrap();
        let schema = org.schema_mut("Widget__c").unwrap();
        let mut field = schema.field("Mail__c").unwrap().clone();
        field.name = "Added_Later__c";
        schema.fields.push(field);
    }
    let again = installation.command(&["apply"]).output().unwrap();
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    let served = installation.serve().await;
    assert_eq!(served.terminate().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_has_help() {
    let installation = Installation::new().await;
    for command in
        ["validate", "apply", "serve", "status", "conflicts", "rejected", "history", "resume", "state"]
    {
        let output = installation.command(&[command, "--help"]).output().unwrap();
        assert!(output.status.success() && output.stdout.len() > 100, "{command}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_link_of_two_filled_sides_stops_and_says_what_it_would_create() {
    let installation = Installation::new().await;
    {
        let mut org = installation.simulator.org.lock().unwrap();
        let user = org.users[1].clone();
        for name in ["one", "two", "three"] {
            let name = Some(salesforce_sim::Stored::Text(name.to_owned()));
            org.create("Contact", &[("LastName".to_owned(), name)].into(), &user).unwrap();
        }
    }
    installation.database.run("INSERT INTO contacts (last_name) VALUES ('one'), ('two')").await;
    let words = refused(&installation, &["apply"]);
    for expected in [
        "sync.contacts: public.contacts holds 2 rows without a link, and Salesforce holds 3 records of Contact",
        "create 2 records of Contact and 3 rows",
        "into the column salesforce_id",
        "--create-on-both-sides",
    ] {
        assert!(words.contains(expected), "{expected} is missing from {words}");
    }
    assert!(refused(&installation, &["serve", "--apply"]).contains("--create-on-both-sides"));
    let column = "SELECT count(*) FROM information_schema.columns
                  WHERE table_name = 'contacts' AND column_name = 'salesforce_id'";
    assert_eq!(installation.database.count(column).await, 0, "nothing was changed");

    // Each row has the Id of its record: nothing is left to guess, and one record gets a row.
    let ids: Vec<String> = {
        let org = installation.simulator.org.lock().unwrap();
        org.records["Contact"].keys().cloned().collect()
    };
    installation
        .database
        .run(&format!(
            "ALTER TABLE contacts ADD salesforce_id varchar(18);
             UPDATE contacts SET salesforce_id = '{}' WHERE last_name = 'one';
             UPDATE contacts SET salesforce_id = '{}' WHERE last_name = 'two'",
            ids[0], ids[1]
        ))
        .await;
    assert!(installation.command(&["apply"]).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_link_of_two_filled_sides_goes_on_when_told_to() {
    let installation = Installation::new().await;
    {
        let mut org = installation.simulator.org.lock().unwrap();
        let user = org.users[1].clone();
        let name = Some(salesforce_sim::Stored::Text("one".to_owned()));
        org.create("Contact", &[("LastName".to_owned(), name)].into(), &user).unwrap();
    }
    installation.database.run("INSERT INTO contacts (last_name) VALUES ('another')").await;
    assert!(installation.command(&["apply", "--create-on-both-sides"]).status().unwrap().success());
    // It was decided once.
    assert!(installation.command(&["apply"]).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_tells_programs_as_well() {
    let installation = Installation::new().await;
    assert!(installation.command(&["apply"]).status().unwrap().success());
    let status = |arguments: &[&str]| {
        let output = installation.command(arguments).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, words) = status(&["status", "--json", "--check"]);
    let told: serde_json::Value = serde_json::from_str(&words).unwrap();
    assert_eq!(
        (code, &told["syncs"][0]["sync"], &told["dead_letters"]),
        (Some(0), &"contacts".into(), &0.into())
    );
    assert!(installation.command(&["pause", "contacts"]).status().unwrap().success());
    assert_eq!(status(&["status"]).0, Some(0));
    let (code, words) = status(&["status", "--json", "--check"]);
    let told: serde_json::Value = serde_json::from_str(&words).unwrap();
    assert_eq!(code, Some(3), "{words}");
    assert!(told["syncs"][0]["paused"].is_string(), "{words}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_in_another_case_is_the_object_in_salesforces_own() {
    let installation = Installation::new().await;
    let text = installation.configuration().replace("object = \"Contact\"", "object = \"contact\"");
    installation.write(&text);
    let output = installation.command(&["apply"]).output().unwrap();
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(words.contains("sync contacts is applied: Contact = public.contacts"), "{words}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_rows_of_several_syncs_have_is_asked_about() {
    let installation = Installation::new().await;
    assert!(installation.command(&["apply"]).status().unwrap().success());
    installation
        .database
        .run(
            "INSERT INTO syncline.history (sync, at, record, postgres_key, side, source, reason, intent, outcome)
             SELECT sync, now(), 'r', '[\"1\"]', 'postgres', 'capture-log', 'edited', 'i', 'written'
             FROM unnest(ARRAY['accounts', 'contacts']) AS u(sync)",
        )
        .await;
    let words = refused(&installation, &["history", "1"]);
    assert!(words.contains("accounts, contacts; name one of them with --sync"), "{words}");
    let output = installation.command(&["history", "1", "--sync", "contacts"]).output().unwrap();
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(words.contains("contacts") && !words.contains("accounts"), "{words}");
}

/// Takes a field off contacts, as an object of Salesforce may lack it.
fn without_field(installation: &Installation, field: &str) {
    let mut org = installation.simulator.org.lock().unwrap();
    org.schema_mut("Contact").unwrap().fields.retain(|one| one.name != field);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_without_stamps_is_refused_and_one_without_deletes_is_named() {
    let installation = Installation::new().await;
    without_field(&installation, "IsDeleted");
    let output = installation.command(&["apply"]).output().unwrap();
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(
        words.contains("Contact has no field IsDeleted, so deletes in Salesforce are not seen"),
        "{words}"
    );
    without_field(&installation, "SystemModstamp");
    assert!(refused(&installation, &["apply"]).contains("Contact has no field SystemModstamp"));
}
