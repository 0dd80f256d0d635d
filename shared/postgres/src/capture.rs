//! Capture: triggers on a sync's table that log the keys of changed rows (PostgreSQL documentation, CREATE
//! TRIGGER).
//!
//! | table | triggers |
//! | --- | --- |
//! | plain | a statement trigger with transition tables for each of INSERT, UPDATE and DELETE |
//! | plain | a row trigger that fires for replicated writes only (`ENABLE REPLICA`) |
//! | partitioned | a row trigger that always fires (`ENABLE ALWAYS`), in every partition |
//! | both | a row trigger that notes updates of the key (`ENABLE ALWAYS` with a link table or partitions) |
//! | both | a TRUNCATE trigger, on a partitioned table also on each leaf partition |
//!
//! An update that moves a row to another partition is a delete in the one and an insert in the other, and fires no
//! trigger after an update. Only a trigger before the update sees the old and the new key together, so in a partitioned
//! table the trigger for changed keys is one of these. Its name comes last, so that it sees what the other triggers made
//! of the row (PostgreSQL documentation, Overview of Trigger Behavior).
//!
//! No trigger has a condition or a list of columns, because PostgreSQL refuses to change the type of a column that
//! stands in one.
//!
//! A row trigger of a partitioned table also fires for a row that is written to a partition directly. The
//! TRUNCATE trigger of a partitioned table does not fire for the TRUNCATE of a partition, so each leaf has
//! one too.
//!
//! The log holds keys and links, and no values. Runs read the rows again, so neither values that stay in
//! TOAST nor old versions of rows matter. Another release of Syncline replaces the functions only, and leaves
//! the triggers.

use crate::connect::Connection;
use crate::error::DatabaseError;
use crate::link::{key_text, link_table};
use crate::names::{Instance, quote};
use syncline_engine::Definition;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;

/// How often the installation is tried while others have the table locked. A try waits 2 seconds for each
/// lock.
const LOCK_TRIES: u32 = 5;

/// A SQL condition: the rows of the aliases `n` (new) and `o` (old) have the same key.
fn same_key(definition: &Definition) -> String {
    let parts: Vec<String> =
        definition.key.iter().map(|(column, _)| format!("n.{0} = o.{0}", quote(column))).collect();
    parts.join(" AND ")
}

/// Installs capture on the table of a sync. Where capture is installed already, the functions are replaced,
/// and only missing triggers are added, for instance those of a new partition.
///
/// # Errors
/// When the database refuses, or the table is still locked by others at the fifth try.
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

