//! Properties of canonical values, the merge and the plan, tested with generated inputs.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use std::collections::BTreeMap;
use syncline_engine::*;

const FIELDS: [&str; 3] = ["A__c", "B__c", "C__c"];

fn key() -> FingerprintKey {
    FingerprintKey::new([3; 32])
}

fn definition(primary: Side) -> Definition {
    let fields = FIELDS.map(|name| FieldMapping {
        field: name.into(),
        column: name.to_lowercase(),
        salesforce_type: SalesforceType::Text { length: 80 },
        postgres_type: PostgresType::Text,
        cast: "text".into(),
        rule: Rule { version: 1, kind: RuleKind::Text },
        direction: Direction::Both,
        salesforce_required: false,
        salesforce_updateable: true,
        postgres_required: false,
        derived: false,
        column_number: None,
        field_id: None,
        lookup: None,
    });
    Definition {
        form: 1,
        name: "things".into(),
        version: 1,
        object: "Thing__c".into(),
        schema: "public".into(),
        table: "things".into(),
        key: vec![("id".into(), "bigint".into())],
        link: "salesforce_id".into(),
        table_shared: false,
        primary,
        direction: Direction::Both,
        on_first_link: FirstLink::FillEmpty,
        deletes: Deletes::default(),
        delete_limit: DeleteLimit::default(),
        link_table: false,
        partitioned: false,
        mergeable: false,
        table_oid: None,
        unmapped: vec![],
        external_id: Some("Syncline_Id__c".into()),
        marker: Some("Syncline_Write__c".into()),
        poll_interval_s: 60,
        fields: fields.to_vec(),
    }
}

fn base_of(definition: &Definition, values: &[Value]) -> Base {
    let mut base = Base::new(BaseKey("b".into()));
    base.live = true;
    for (mapping, value) in definition.fields.iter().zip(values) {
        let fingerprint = key().fingerprint(&definition.name, &mapping.field, &mapping.rule, value);
        base.fields.insert(mapping.field.clone(), FieldBase { fingerprint, rule: 1 });
    }
    base
}

fn image(values: &[Value]) -> Presence {
    Presence::Present(
        FIELDS
            .iter()
            .zip(values)
            .map(|(name, value)| ((*name).to_owned(), Cell::Value(value.clone())))
            .collect(),
    )
}

fn values_of(presence: &Presence) -> Vec<Value> {
    let Presence::Present(image) = presence else { return vec![] };
    FIELDS
        .iter()
        .map(|name| match &image[*name] {
            Cell::Value(value) => value.clone(),
            other => panic!("{other:?}"),
        })
        .collect()
}

fn apply(presence: &mut Presence, action: &Action, only: Option<usize>) {
    if *action == Action::Delete {
        *presence = Presence::Deleted;
    }
    let Some(fields) = action.fields() else { return };
    if !matches!(presence, Presence::Present(_)) {
        *presence = image(&[Value::Null, Value::Null, Value::Null]);
    }
    let Presence::Present(image) = presence else { return };
    for (name, write) in fields.iter().take(only.unwrap_or(usize::MAX)) {
        image.insert(name.clone(), Cell::Value(write.after.clone()));
    }
}

/// The base after a plan that landed on the given sides: `[Salesforce, Postgres]`.
fn base_after(definition: &Definition, base: Option<&Base>, plan: &RecordPlan, landed: [bool; 2]) -> Base {
    let mut after = base.cloned().unwrap_or_else(|| Base::new(BaseKey("b".into())));
    let creates = matches!(plan.salesforce, Action::Create(_)) || matches!(plan.postgres, Action::Create(_));
    after.live = after.live && !creates || plan.writes_nothing() && plan.live;
    after.gone = plan.gone;
    if !after.live {
        after.fields.clear();
    }
    after.fields.extend(plan.agreed.clone());
    after.intent = Some(Intent {
        id: "i".into(),
        lease_until: jiff::Timestamp::UNIX_EPOCH,
        salesforce: plan.intent(definition, &key(), Side::Salesforce),
        postgres: plan.intent(definition, &key(), Side::Postgres),
    });
    let evidence = Evidence {
        salesforce: landed[0].then(|| SalesforceId::parse("001D000000IqhSL").unwrap()),
        postgres: landed[1].then(|| PostgresKey("[\"1\"]".into())),
    };
    let mut after = resolve(&after, &evidence);
    after.live |= landed == [true, true] && plan.live;
    after
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        1 => Just(Value::Null),
        4 => prop::sample::select(vec!["a", "b", "c", "d"]).prop_map(|text| Value::Text(text.into())),
    ]
}

