use super::*;
use crate::describe::ColumnDescription;

fn described(name: &str, required: bool) -> FieldDescription {
    FieldDescription {
        name: name.into(),
        id: None,
        salesforce_type: SalesforceType::Text { length: 80 },
        required,
        createable: true,
        updateable: true,
        masked: false,
        unique_external_id: name == "Syncline_Id__c",
        reference_to: vec![],
    }
}

fn column(name: &str, kind: PostgresType) -> ColumnDescription {
    ColumnDescription {
        name: name.into(),
        number: None,
        cast: kind.to_string(),
        postgres_type: kind,
        not_null: name == "id" || name == "tenant",
        has_default: name == "id",
        generated: false,
    }
}

fn fixture() -> (Wanted, ObjectDescription, TableDescription) {
    let field = |field: &str, column: &str| WantedField {
        field: field.into(),
        column: column.into(),
        direction: Direction::Both,
        lookup: None,
    };
    let wanted = Wanted {
        name: "contacts".into(),
        object: "Contact".into(),
        schema: "public".into(),
        table: "contacts".into(),
        link: "salesforce_id".into(),
        primary: Side::Salesforce,
        direction: Direction::Both,
        on_first_link: FirstLink::FillEmpty,
        deletes: Deletes::default(),
        delete_limit: DeleteLimit::default(),
        link_table: false,
        external_id: "Syncline_Id__c".into(),
        marker: "Syncline_Write__c".into(),
        poll_interval_s: 60,
        fields: vec![field("LastName", "last_name"), field("Email", "email")],
        table_shared: false,
        parents: vec![],
    };
    let names =
        [("LastName", true), ("Email", false), ("Syncline_Id__c", false), ("Syncline_Write__c", false)];
    let object = ObjectDescription {
        name: "Contact".into(),
        fields: names.map(|(name, required)| described(name, required)).to_vec(),
    };
    let table = TableDescription {
        oid: None,
        schema: "public".into(),
        table: "contacts".into(),
        kind: "r".into(),
        hides_rows: false,
        may_delete: true,
        may_write: true,
        may_trigger: true,
        owner: "app".into(),
        role: "app".into(),
        owned: true,
        captured: false,
        columns: vec![
            column("id", PostgresType::BigInt),
            column("last_name", PostgresType::Text),
            column("email", PostgresType::Varchar(Some(80))),
        ],
        key: vec!["id".into()],
        unique_columns: vec!["id".into()],
    };
    (wanted, object, table)
}

#[test]
fn a_definition_that_fits_has_nothing_to_say() {
    let (wanted, object, table) = fixture();
    let (definition, notes) = define(&wanted, &object, &table).unwrap();
    assert_eq!(notes, []);
    assert_eq!(definition.key, [("id".to_owned(), "bigint".to_owned())]);
    assert!(definition.external_id.is_some() && definition.marker.is_some());
}

#[test]
fn every_problem_is_in_one_answer() {
    let (mut wanted, mut object, mut table) = fixture();
    wanted.fields[0].field = "Nope".into();
    wanted.fields[1].column = "nope".into();
    object.fields.retain(|field| field.name != "Syncline_Id__c");
    table.columns.push(column("tenant", PostgresType::Uuid));
    table.may_write = false;
    let problems = define(&wanted, &object, &table).unwrap_err();
    let text: Vec<&str> = problems.iter().map(|problem| problem.message.as_str()).collect();
    let text = text.join("\n");
    for words in [
        "no field Nope",
        "no column nope",
        "LastName is required by Salesforce and not mapped",
        "tenant takes no null",
        "GRANT SELECT, INSERT, UPDATE",
        "no field Syncline_Id__c",
    ] {
        assert!(text.contains(words), "{words:?} is missing from:\n{text}");
    }
}

