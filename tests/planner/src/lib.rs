//! Tests of the planner alone: [`case`] generates a case from a number, and [`check`] names every rule that
//! the case breaks.
//!
//! A case has everything that the planner depends on: a definition, a base (perhaps with the intent of an
//! interrupted run), the evidence of that intent, and what each side has of the record. The rules are
//! properties that must hold for any plan, and the rules of the merge, written a second time. The number
//! alone determines the case, so a failing case can be run again.
//!
//! Begin with `tests/cases.rs`, which runs the first 200,000 cases. Then read `src/rules.rs`. The program of
//! the crate `simulation` runs more cases (`--planner 10000000`).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod dice;
mod rules;

pub use dice::Dice;
pub use rules::check;

use std::collections::BTreeMap;
use syncline_engine::{
    Absence, Base, BaseKey, Cell, Definition, DeletePolicy, Deletes, Direction, Evidence, FieldBase,
    FieldMapping, FingerprintKey, FirstLink, Gone, Intent, IntentSide, Lookup, Op, Parent, PostgresKey,
    PostgresType, Presence, Rule, RuleKind, SalesforceId, SalesforceType, Side, Value, ValueError,
};

pub(crate) fn key() -> FingerprintKey {
    FingerprintKey::new([42; 32])
}

/// One case: everything that resolving and planning one record depends on.
#[derive(Clone, Debug)]
pub struct Case {
    /// The definition of the sync.
    pub definition: Definition,
    /// The base of the record, perhaps with the intent of an interrupted run. `None` for a record without a
    /// base.
    pub base: Option<Base>,
    /// The evidence of which writes of that intent landed.
    pub evidence: Evidence,
    /// What Salesforce has of the record.
    pub salesforce: Presence,
    /// What Postgres has of the record.
    pub postgres: Presence,
}

pub(crate) const SIDES: [Side; 2] = [Side::Salesforce, Side::Postgres];

fn value(dice: &mut Dice) -> Value {
    [Value::Null, Value::Text("a".into()), Value::Text("b".into()), Value::Text("c".into())][dice.below(4)]
        .clone()
}

fn direction(dice: &mut Dice) -> Direction {
    [Direction::Both, Direction::Both, Direction::Both, Direction::ToPostgres, Direction::ToSalesforce]
        [dice.below(5)]
}

pub(crate) fn field_base(mapping: &FieldMapping, value: &Value) -> FieldBase {
    let fingerprint = key().fingerprint("contacts", &mapping.field, &mapping.rule, value);
    FieldBase { fingerprint, rule: mapping.rule.version }
}

