//! The trigger functions of capture.

use crate::link::{key_text, link_table};
use crate::names::{Instance, quote};
use syncline_engine::Definition;

/// The version of the functions' text. A function with a greater one was written by a newer release and is left alone.
pub(super) const FORM: u32 = 1;

/// A trigger function of a sync.
pub(super) struct Function {
    /// Its name, without quotes and without its schema.
    pub(super) name: String,
    settings: String,
    /// What PostgreSQL keeps as `prosrc`.
    pub(super) body: String,
}

impl Function {
    /// The statement that creates or replaces the function. It runs with the rights of its owner and a fixed search
    /// path, so that a role that writes to the table needs no rights on Syncline's schema.
    pub(super) fn sql(&self, instance: &Instance) -> String {
        format!(
            "CREATE OR REPLACE FUNCTION {}.{}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
             SET search_path = pg_catalog, pg_temp{} AS $capture${}$capture$",
            instance.schema(),
            quote(&self.name),
            self.settings,
            self.body
        )
    }
}

/// The form that a function's text names; `None` if it names none.
pub(super) fn form_of(body: &str) -> Option<u32> {
    body.trim_start().strip_prefix("-- form ")?.lines().next()?.trim().parse().ok()
}

/// The types whose text does not depend on the settings of a session (PostgreSQL documentation, Data Type Formatting and
/// Client Connection Defaults).
const PLAIN_TYPES: [&str; 9] =
    ["smallint", "integer", "bigint", "numeric", "text", "character varying", "bpchar", "uuid", "boolean"];

/// Settings under which the texts of the key do not depend on who writes the row. Each setting costs time in every
/// call, so a key of plain types gets none.
fn settings(definition: &Definition) -> String {
    if definition.key.iter().all(|(_, cast)| PLAIN_TYPES.contains(&cast.as_str())) {
        return String::new();
    }
    " SET datestyle = 'ISO, YMD' SET timezone = 'UTC' SET intervalstyle = 'postgres' SET extra_float_digits = 1
      SET bytea_output = 'hex'"
        .to_owned()
}

/// A SQL condition: the rows of the aliases `n` (new) and `o` (old) have the same key.
fn same_key(definition: &Definition) -> String {
    let parts: Vec<String> =
        definition.key.iter().map(|(column, _)| format!("n.{0} = o.{0}", quote(column))).collect();
    parts.join(" AND ")
}

/// The name of the trigger function for an event, without quotes and without its schema.
pub(super) fn function_name(instance: &Instance, definition: &Definition, event: &str) -> String {
    format!("{}_{}_{event}", instance.schema_name(), definition.name)
}

/// The trigger functions of a sync.
pub(super) fn functions(instance: &Instance, definition: &Definition) -> Vec<Function> {
    let schema = instance.schema();
    let function = |event: &str, body: String| Function {
        name: function_name(instance, definition, event),
        settings: settings(definition),
        body: format!("\n-- form {FORM}\nBEGIN\n{body}END "),
    };
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
    let new_row = key_text(definition, "NEW");
    let old_row = key_text(definition, "OLD");
    let statement = format!(
        "  IF TG_OP = 'INSERT' THEN
    {insert} SELECT '{sync}', 'insert', {new_key}, NULL, {n_link}, NULL, {actor} FROM new_rows n;
  ELSIF TG_OP = 'UPDATE' THEN
    {insert} SELECT '{sync}', 'update', {new_key}, NULL, {n_link}, {o_link}, {actor}
      FROM new_rows n LEFT JOIN old_rows o ON {same};
  ELSE
    {insert} SELECT '{sync}', 'delete', {old_key}, NULL, {o_link}, NULL, {actor} FROM old_rows o;
    {forget_rows}
  END IF;
  RETURN NULL;
"
    );
    let row = format!(
        "  IF TG_OP = 'DELETE' THEN
    {insert} VALUES ('{sync}', 'delete', {old_row}, NULL, {old_link}, NULL, {actor});
    {forget_row}
  ELSIF TG_OP = 'INSERT' THEN
    {insert} VALUES ('{sync}', 'insert', {new_row}, NULL, {new_link}, NULL, {actor});
  ELSE
    {insert} VALUES ('{sync}', 'update', {new_row}, nullif({old_row}, {new_row}), {new_link}, {old_link}, {actor});
  END IF;
  RETURN NULL;
"
    );
    let truncate = format!(
        "  {insert} VALUES ('{sync}', 'truncate', NULL, NULL, NULL, NULL, {actor});
  RETURN NULL;
"
    );
    let log = format!(
        "{insert} VALUES ('{sync}', 'rekey', {new_row}, {old_row}, {new_link}, {old_link}, {actor});"
    );
    vec![
        function("statement", statement),
        function("row", row),
        function("rekey", rekey(instance, definition, &log)),
        function("truncate", truncate),
    ]
}

/// The body of the function that notes which key became which other key, in the table `rekeyed` and in the log. The
/// transition tables of a statement do not tell which old row became which new row, and a row without a link
/// can be recognized by nothing but its key. A link in a link table gets the new key of its row.
fn rekey(instance: &Instance, definition: &Definition, log: &str) -> String {
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
    format!(
        "  IF {changed} THEN
    {links}
    INSERT INTO {schema}.rekeyed (sync, key, old_key) VALUES ('{sync}', {new}, {old})
      ON CONFLICT (sync, key) DO UPDATE SET old_key = excluded.old_key, at = clock_timestamp();
    {log}
  END IF;
  RETURN NEW;
"
    )
}
