//! Capture: triggers that log the keys of rows that changed.
//!
//! Statement triggers with transition tables on a plain table, one row trigger for replicated writes, and one for
//! TRUNCATE. Keys only: rows are re-read, so unchanged TOAST and old images never matter. Later versions replace
//! the functions and leave the triggers.

use crate::connect::Connection;
use crate::error::DatabaseError;
use crate::names::{Instance, quote};
use syncline_engine::Definition;
use tokio_postgres::error::SqlState;

/// How often the triggers' short lock on the table is tried for.
const LOCK_TRIES: u32 = 5;

/// The SQL text of a row's key: a compact JSON array of its key columns' text.
fn key_text(definition: &Definition, alias: &str) -> String {
    let parts: Vec<String> = definition
        .key
        .iter()
        .map(|(column, _)| format!("to_json({alias}.{}::text)::text", quote(column)))
        .collect();
    format!("'[' || {} || ']'", parts.join(" || ',' || "))
}

fn same_key(definition: &Definition) -> String {
    let parts: Vec<String> =
        definition.key.iter().map(|(column, _)| format!("n.{0} = o.{0}", quote(column))).collect();
    parts.join(" AND ")
}

/// Installs capture on a sync's table.
///
/// # Errors
/// When the database refuses, or the table stays locked by others.
pub async fn install_capture(
    connection: &mut Connection,
    instance: &Instance,
    definition: &Definition,
) -> Result<(), DatabaseError> {
    let mut tries = 0;
    loop {
        tries += 1;
        match try_install(connection, instance, definition).await {
            Err(DatabaseError::Statement(_, error))
                if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) && tries < LOCK_TRIES =>
            {
                tokio::time::sleep(std::time::Duration::from_millis(200 << tries)).await;
            }
            other => return other,
        }
    }
}

async fn try_install(
    connection: &mut Connection,
    instance: &Instance,
    definition: &Definition,
) -> Result<(), DatabaseError> {
    let transaction = connection.transaction().await?;
    transaction.batch_execute("SET LOCAL lock_timeout = '2s'").await?;
    transaction.batch_execute(&functions(instance, definition)).await?;
    let table = format!("{}.{}", quote(&definition.schema), quote(&definition.table));
    for (event, sql) in triggers(instance, definition) {
        let trigger = instance.capture_name(&definition.name, event);
        let bare = trigger.trim_matches('"').replace("\"\"", "\"");
        let known = transaction
            .query_typed(
                "SELECT 1 FROM pg_trigger WHERE tgrelid = to_regclass($1) AND tgname = $2",
                &[(&table, tokio_postgres::types::Type::TEXT), (&bare, tokio_postgres::types::Type::TEXT)],
            )
            .await?;
        if known.is_empty() {
            transaction.batch_execute(&format!("CREATE TRIGGER {trigger} {sql}")).await?;
            if event == "replica" {
                transaction
                    .batch_execute(&format!("ALTER TABLE {table} ENABLE REPLICA TRIGGER {trigger}"))
                    .await?;
            }
        }
    }
    transaction.commit().await?;
    Ok(())
}

fn functions(instance: &Instance, definition: &Definition) -> String {
    let schema = instance.schema();
    let function = |event: &str| format!("{schema}.{}", instance.capture_name(&definition.name, event));
    let sync = definition.name.replace('\'', "''");
    let link = quote(&definition.link);
    let (new_key, old_key) = (key_text(definition, "n"), key_text(definition, "o"));
    let same = same_key(definition);
    let insert = format!("INSERT INTO {schema}.log (sync, operation, key, old_key, link, old_link, actor)");
    let actor = "current_setting('syncline.actor', true)";
    let head = "RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp";
    let new_row = key_text(definition, "NEW");
    let old_row = key_text(definition, "OLD");
    format!(
        "CREATE OR REPLACE FUNCTION {statement}() {head} AS $capture$
         BEGIN
           IF TG_OP = 'INSERT' THEN
             {insert} SELECT '{sync}', 'insert', {new_key}, NULL, n.{link}::text, NULL, {actor} FROM new_rows n;
           ELSIF TG_OP = 'UPDATE' THEN
             {insert} SELECT '{sync}', 'update', {new_key}, NULL, n.{link}::text, o.{link}::text, {actor}
               FROM new_rows n LEFT JOIN old_rows o ON {same};
             {insert} SELECT '{sync}', 'rekey', NULL, {old_key}, NULL, o.{link}::text, {actor}
               FROM old_rows o WHERE NOT EXISTS (SELECT FROM new_rows n WHERE {same});
           ELSE
             {insert} SELECT '{sync}', 'delete', {old_key}, NULL, o.{link}::text, NULL, {actor} FROM old_rows o;
           END IF;
           RETURN NULL;
         END $capture$;
         CREATE OR REPLACE FUNCTION {row}() {head} AS $capture$
         BEGIN
           IF TG_OP = 'DELETE' THEN
             {insert} VALUES ('{sync}', 'delete', {old_row}, NULL, OLD.{link}::text, NULL, {actor});
           ELSIF TG_OP = 'INSERT' THEN
             {insert} VALUES ('{sync}', 'insert', {new_row}, NULL, NEW.{link}::text, NULL, {actor});
           ELSE
             {insert} VALUES ('{sync}', 'update', {new_row}, nullif({old_row}, {new_row}), NEW.{link}::text, OLD.{link}::text, {actor});
           END IF;
           RETURN NULL;
         END $capture$;
         CREATE OR REPLACE FUNCTION {truncate}() {head} AS $capture$
         BEGIN
           {insert} VALUES ('{sync}', 'truncate', NULL, NULL, NULL, NULL, {actor});
           RETURN NULL;
         END $capture$;",
        statement = function("statement"),
        row = function("row"),
        truncate = function("truncate"),
    )
}

fn triggers(instance: &Instance, definition: &Definition) -> Vec<(&'static str, String)> {
    let table = format!("{}.{}", quote(&definition.schema), quote(&definition.table));
    let function =
        |event: &str| format!("{}.{}()", instance.schema(), instance.capture_name(&definition.name, event));
    let statement = function("statement");
    vec![
        (
            "insert",
            format!(
                "AFTER INSERT ON {table} REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION {statement}"
            ),
        ),
        (
            "update",
            format!(
                "AFTER UPDATE ON {table} REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION {statement}"
            ),
        ),
        (
            "delete",
            format!(
                "AFTER DELETE ON {table} REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION {statement}"
            ),
        ),
        (
            "replica",
            format!(
                "AFTER INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION {}",
                function("row")
            ),
        ),
        (
            "truncate",
            format!("AFTER TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION {}", function("truncate")),
        ),
    ]
}