#[test]
fn a_missing_marker_is_said_and_does_not_stop() {
    let (wanted, mut object, table) = fixture();
    object.fields.retain(|field| field.name != "Syncline_Write__c");
    let (definition, notes) = define(&wanted, &object, &table).unwrap();
    assert_eq!(definition.marker, None);
    assert!(notes[0].message.contains("false conflict") && !notes[0].fatal);
}

type Parts = (Wanted, ObjectDescription, TableDescription);

/// The only thing that stands in the way.
#[track_caller]
fn refusal((wanted, object, table): &Parts) -> String {
    let problems = define(wanted, object, table).expect_err("this is refused");
    let fatal: Vec<Problem> = problems.into_iter().filter(|problem| problem.fatal).collect();
    let [problem] = fatal.as_slice() else { panic!("one reason, not {fatal:?}") };
    problem.message.clone()
}

#[track_caller]
fn refuses(change: impl FnOnce(&mut Parts), words: &str) {
    let mut parts = fixture();
    change(&mut parts);
    let told = refusal(&parts);
    assert!(told.starts_with("sync.contacts: ") && told.contains(words), "{words:?} is missing from: {told}");
}

/// Nothing stands in the way; what only has to be known.
#[track_caller]
fn notes(change: impl FnOnce(&mut Parts)) -> (Definition, Vec<String>) {
    let mut parts = fixture();
    change(&mut parts);
    let (wanted, object, table) = &parts;
    let (definition, notes) = define(wanted, object, table).unwrap();
    assert!(notes.iter().all(|note| !note.fatal));
    (definition, notes.into_iter().map(|note| note.message).collect())
}

#[track_caller]
fn fits(change: impl FnOnce(&mut Parts)) -> Definition {
    let (definition, notes) = notes(change);
    assert_eq!(notes, Vec::<String>::new());
    definition
}

#[test]
fn only_tables_are_served_and_the_refusal_says_what_it_is() {
    for (kind, name) in
        [("v", "a view"), ("m", "a materialized view"), ("f", "a foreign table"), ("S", "no table")]
    {
        let words = format!("public.contacts is {name}; only tables are served");
        refuses(|(_, _, table)| table.kind = kind.into(), &words);
    }
    assert!(!fits(|_| {}).partitioned);
    assert!(fits(|(_, _, table)| table.kind = "p".into()).partitioned);
}

#[test]
fn every_right_that_is_missing_is_named_with_its_grant() {
    refuses(|(_, _, table)| table.key.clear(), "no primary key");
    refuses(
        |(_, _, table)| table.may_write = false,
        "GRANT SELECT, INSERT, UPDATE ON public.contacts TO app",
    );
    refuses(|(_, _, table)| table.may_trigger = false, "GRANT TRIGGER ON public.contacts TO app");
    refuses(|(_, _, table)| table.hides_rows = true, "ALTER ROLE app BYPASSRLS");
}

#[test]
fn the_right_to_delete_is_asked_for_where_deletes_propagate() {
    let propagate = |policy| {
        move |(wanted, _, table): &mut Parts| {
            wanted.deletes.from_salesforce = policy;
            table.may_delete = false;
        }
    };
    refuses(propagate(DeletePolicy::Propagate), "GRANT DELETE ON public.contacts TO app");
    for policy in [DeletePolicy::Keep, DeletePolicy::Review] {
        fits(propagate(policy));
    }
    fits(|(wanted, _, _)| wanted.deletes.from_salesforce = DeletePolicy::Propagate);
}

#[test]
fn the_link_column_is_text_where_there_is_one() {
    let link = |kind| move |(_, _, table): &mut Parts| table.columns.push(column("salesforce_id", kind));
    fits(link(PostgresType::Text));
    fits(link(PostgresType::Varchar(Some(18))));
    refuses(link(PostgresType::BigInt), "public.contacts.salesforce_id is bigint; the link column has to be");
    fits(|parts| {
        link(PostgresType::BigInt)(parts);
        parts.0.link_table = true;
    });
}