/// One try of [`install_capture`], in one transaction.
async fn try_install(
    connection: &mut Connection,
    instance: &Instance,
    definition: &Definition,
) -> Result<(), DatabaseError> {
    let transaction = connection.transaction().await?;
    transaction.batch_execute("SET LOCAL lock_timeout = '2s'").await?;
    transaction.batch_execute(&functions(instance, definition)).await?;
    let table = format!("{}.{}", quote(&definition.schema), quote(&definition.table));
    for (event, sql, enable) in triggers(instance, definition) {
        install_trigger(&transaction, instance, definition, &table, event, &sql, enable).await?;
    }
    for leaf in leaves(&transaction, definition).await? {
        let sql = truncate_trigger(instance, definition, &leaf);
        install_trigger(&transaction, instance, definition, &leaf, "truncate", &sql, None).await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// Creates the trigger of a sync for an event, unless `table` has it. `sql` is the statement after the
/// trigger's name. `enable` is `ALWAYS` or `REPLICA` if the trigger is to fire otherwise than usual
/// (PostgreSQL documentation, ALTER TABLE).
async fn install_trigger(
    transaction: &deadpool_postgres::Transaction<'_>,
    instance: &Instance,
    definition: &Definition,
    table: &str,
    event: &str,
    sql: &str,
    enable: Option<&str>,
) -> Result<(), DatabaseError> {
    let trigger = instance.trigger_name(definition, event);
    let bare = trigger.trim_matches('"').replace("\"\"", "\"");
    let known = transaction
        .query_typed(
            "SELECT 1 FROM pg_trigger WHERE tgrelid = to_regclass($1) AND tgname = $2",
            &[(&table, Type::TEXT), (&bare, Type::TEXT)],
        )
        .await?;
    if known.is_empty() {
        transaction.batch_execute(&format!("CREATE TRIGGER {trigger} {sql}")).await?;
        if let Some(enable) = enable {
            transaction
                .batch_execute(&format!("ALTER TABLE {table} ENABLE {enable} TRIGGER {trigger}"))
                .await?;
        }
    }
    Ok(())
}

/// The quoted names of a partitioned table's leaf partitions that are plain tables. Empty if the table is not
/// partitioned.
async fn leaves(
    transaction: &deadpool_postgres::Transaction<'_>,
    definition: &Definition,
) -> Result<Vec<String>, DatabaseError> {
    if !definition.partitioned {
        return Ok(Vec::new());
    }
    let table = format!("{}.{}", quote(&definition.schema), quote(&definition.table));
    let rows = transaction
        .query_typed(
            "SELECT format('%I.%I', n.nspname, c.relname)
             FROM pg_partition_tree(to_regclass($1)) p JOIN pg_class c ON c.oid = p.relid
             JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE p.isleaf AND p.level > 0 AND c.relkind = 'r'",
            &[(&table, Type::TEXT)],
        )
        .await?;
    Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
}

/// The TRUNCATE trigger of a table or partition, without its beginning `CREATE TRIGGER name`.
fn truncate_trigger(instance: &Instance, definition: &Definition, table: &str) -> String {
    format!(
        "AFTER TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION {}.{}()",
        instance.schema(),
        instance.capture_name(&definition.name, "truncate")
    )
}

/// The statements that create or replace the trigger functions of a sync. Each function runs with the rights
/// of its owner and a fixed search path, so that a role that writes to the table needs no rights on
/// Syncline's schema.
fn functions(instance: &Instance, definition: &Definition) -> String {
    let schema = instance.schema();
    let function = |event: &str| format!("{schema}.{}", instance.capture_name(&definition.name, event));
    let sync = definition.name.replace('\'', "''");
    // With a link table, the row itself does not hold the link.
    let links = link_table(instance, definition);
    let link = |alias: &str| {
        if definition.link_table {
            format!("(SELECT l.salesforce_id FROM {links} l WHERE l.key = {})", key_text(definition, alias))
        } else {
            format!("{alias}.{}::text", quote(&definition.link))
        }
    };
    let [n_link, o_link, new_link, old_link] = ["n", "o", "NEW", "OLD"].map(link);
    // The delete of a row deletes its link from the link table too, after the link was written to the log.
    let forget = |keys: &str| {
        if definition.link_table {
            format!("DELETE FROM {links} WHERE key IN ({keys});")
        } else {
            String::new()
        }
    };
    let forget_rows = forget(&format!("SELECT {} FROM old_rows o", key_text(definition, "o")));
    let forget_row = forget(&key_text(definition, "OLD"));
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
             {insert} SELECT '{sync}', 'insert', {new_key}, NULL, {n_link}, NULL, {actor} FROM new_rows n;
           ELSIF TG_OP = 'UPDATE' THEN
             {insert} SELECT '{sync}', 'update', {new_key}, NULL, {n_link}, {o_link}, {actor}
               FROM new_rows n LEFT JOIN old_rows o ON {same};
           ELSE
             {insert} SELECT '{sync}', 'delete', {old_key}, NULL, {o_link}, NULL, {actor} FROM old_rows o;
             {forget_rows}
           END IF;
           RETURN NULL;
         END $capture$;
         CREATE OR REPLACE FUNCTION {row}() {head} AS $capture$
         BEGIN
           IF TG_OP = 'DELETE' THEN
             {insert} VALUES ('{sync}', 'delete', {old_row}, NULL, {old_link}, NULL, {actor});
             {forget_row}
           ELSIF TG_OP = 'INSERT' THEN
             {insert} VALUES ('{sync}', 'insert', {new_row}, NULL, {new_link}, NULL, {actor});
           ELSE
             {insert} VALUES ('{sync}', 'update', {new_row}, nullif({old_row}, {new_row}), {new_link}, {old_link}, {actor});
           END IF;
           RETURN NULL;
         END $capture$;
         {rekey}
         CREATE OR REPLACE FUNCTION {truncate}() {head} AS $capture$
         BEGIN
           {insert} VALUES ('{sync}', 'truncate', NULL, NULL, NULL, NULL, {actor});
           RETURN NULL;
         END $capture$;",
        statement = function("statement"),
        row = function("row"),
        truncate = function("truncate"),
        rekey = rekey_function(instance, definition, head, &format!(
            "{insert} VALUES ('{sync}', 'rekey', {new_row}, {old_row}, {new_link}, {old_link}, {actor});"
        )),
    )
}

/// The function that notes which key became which other key, in the table `rekeyed` and in the log. The
/// transition tables of a statement do not tell which old row became which new row, and a row without a link
/// can be recognized by nothing but its key. A link in a link table gets the new key of its row.
fn rekey_function(instance: &Instance, definition: &Definition, head: &str, log: &str) -> String {
    let (old, new) = (key_text(definition, "OLD"), key_text(definition, "NEW"));
    let links = if definition.link_table {
        format!("UPDATE {} SET key = {new} WHERE key = {old};", link_table(instance, definition))
    } else {
        String::new()
    };
    let (schema, sync) = (instance.schema(), definition.name.replace('\'', "''"));
    let changed: Vec<String> = definition
        .key
        .iter()
        .map(|(column, _)| format!("OLD.{0} IS DISTINCT FROM NEW.{0}", quote(column)))
        .collect();
    let changed = changed.join(" OR ");
    let follow = format!(
        "{links}
           INSERT INTO {schema}.rekeyed (sync, key, old_key)
           VALUES ('{sync}', {new}, {old})
           ON CONFLICT (sync, key) DO UPDATE SET old_key = excluded.old_key, at = clock_timestamp();"
    );
    format!(
        "CREATE OR REPLACE FUNCTION {}.{}() {head} AS $capture$
         BEGIN
           IF {changed} THEN
             {follow}
             {log}
           END IF;
           RETURN NEW;
         END $capture$;",
        instance.schema(),
        instance.capture_name(&definition.name, "rekey"),
    )
}

/// The triggers of the table itself, without those of its partitions. Of each: the event, the statement after
/// `CREATE TRIGGER name`, and how the trigger is enabled if it is to fire otherwise than usual.
fn triggers(
    instance: &Instance,
    definition: &Definition,
) -> Vec<(&'static str, String, Option<&'static str>)> {
    let table = format!("{}.{}", quote(&definition.schema), quote(&definition.table));
    let function =
        |event: &str| format!("{}.{}()", instance.schema(), instance.capture_name(&definition.name, event));
    let (statement, row) = (function("statement"), function("row"));
    let every_row =
        format!("AFTER INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION {row}");
    let mut triggers = vec![("truncate", truncate_trigger(instance, definition, &table), None)];
    let time = if definition.partitioned { "BEFORE" } else { "AFTER" };
    let rekey = format!("{time} UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION {}", function("rekey"));
    let always = definition.link_table || definition.partitioned;
    triggers.push(("rekey", rekey, always.then_some("ALWAYS")));
    if definition.partitioned {
        triggers.push(("row", every_row, Some("ALWAYS")));
        return triggers;
    }
    let statements = [
        ("insert", "INSERT", "NEW TABLE AS new_rows"),
        ("update", "UPDATE", "OLD TABLE AS old_rows NEW TABLE AS new_rows"),
        ("delete", "DELETE", "OLD TABLE AS old_rows"),
    ];
    for (event, operation, transition) in statements {
        let sql = format!(
            "AFTER {operation} ON {table} REFERENCING {transition} FOR EACH STATEMENT EXECUTE FUNCTION {statement}"
        );
        triggers.push((event, sql, None));
    }
    triggers.push(("replica", every_row, Some("REPLICA")));
    triggers
}