fn record() -> impl Strategy<Value = Vec<Value>> {
    prop::collection::vec(value(), FIELDS.len())
}

fn presence() -> impl Strategy<Value = Presence> {
    prop_oneof![5 => record().prop_map(|values| image(&values)), 1 => Just(Presence::Missing), 2 => Just(Presence::Deleted)]
}

fn deletes() -> impl Strategy<Value = Deletes> {
    let policy =
        || prop::sample::select(vec![DeletePolicy::Keep, DeletePolicy::Propagate, DeletePolicy::Review]);
    (policy(), policy())
        .prop_map(|(from_salesforce, from_postgres)| Deletes { from_salesforce, from_postgres })
}

fn side() -> impl Strategy<Value = Side> {
    prop::sample::select(vec![Side::Salesforce, Side::Postgres])
}

fn direction() -> impl Strategy<Value = Direction> {
    prop::sample::select(vec![Direction::Both, Direction::ToSalesforce, Direction::ToPostgres])
}

fn rule() -> impl Strategy<Value = RuleKind> {
    prop_oneof![
        Just(RuleKind::Text),
        Just(RuleKind::Choices),
        Just(RuleKind::Boolean),
        ((0u32..6), proptest::option::of(0u32..6))
            .prop_map(|(scale, displayed)| RuleKind::Number { scale, displayed }),
        (0u32..6).prop_map(|scale| RuleKind::Single { scale }),
        ((0u32..6), proptest::option::of(0u32..6))
            .prop_map(|(scale, displayed)| RuleKind::Double { scale, displayed }),
        Just(RuleKind::Date),
        Just(RuleKind::DateTime),
        Just(RuleKind::Uuid),
        Just(RuleKind::Id),
        (0u8..4).prop_map(|digits| RuleKind::Time { digits }),
        Just(RuleKind::Json),
    ]
}

