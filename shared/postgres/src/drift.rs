//! What changed at a table since its definition was applied: columns that are gone, replaced or retyped, and types
//! that only make room for more.
//!
//! **Invariant:** no value is taken from a column that is not the one that was applied. A column that is dropped and
//! added again is empty, and its emptiness is nobody's edit.

use syncline_engine::{Definition, FieldMapping, Side, pair};
use syncline_sync::PortError;
use syncline_sync::describe::ColumnDescription;

/// The definition with the types that the columns of its table have by now.
///
/// # Errors
/// [`PortError::Definition`] if the definition does not fit the table any more. The message names the column and says
/// what to do. `oid` is that of the table, `columns` are its columns.
pub(crate) fn as_it_is_now(
    mut definition: Definition,
    oid: Option<u32>,
    columns: &[ColumnDescription],
) -> Result<Definition, PortError> {
    let table = format!("{}.{}", definition.schema, definition.table);
    let same_table = oid.is_some() && oid == definition.table_oid;
    let named = |name: &str| columns.iter().find(|column| column.name == name);
    for (name, cast) in &mut definition.key {
        let column = named(name).ok_or_else(|| {
            drifted(format!(
                "table {table} has no column {name} any more, which is a part of its key; give it back, or run \
                 `syncline apply` if the table has another key now"
            ))
        })?;
        cast.clone_from(&column.cast);
    }
    for mapping in &mut definition.fields {
        let applied = mapping.column_number.filter(|_| same_table);
        let Some(column) = named(&mapping.column) else {
            let renamed = columns.iter().find(|column| applied.is_some() && column.number == applied);
            return Err(drifted(gone(mapping, &table, renamed)));
        };
        if applied.is_some_and(|number| column.number != Some(number)) {
            return Err(drifted(format!(
                "column {} of {table} is not the column that was applied: that one was dropped, and this one was \
                 added under its name. Run `syncline apply`; an empty value of the new column then overwrites nothing",
                mapping.column
            )));
        }
        follow_type(mapping, column, &table)?;
    }
    Ok(definition)
}

/// Takes over the present type of the column if values keep their meaning under it.
fn follow_type(mapping: &mut FieldMapping, column: &ColumnDescription, table: &str) -> Result<(), PortError> {
    if mapping.postgres_type != column.postgres_type && mapping.lookup.is_none() {
        let rule = |of| pair(&mapping.salesforce_type, of).ok().map(|rule| rule.kind);
        let now = rule(&column.postgres_type);
        if now.is_none() || now != rule(&mapping.postgres_type) {
            return Err(drifted(format!(
                "column {} of {table} was {} when the sync was applied and is {} now; run `syncline apply`",
                mapping.column, mapping.postgres_type, column.postgres_type
            )));
        }
    }
    mapping.postgres_type = column.postgres_type.clone();
    mapping.cast.clone_from(&column.cast);
    Ok(())
}

/// What to say of a column that is gone. `renamed` is the column that has its number now.
fn gone(mapping: &FieldMapping, table: &str, renamed: Option<&ColumnDescription>) -> String {
    match renamed {
        Some(now) => format!(
            "column {0} of {table} is called {1} now; write {1} for {0} in the configuration, then run `syncline apply`",
            mapping.column, now.name
        ),
        None => format!(
            "table {table} has no column {} any more; give it back, or leave {} out of the configuration, then run \
             `syncline apply`",
            mapping.column, mapping.field
        ),
    }
}

fn drifted(message: String) -> PortError {
    PortError::Definition { side: Side::Postgres, message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use syncline_engine::{PostgresType, SalesforceType};

    fn column(name: &str, number: i16, kind: PostgresType) -> ColumnDescription {
        ColumnDescription {
            name: name.to_owned(),
            number: Some(number),
            cast: kind.to_string(),
            postgres_type: kind,
            not_null: false,
            has_default: false,
            generated: false,
        }
    }

    /// Title in column 2 of table 16400, which has the key column 1.
    fn applied() -> Definition {
        let document = json!({
            "form": 1, "name": "contacts", "version": 1, "object": "Contact", "schema": "public", "table": "contacts",
            "key": [["id", "bigint"]], "link": "salesforce_id", "table_shared": false, "primary": "salesforce",
            "direction": "both", "on_first_link": "fill-empty", "external_id": null, "marker": null,
            "poll_interval_s": 60, "table_oid": 16_400, "fields": [{ "field": "Title", "column": "title",
                "salesforce_type": { "text": { "length": 80 } }, "postgres_type": "text", "cast": "text",
                "rule": { "version": 1, "kind": "text" }, "direction": "both", "salesforce_required": false,
                "salesforce_updateable": true, "postgres_required": false, "column_number": 2, "lookup": null }],
        });
        serde_json::from_value(document).unwrap()
    }

    fn now(columns: &[ColumnDescription]) -> Result<Definition, String> {
        as_it_is_now(applied(), Some(16_400), columns).map_err(|error| error.to_string())
    }

    fn id() -> ColumnDescription {
        column("id", 1, PostgresType::BigInt)
    }

    #[test]
    fn a_table_that_is_as_it_was_applied_leaves_the_definition_as_it_is() {
        let title = column("title", 2, PostgresType::Text);
        assert_eq!(now(&[id(), title]), Ok(applied()));
    }

    #[test]
    fn a_column_that_was_dropped_and_added_again_is_another_one() {
        let words = now(&[id(), column("title", 5, PostgresType::Text)]).unwrap_err();
        assert!(
            words.contains("column title of public.contacts is not the column that was applied"),
            "{words}"
        );
    }

    #[test]
    fn columns_of_a_table_that_took_the_place_of_another_are_known_by_their_names() {
        let columns = [id(), column("title", 5, PostgresType::Text)];
        assert!(as_it_is_now(applied(), Some(17_000), &columns).is_ok());
    }

    #[test]
    fn a_renamed_column_is_named_with_its_new_name() {
        let words = now(&[id(), column("job_title", 2, PostgresType::Text)]).unwrap_err();
        assert!(words.contains("column title of public.contacts is called job_title now"), "{words}");
        assert!(now(&[id()]).unwrap_err().contains("has no column title any more"));
    }

    #[test]
    fn a_type_that_keeps_the_meaning_of_values_is_followed_and_any_other_is_named() {
        let wider = now(&[id(), column("title", 2, PostgresType::Varchar(Some(200)))]).unwrap();
        assert_eq!(wider.fields[0].postgres_type, PostgresType::Varchar(Some(200)));
        let words = now(&[id(), column("title", 2, PostgresType::Boolean)]).unwrap_err();
        assert!(words.contains("was text when the sync was applied and is boolean now"), "{words}");
    }

    #[test]
    fn a_key_that_got_a_wider_type_is_cast_to_that_type() {
        let mut integer = applied();
        integer.key = vec![("id".to_owned(), "integer".to_owned())];
        let columns = [id(), column("title", 2, PostgresType::Text)];
        let now = as_it_is_now(integer, Some(16_400), &columns).unwrap();
        assert_eq!(now.key, [("id".to_owned(), "bigint".to_owned())]);
    }

    #[test]
    fn a_field_that_fits_no_type_is_never_paired_by_accident() {
        let mut odd = applied();
        odd.fields[0].salesforce_type = SalesforceType::Other("location".to_owned());
        let columns = [id(), column("title", 2, PostgresType::Boolean)];
        assert!(as_it_is_now(odd, Some(16_400), &columns).is_err());
    }
}
