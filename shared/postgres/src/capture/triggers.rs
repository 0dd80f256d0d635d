//! The triggers that capture needs on a table.

use super::functions::function_name;
use crate::names::{Instance, quote};
use syncline_engine::Definition;

/// When a trigger fires, and for which sessions (`tgenabled`; PostgreSQL documentation, ALTER TABLE).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// In sessions that do not replicate.
    Origin,
    /// In every session.
    Always,
    /// In sessions that apply what was replicated.
    Replica,
}

impl Mode {
    /// The letter in `pg_trigger.tgenabled`.
    pub(super) fn letter(self) -> &'static str {
        match self {
            Self::Origin => "O",
            Self::Always => "A",
            Self::Replica => "R",
        }
    }

    fn enable(self) -> &'static str {
        match self {
            Self::Origin => "ENABLE",
            Self::Always => "ENABLE ALWAYS",
            Self::Replica => "ENABLE REPLICA",
        }
    }
}

/// A trigger that capture needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trigger {
    event: &'static str,
    /// The last part of the name of the function that it calls.
    pub(super) function: &'static str,
    operations: &'static [&'static str],
    before: bool,
    for_each_row: bool,
    transition: &'static str,
    pub(super) mode: Mode,
}

const STATEMENT: Trigger = Trigger {
    event: "statement",
    function: "statement",
    operations: &[],
    before: false,
    for_each_row: false,
    transition: "",
    mode: Mode::Origin,
};

const TRUNCATE: Trigger =
    Trigger { event: "truncate", function: "truncate", operations: &["TRUNCATE"], ..STATEMENT };

const EVERY_ROW: Trigger = Trigger {
    event: "row",
    function: "row",
    operations: &["INSERT", "UPDATE", "DELETE"],
    for_each_row: true,
    ..STATEMENT
};

const REKEY: Trigger =
    Trigger { event: "rekey", function: "rekey", operations: &["UPDATE"], for_each_row: true, ..STATEMENT };

/// The triggers of the table itself. On a partitioned table, PostgreSQL gives the partitions those for each row.
pub(super) fn of_table(definition: &Definition, partitioned: bool) -> Vec<Trigger> {
    if partitioned {
        let mut triggers = of_partition(true);
        triggers.rotate_right(1);
        return triggers;
    }
    let rekey = if definition.link_table { Mode::Always } else { Mode::Origin };
    let with = |event, operations, transition| Trigger { event, operations, transition, ..STATEMENT };
    vec![
        TRUNCATE,
        Trigger { mode: rekey, ..REKEY },
        with("insert", &["INSERT"], "NEW TABLE AS new_rows"),
        with("update", &["UPDATE"], "OLD TABLE AS old_rows NEW TABLE AS new_rows"),
        with("delete", &["DELETE"], "OLD TABLE AS old_rows"),
        Trigger { event: "replica", mode: Mode::Replica, ..EVERY_ROW },
    ]
}

/// The triggers of a partition. A leaf has one for TRUNCATE.
pub(super) fn of_partition(leaf: bool) -> Vec<Trigger> {
    let mut triggers = vec![
        Trigger { event: "~rekey", before: true, mode: Mode::Always, ..REKEY },
        Trigger { mode: Mode::Always, ..EVERY_ROW },
    ];
    triggers.extend(leaf.then_some(TRUNCATE));
    triggers
}

impl Trigger {
    /// The name, without quotes. Triggers fire in the order of their names, and the trigger that looks at keys before an
    /// update has to be the last of them.
    pub(super) fn name(&self, instance: &Instance, definition: &Definition) -> String {
        let (last, event) = match self.event.strip_prefix('~') {
            Some(event) => ("~", event),
            None => ("", self.event),
        };
        format!("{last}{}_{}_{event}", instance.schema_name(), definition.name)
    }

    /// True if it fires for TRUNCATE.
    pub(super) fn is_of_truncate(&self) -> bool {
        self.event == TRUNCATE.event
    }

    /// What `pg_trigger.tgtype` holds (PostgreSQL source, `catalog/pg_trigger.h`).
    pub(super) fn kind(&self) -> i16 {
        let operation = |operation: &&str| match *operation {
            "INSERT" => 4,
            "DELETE" => 8,
            "UPDATE" => 16,
            _ => 32,
        };
        i16::from(self.for_each_row)
            + 2 * i16::from(self.before)
            + self.operations.iter().map(operation).sum::<i16>()
    }

    /// The statements that create the trigger on a table, given by its quoted name.
    pub(super) fn create(&self, instance: &Instance, definition: &Definition, table: &str) -> String {
        let time = if self.before { "BEFORE" } else { "AFTER" };
        let transition = match self.transition {
            "" => String::new(),
            tables => format!("REFERENCING {tables} "),
        };
        let each = if self.for_each_row { "ROW" } else { "STATEMENT" };
        let create = format!(
            "CREATE TRIGGER {} {time} {} ON {table} {transition}FOR EACH {each} EXECUTE FUNCTION {}.{}();",
            quote(&self.name(instance, definition)),
            self.operations.join(" OR "),
            instance.schema(),
            quote(&function_name(instance, definition, self.function))
        );
        match self.mode {
            Mode::Origin => create,
            _ => create + &self.enable(instance, definition, table),
        }
    }

    /// The statement that switches the trigger on in its mode.
    pub(super) fn enable(&self, instance: &Instance, definition: &Definition, table: &str) -> String {
        format!(
            "ALTER TABLE {table} {} TRIGGER {}",
            self.mode.enable(),
            quote(&self.name(instance, definition))
        )
    }
}