#[test]
fn ownership_is_asked_for_until_the_link_column_and_the_triggers_stand() {
    let another = |table: &mut TableDescription| {
        table.owned = false;
        table.owner = "boss".into();
    };
    refuses(|(_, _, table)| another(table), "GRANT boss TO app while you apply");
    refuses(
        |(_, _, table)| {
            another(table);
            table.captured = true;
        },
        "does not own",
    );
    refuses(
        |(_, _, table)| {
            another(table);
            table.columns.push(column("salesforce_id", PostgresType::Text));
        },
        "does not own",
    );
    fits(|(_, _, table)| {
        another(table);
        table.captured = true;
        table.columns.push(column("salesforce_id", PostgresType::Text));
    });
    fits(|(wanted, _, table)| {
        another(table);
        wanted.link_table = true;
    });
    fits(|(_, _, table)| table.columns.push(column("salesforce_id", PostgresType::Text)));
}

#[test]
fn a_key_comes_from_a_default_or_a_field_where_rows_are_inserted() {
    let bare = |table: &mut TableDescription| table.columns[0].has_default = false;
    refuses(|(_, _, table)| bare(table), "public.contacts.id is part of the primary key and has no default");
    fits(|(wanted, _, table)| {
        bare(table);
        wanted.direction = Direction::ToSalesforce;
    });
    fits(|(_, _, table)| {
        bare(table);
        table.key = vec!["last_name".into()];
        table.columns.remove(0);
    });
}

#[test]
fn what_salesforce_requires_is_mapped_where_records_are_created() {
    let words = "Contact.Title is required by Salesforce and not mapped";
    refuses(|(_, object, _)| object.fields.push(described("Title", true)), words);
    fits(|(wanted, object, _)| {
        object.fields.push(described("Title", true));
        wanted.direction = Direction::ToPostgres;
    });
    refuses(
        |(wanted, _, _)| wanted.fields[0].direction = Direction::ToPostgres,
        "Contact.LastName is required by Salesforce and not mapped",
    );
}

#[test]
fn what_a_row_needs_is_mapped_or_has_a_default_where_rows_are_inserted() {
    let tenant = |table: &mut TableDescription| table.columns.push(column("tenant", PostgresType::Text));
    refuses(|(_, _, table)| tenant(table), "public.contacts.tenant takes no null, has no default");
    fits(|(wanted, _, table)| {
        tenant(table);
        wanted.direction = Direction::ToSalesforce;
    });
    fits(|(_, _, table)| {
        tenant(table);
        table.columns[3].has_default = true;
    });
    fits(|(wanted, _, table)| {
        tenant(table);
        wanted.fields[1].column = "tenant".into();
    });
    fits(|(_, _, table)| {
        table.columns.push(column("salesforce_id", PostgresType::Text));
        table.columns[3].not_null = true;
    });
    refuses(
        |(_, _, table)| {
            tenant(table);
            table.key.push("tenant".into());
        },
        "public.contacts.tenant is part of the primary key",
    );
}

#[test]
fn fields_of_synclines_own_are_looked_at_where_salesforce_is_written() {
    let own = "Contact.Syncline_Id__c has to be an external Id, unique, and writable";
    refuses(|(_, object, _)| object.fields[2].unique_external_id = false, own);
    refuses(|(_, object, _)| object.fields[2].createable = false, own);
    let definition = fits(|(wanted, object, _)| {
        object.fields[2].createable = false;
        wanted.direction = Direction::ToPostgres;
    });
    assert_eq!(definition.external_id, None);
    assert_eq!(fits(|_| {}).external_id.as_deref(), Some("Syncline_Id__c"));
    assert_eq!(fits(|_| {}).marker.as_deref(), Some("Syncline_Write__c"));
    let (definition, told) = notes(|(_, object, _)| object.fields[3].updateable = false);
    assert_eq!(definition.marker, None);
    assert!(told[0].contains("no writable text field Syncline_Write__c"), "{told:?}");
}