/// The case of a number.
#[must_use]
pub fn case(number: u64) -> Case {
    let mut dice = Dice::new(number ^ 0x91a1);
    let primary = SIDES[dice.below(2)];
    let policy = |dice: &mut Dice| {
        [DeletePolicy::Keep, DeletePolicy::Review, DeletePolicy::Propagate, DeletePolicy::Propagate]
            [dice.below(4)]
    };
    let fields: Vec<FieldMapping> = (0..1 + dice.below(3))
        .map(|place| FieldMapping {
            direction: direction(&mut dice),
            rule: Rule { version: 1 + u16::from(dice.below(8) == 0), kind: RuleKind::Text },
            salesforce_updateable: dice.below(8) > 0,
            salesforce_required: dice.below(3) == 0,
            postgres_required: dice.below(3) == 0,
            derived: false,
            column_number: None,
            field_id: None,
            lookup: (dice.below(3) == 0).then(|| Lookup { sync: "accounts".into() }),
            field: ["F", "G", "H"][place].to_owned(),
            column: ["f", "g", "h"][place].to_owned(),
            salesforce_type: SalesforceType::Text { length: 80 },
            postgres_type: PostgresType::Text,
            cast: "text".to_owned(),
        })
        .collect();
    let definition = Definition {
        direction: direction(&mut dice),
        on_first_link: [FirstLink::FillEmpty, FirstLink::Primary][dice.below(2)],
        deletes: Deletes { from_salesforce: policy(&mut dice), from_postgres: policy(&mut dice) },
        fields,
        form: 1,
        name: "contacts".to_owned(),
        version: 1,
        object: "Contact".to_owned(),
        schema: "public".to_owned(),
        table: "contacts".to_owned(),
        key: vec![("id".to_owned(), "bigint".to_owned())],
        link: "salesforce_id".to_owned(),
        table_shared: false,
        primary,
        delete_limit: Default::default(),
        link_table: false,
        partitioned: false,
        mergeable: false,
        table_oid: None,
        unmapped: vec![],
        external_id: None,
        marker: None,
        poll_interval_s: 60,
    };
    let presence = |dice: &mut Dice, side: Side| match dice.below(8) {
        0 => Presence::Deleted,
        1 => Presence::Missing,
        _ => Presence::Present(
            definition
                .fields
                .iter()
                .map(|mapping| (mapping.field.clone(), cell(dice, mapping, side)))
                .collect(),
        ),
    };
    let (salesforce, postgres) = (presence(&mut dice, SIDES[0]), presence(&mut dice, SIDES[1]));
    let base = (dice.below(6) > 0).then(|| base(&mut dice, &definition));
    let landed =
        |dice: &mut Dice| base.as_ref().is_some_and(|base| base.intent.is_some()) && dice.below(2) == 0;
    let evidence = Evidence {
        salesforce: landed(&mut dice).then(|| SalesforceId::parse("003000000000001AAA").unwrap()),
        postgres: landed(&mut dice).then(|| PostgresKey("[\"1\"]".into())),
    };
    Case { definition, base, evidence, salesforce, postgres }
}

fn cell(dice: &mut Dice, mapping: &FieldMapping, side: Side) -> Cell {
    if dice.below(100) == 0 {
        return Cell::Unreadable(ValueError::Boolean);
    }
    if let (Some(lookup), 0) = (&mapping.lookup, dice.below(3)) {
        let sync = lookup.sync.clone();
        return Cell::Waiting(match side {
            Side::Salesforce => Parent::Salesforce(sync, SalesforceId::parse("001000000000001AAA").unwrap()),
            Side::Postgres => Parent::Postgres(sync, PostgresKey("[\"9\"]".into())),
        });
    }
    Cell::Value(value(dice))
}

fn base(dice: &mut Dice, definition: &Definition) -> Base {
    let mut base = Base::new(BaseKey("003000000000001AAA".into()));
    base.live = dice.below(5) > 0;
    for mapping in &definition.fields {
        if dice.below(5) > 0 {
            let mut known = field_base(mapping, &value(dice));
            if dice.below(10) == 0 {
                known.rule += 1;
            }
            base.fields.insert(mapping.field.clone(), known);
        }
    }
    if dice.below(4) == 0 {
        let how = [Absence::Missing, Absence::Deleted, Absence::Kept][dice.below(3)];
        base.gone = Some(Gone { side: SIDES[dice.below(2)], how });
    }
    if dice.below(4) == 0 {
        let mut side = || {
            (dice.below(3) > 0).then(|| {
                let op = [Op::Create, Op::Update, Op::Delete][dice.below(3)];
                let fields = definition.fields.iter().filter(|_| op != Op::Delete);
                let fields: BTreeMap<_, _> = fields
                    .filter_map(|mapping| {
                        let meant = field_base(mapping, &value(dice));
                        (dice.below(2) == 0).then(|| (mapping.field.clone(), meant))
                    })
                    .collect();
                IntentSide { op, fields }
            })
        };
        base.intent = Some(Intent {
            id: "0".repeat(32),
            lease_until: jiff::Timestamp::UNIX_EPOCH,
            salesforce: side(),
            postgres: side(),
        });
    }
    base
}