fn raw() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC{0,12}",
        "[ \\r\\n\\t]{0,2}[a-c;]{0,6}[ \\r\\n]{0,2}",
        "-?[0-9]{1,9}(\\.[0-9]{1,9})?",
        "-?[0-9](\\.[0-9]{1,3})?[eE][0-9]",
        "(true|false|t|f)",
        "(19|20)[0-9]{2}-0[1-9]-[12][0-9]",
        "(19|20)[0-9]{2}-0[1-9]-[12][0-9][T ]1[0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?(Z|\\+0000|\\+00|)",
        "[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}",
        "[0-9a-zA-Z]{15}",
        "[0-2][0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?Z?",
        "\\{\"[ab]\": ?(1.50|\"x\"|null|\\[1, ?2\\])(, \"a\": ?true)?\\}",
        "[0-9a-zA-Z]{18}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn canonical_is_idempotent_and_survives_the_round_trip_through_text(kind in rule(), raw in raw()) {
        let rule = Rule { version: 1, kind };
        if let Ok(value) = rule.canonical(Some(&raw)) {
            let again = rule.canonical(value.text().as_deref());
            prop_assert_eq!(again, Ok(value));
        }
    }

    #[test]
    fn equal_sides_are_never_written(base in prop::option::of(record()), same in record(), primary in side()) {
        let definition = definition(primary);
        let base = base.map(|values| base_of(&definition, &values));
        let plan = plan(&definition, &key(), base.as_ref(), &image(&same), &image(&same));
        prop_assert!(plan.writes_nothing() && plan.conflicts.is_empty());
    }

    #[test]
    fn naming_the_sides_the_other_way_round_changes_nothing_but_the_primary(
        base in prop::option::of(record()), one in record(), other in record(), primary in side(),
    ) {
        let here = definition(primary);
        let there = definition(primary.other());
        let base = base.map(|values| base_of(&here, &values));
        let a = plan(&here, &key(), base.as_ref(), &image(&one), &image(&other));
        let b = plan(&there, &key(), base.as_ref(), &image(&other), &image(&one));
        prop_assert_eq!(a.salesforce, b.postgres);
        prop_assert_eq!(a.postgres, b.salesforce);
        prop_assert_eq!(a.conflicts.len(), b.conflicts.len());
        for (x, y) in a.conflicts.iter().zip(&b.conflicts) {
            prop_assert_eq!(x.winner, y.winner.other());
        }
    }

    #[test]
    fn a_plan_carried_out_and_planned_again_is_empty(
        base in prop::option::of(record()), one in presence(), other in presence(), primary in side(), deletes in deletes(),
    ) {
        let definition = Definition { deletes, ..definition(primary) };
        let base = base.map(|values| base_of(&definition, &values));
        let first = plan(&definition, &key(), base.as_ref(), &one, &other);
        prop_assume!(first.held.is_none());
        let (mut one, mut other) = (one, other);
        apply(&mut one, &first.salesforce, None);
        apply(&mut other, &first.postgres, None);
        let base = base_after(&definition, base.as_ref(), &first, [true, true]);
        let second = plan(&definition, &key(), Some(&base), &one, &other);
        prop_assert!(second.held.is_none(), "{:?}", second);
        prop_assert!(second.writes_nothing() && second.conflicts.is_empty(), "{:?}", second);
    }

    #[test]
    fn a_plan_interrupted_anywhere_and_planned_again_ends_where_the_uninterrupted_one_ends(
        base in prop::option::of(record()), one in presence(), other in presence(), primary in side(), deletes in deletes(),
        postgres_landed in any::<bool>(), salesforce_landed in any::<bool>(),
    ) {
        let definition = Definition { deletes, ..definition(primary) };
        let base = base.map(|values| base_of(&definition, &values));
        let whole = plan(&definition, &key(), base.as_ref(), &one, &other);
        prop_assume!(whole.held.is_none());
        let (mut x, mut y) = (one.clone(), other.clone());
        apply(&mut x, &whole.salesforce, None);
        apply(&mut y, &whole.postgres, None);

        let (mut one, mut other) = (one, other);
        // Postgres is written first. So Salesforce never gets a write that Postgres refused.
        let salesforce_landed = salesforce_landed && postgres_landed;
        if postgres_landed { apply(&mut other, &whole.postgres, None); }
        if salesforce_landed { apply(&mut one, &whole.salesforce, None); }
        let landed = [
            salesforce_landed && !whole.salesforce.is_none(),
            postgres_landed && !whole.postgres.is_none(),
        ];
        let base = base_after(&definition, base.as_ref(), &whole, landed);
        let rest = plan(&definition, &key(), Some(&base), &one, &other);
        apply(&mut one, &rest.salesforce, None);
        apply(&mut other, &rest.postgres, None);
        prop_assert_eq!(values_of(&one), values_of(&x));
        prop_assert_eq!(values_of(&other), values_of(&y));
    }

    #[test]
    fn no_change_of_one_side_alone_is_ever_lost_or_called_a_conflict(
        before in record(), after in record(), changer in side(), primary in side(),
    ) {
        let definition = definition(primary);
        let base = base_of(&definition, &before);
        let (one, other) = match changer {
            Side::Salesforce => (image(&after), image(&before)),
            Side::Postgres => (image(&before), image(&after)),
        };
        let plan = plan(&definition, &key(), Some(&base), &one, &other);
        prop_assert!(plan.conflicts.is_empty());
        prop_assert!(plan.action(changer).is_none());
        let written: BTreeMap<_, _> = plan
            .action(changer.other())
            .fields()
            .map(|fields| fields.iter().map(|(name, write)| (name.clone(), write.after.clone())).collect())
            .unwrap_or_default();
        for ((name, was), is) in FIELDS.iter().zip(&before).zip(&after) {
            prop_assert_eq!(written.get(*name), (was != is).then_some(is));
        }
    }

    #[test]
    fn a_conflict_keeps_both_values(before in record(), one in record(), other in record(), primary in side()) {
        let definition = definition(primary);
        let base = base_of(&definition, &before);
        let plan = plan(&definition, &key(), Some(&base), &image(&one), &image(&other));
        for (place, name) in FIELDS.iter().enumerate() {
            let expected = one[place] != other[place] && one[place] != before[place] && other[place] != before[place];
            let found = plan.conflicts.iter().find(|conflict| conflict.field == *name);
            prop_assert_eq!(found.is_some(), expected);
            if let Some(conflict) = found {
                prop_assert_eq!(&conflict.salesforce, &one[place]);
                prop_assert_eq!(&conflict.postgres, &other[place]);
                prop_assert_eq!(conflict.winner, primary);
            }
        }
    }

    #[test]
    fn first_link_never_empties_a_filled_field(
        one in record(), other in record(), primary in side(), direction in direction(),
    ) {
        let definition = Definition { direction, ..definition(primary) };
        let plan = plan(&definition, &key(), None, &image(&one), &image(&other));
        for side in [Side::Salesforce, Side::Postgres] {
            for write in plan.action(side).fields().into_iter().flatten() {
                prop_assert!(!write.1.after.is_null());
            }
        }
    }

    #[test]
    fn a_field_whose_rule_changed_is_merged_as_at_first_link(
        base in record(), one in record(), other in record(), primary in side(), rules in prop::array::uniform3(0_u16..3),
    ) {
        let definition = definition(primary);
        let mut known = base_of(&definition, &base);
        for (field, rule) in known.fields.values_mut().zip(rules) {
            field.rule = rule;
        }
        let mut forgotten = known.clone();
        forgotten.fields.retain(|_, field| field.rule == 1);
        let planned = |base| plan(&definition, &key(), Some(base), &image(&one), &image(&other));
        prop_assert_eq!(planned(&known), planned(&forgotten));
    }

    #[test]
    fn deletes_go_across_only_on_evidence_and_by_policy(
        base in prop::option::of(record()), one in presence(), other in presence(), primary in side(),
        deletes in deletes(), gone in prop::option::of(prop::sample::select(vec![
            Absence::Missing, Absence::Deleted, Absence::Kept,
        ])), side in side(),
    ) {
        let definition = Definition { deletes, ..definition(primary) };
        let base = base.map(|values| {
            Base { gone: gone.map(|how| Gone { side, how }), ..base_of(&definition, &values) }
        });
        let plan = plan(&definition, &key(), base.as_ref(), &one, &other);
        let live = base.is_some();
        for (lost, presence) in [(Side::Salesforce, &one), (Side::Postgres, &other)] {
            let kept = gone == Some(Absence::Kept) && side == lost;
            let seen = gone == Some(Absence::Deleted) && side == lost;
            let evidence = *presence == Presence::Deleted || seen && !matches!(presence, Presence::Present(_));
            if *plan.action(lost.other()) == Action::Delete {
                prop_assert!(live && evidence && !kept && deletes.from(lost) == DeletePolicy::Propagate);
            }
            if live && matches!(plan.action(lost), Action::Create(_)) {
                // A deleted record comes back only if the other side is the primary and edited the record.
                prop_assert!(evidence && primary != lost && !plan.conflicts.is_empty());
            }
            if live && *presence == Presence::Missing && !evidence && !kept {
                prop_assert!(plan.writes_nothing() && plan.live, "a missing record changes nothing: {:?}", plan);
            }
        }
    }
}