#[test]
fn synclines_own_fields_the_link_and_the_id_as_key_are_not_mapped() {
    for own in ["Syncline_Id__c", "Syncline_Write__c"] {
        let words = format!("{own} is Syncline's own field and cannot be mapped");
        refuses(|(wanted, _, _)| wanted.fields[1].field = own.into(), &words);
    }
    let text = |name: &str| column(name, PostgresType::Text);
    refuses(
        |(wanted, _, table)| {
            table.columns.push(text("salesforce_id"));
            wanted.fields[1].column = "salesforce_id".into();
        },
        "column salesforce_id is Syncline's own link",
    );
    let id = |(wanted, object, table): &mut Parts| {
        object.fields.push(described("Id", false));
        table.columns[0] = text("id");
        wanted.fields[1] =
            WantedField { field: "Id".into(), column: "id".into(), ..wanted.fields[1].clone() };
    };
    refuses(id, "column id is Syncline's own link or the key");
    fits(|parts| {
        id(parts);
        parts.0.fields[1].field = "Email".into();
    });
    fits(|parts| {
        id(parts);
        parts.0.fields[1].column = "email".into();
    });
    fits(|parts| {
        id(parts);
        parts.2.key = vec!["email".into()];
        parts.2.columns[2].has_default = true;
    });
}

#[test]
fn a_masked_field_is_noted() {
    let (_, told) = notes(|(_, object, _)| object.fields[1].masked = true);
    assert_eq!(told.len(), 1);
    assert!(told[0].contains("Contact.Email is encrypted"), "{told:?}");
}

#[test]
fn a_field_that_salesforce_computes_goes_one_way_and_is_derived() {
    let formula = |object: &mut ObjectDescription| {
        object.fields[1].createable = false;
        object.fields[1].updateable = false;
    };
    let (definition, told) = notes(|(_, object, _)| formula(object));
    assert_eq!(told.len(), 1);
    assert!(
        told[0].contains("Contact.Email cannot be written in Salesforce: its column follows it"),
        "{told:?}"
    );
    let email = &definition.fields[1];
    assert_eq!(email.direction, Direction::ToPostgres);
    assert!(email.derived && email.salesforce_updateable);
    refuses(
        |(wanted, object, _)| {
            formula(object);
            wanted.fields[1].direction = Direction::ToSalesforce;
        },
        "Salesforce takes no value for Contact.Email",
    );
    let definition = fits(|(wanted, object, _)| {
        formula(object);
        wanted.direction = Direction::ToPostgres;
    });
    assert_eq!(definition.fields[1].direction, Direction::Both, "the sync itself goes one way");
    let derived = |createable, updateable| {
        fits(|(wanted, object, _)| {
            object.fields[1].createable = createable;
            object.fields[1].updateable = updateable;
            wanted.fields[1].direction = Direction::ToPostgres;
        })
        .fields[1]
            .derived
    };
    assert!(derived(false, false));
    assert!(!derived(true, true) && !derived(true, false) && !derived(false, true));
}

#[test]
fn a_field_that_only_a_create_may_set_is_told_to_the_planner() {
    let only_created = |object: &mut ObjectDescription| object.fields[1].updateable = false;
    let both = fits(|(_, object, _)| only_created(object));
    assert!(!both.fields[1].salesforce_updateable && both.fields[0].salesforce_updateable);
    assert!(!both.fields[1].derived && !both.fields[0].derived);
    let one_way = fits(|(wanted, object, _)| {
        only_created(object);
        wanted.fields[1].direction = Direction::ToPostgres;
    });
    assert!(one_way.fields[1].salesforce_updateable);
}

#[test]
fn a_generated_column_goes_one_way_and_is_derived() {
    let generated = |table: &mut TableDescription| table.columns[2].generated = true;
    let email = fits(|(_, _, table)| generated(table)).fields.remove(1);
    assert_eq!(email.direction, Direction::ToSalesforce);
    assert!(email.derived);
    let plain = fits(|(wanted, _, _)| wanted.fields[1].direction = Direction::ToSalesforce).fields.remove(1);
    assert!(!plain.derived);
    fits(|(wanted, _, table)| {
        generated(table);
        wanted.fields[1].direction = Direction::ToSalesforce;
    });
    let words = "column email is generated and cannot be written";
    refuses(
        |(wanted, _, table)| {
            generated(table);
            wanted.fields[1].direction = Direction::ToPostgres;
        },
        words,
    );
    refuses(
        |(wanted, _, table)| {
            generated(table);
            wanted.direction = Direction::ToPostgres;
        },
        words,
    );
}

#[test]
fn a_field_that_travels_the_other_way_than_its_sync_is_refused() {
    for (sync, field) in
        [(Direction::ToPostgres, Direction::ToSalesforce), (Direction::ToSalesforce, Direction::ToPostgres)]
    {
        let change = |(wanted, _, _): &mut Parts| {
            wanted.direction = sync;
            wanted.fields[1].direction = field;
        };
        refuses(change, "Email = email travels the other way than the sync does");
    }
}

#[test]
fn what_each_side_requires_is_told_to_the_planner() {
    let definition = fits(|(_, _, table)| {
        table.columns[1].not_null = true;
        table.columns[2].not_null = true;
        table.columns[2].has_default = true;
    });
    let of = |read: fn(&FieldMapping) -> bool| definition.fields.iter().map(read).collect::<Vec<_>>();
    assert_eq!(of(|field| field.postgres_required), [true, false]);
    assert_eq!(of(|field| field.salesforce_required), [true, false]);
    let nullable = fits(|(_, _, table)| table.columns[2].has_default = true);
    assert!(nullable.fields.iter().all(|field| !field.postgres_required));
    assert!(!definition.mergeable);
    let merged = fits(|(_, object, _)| object.fields.push(described("MasterRecordId", false)));
    assert!(merged.mergeable);
}

#[test]
fn types_that_do_not_pair_are_refused_by_field_and_column() {
    refuses(|(_, _, table)| table.columns[2].postgres_type = PostgresType::Date, "Email = email: ");
}

#[test]
fn a_lookup_names_a_sync_whose_object_it_points_to_and_whose_table_has_one_key_column() {
    let lookup = |parts: &mut Parts| {
        let (wanted, object, table) = parts;
        object.fields.push(FieldDescription {
            salesforce_type: SalesforceType::Reference,
            reference_to: vec!["Account".into()],
            ..described("AccountId", false)
        });
        table.columns.push(column("account_id", PostgresType::BigInt));
        wanted.fields.push(WantedField {
            field: "AccountId".into(),
            column: "account_id".into(),
            direction: Direction::Both,
            lookup: Some("accounts".into()),
        });
        wanted.parents = vec![("leads".into(), "Lead".into(), 2), ("accounts".into(), "Account".into(), 1)];
    };
    let definition = fits(lookup);
    assert_eq!(definition.fields[2].lookup, Some(Lookup { sync: "accounts".into() }));
    assert_eq!(definition.fields[2].rule, Rule { version: 1, kind: RuleKind::Id });
    let with = |change: fn(&mut Parts)| {
        move |parts: &mut Parts| {
            lookup(parts);
            change(parts);
        }
    };
    refuses(with(|(wanted, _, _)| wanted.parents.truncate(1)), "AccountId: there is no sync \"accounts\"");
    refuses(
        with(|(_, object, _)| object.fields[4].salesforce_type = SalesforceType::Text { length: 18 }),
        "AccountId is a ",
    );
    refuses(
        with(|(_, object, _)| object.fields[4].reference_to = vec!["Lead".into(), "Contact".into()]),
        "AccountId points to Lead or Contact, but sync accounts is about Account",
    );
    fits(with(|(_, object, _)| object.fields[4].reference_to.clear()));
    refuses(
        with(|(wanted, _, _)| wanted.parents[1].2 = 2),
        "the table of sync accounts has a primary key of 2 columns; a lookup needs one",
    );
}
