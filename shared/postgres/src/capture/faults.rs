//! What is wrong with the capture of a sync: the difference between what there has to be and what there is.

use super::functions::{FORM, form_of, function_name, functions};
use super::look::{Found, FoundTrigger, Relation};
use super::triggers::{Trigger, of_partition, of_table};
use crate::names::Instance;
use syncline_engine::Definition;

/// Something that is wrong with capture. Tables are given by their quoted names, with the schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A function is gone, or somebody changed its text.
    Function(String),
    /// A function is one of an earlier release. Nothing went unnoticed by it.
    OlderFunction(String),
    /// A trigger is not there.
    Missing { table: String, trigger: Trigger },
    /// A trigger for TRUNCATE is not there yet on a partition that was created lately. Its rows are captured.
    NewPartition { table: String, trigger: Trigger },
    /// A trigger is switched off, or fires in other sessions than it has to.
    Mode { table: String, trigger: Trigger, mode: String },
    /// A trigger of this name does something else.
    Other { table: String, trigger: Trigger },
    /// A trigger is as an earlier release made it. Nothing went unnoticed by it.
    OlderTrigger { table: String, trigger: Trigger },
    /// A trigger that logs for this sync stands on a table where it does not belong.
    Stray { table: String, name: String },
}

impl Fault {
    /// The fault in words, without a capital and without a full stop.
    pub(super) fn words(&self, instance: &Instance, definition: &Definition) -> String {
        match self {
            Self::Function(name) => format!("the trigger function {name} is gone or changed"),
            Self::OlderFunction(name) => format!("the trigger function {name} is of an earlier release"),
            Self::Missing { table, trigger } | Self::NewPartition { table, trigger } => {
                format!("trigger {} is missing on {table}", trigger.name(instance, definition))
            }
            Self::Mode { table, trigger, mode } => {
                let name = trigger.name(instance, definition);
                match mode.as_str() {
                    "D" => format!("trigger {name} on {table} is switched off"),
                    _ => format!(
                        "trigger {name} on {table} has the mode {mode} instead of {} (it was switched off and on again)",
                        trigger.mode.letter()
                    ),
                }
            }
            Self::Other { table, trigger } => {
                format!("trigger {} on {table} is another one", trigger.name(instance, definition))
            }
            Self::OlderTrigger { table, trigger } => {
                format!("trigger {} on {table} is of an earlier release", trigger.name(instance, definition))
            }
            Self::Stray { table, name } => format!("trigger {name} does not belong on {table}"),
        }
    }

    /// True if changes of rows may have gone unnoticed.
    pub(super) fn is_gap(&self) -> bool {
        !matches!(
            self,
            Self::OlderFunction(_)
                | Self::OlderTrigger { .. }
                | Self::NewPartition { .. }
                | Self::Stray { .. }
        )
    }

    /// The quoted name of the table, with its schema; `None` if the fault is one of a function.
    pub(super) fn table(&self) -> Option<&String> {
        match self {
            Self::Function(_) | Self::OlderFunction(_) => None,
            Self::Missing { table, .. }
            | Self::NewPartition { table, .. }
            | Self::Mode { table, .. }
            | Self::Other { table, .. }
            | Self::OlderTrigger { table, .. }
            | Self::Stray { table, .. } => Some(table),
        }
    }
}

/// What is wrong with the capture of a sync. `found.relations` are those of this sync.
pub(super) fn faults(instance: &Instance, definition: &Definition, found: &Found) -> Vec<Fault> {
    let mut faults = Vec::new();
    let functions = functions(instance, definition);
    for function in &functions {
        let text = found.functions.get(&function.name);
        if text == Some(&function.body) {
            continue;
        }
        let log = format!("INSERT INTO {}.log (", instance.schema());
        match text.map(|text| (form_of(text), text)) {
            Some((Some(form), _)) if form > FORM => {}
            Some((Some(form), _)) if form < FORM => faults.push(older(&function.name)),
            // The first releases named no form.
            Some((None, text)) if text.contains(&log) => faults.push(older(&function.name)),
            _ => faults.push(Fault::Function(function.name.clone())),
        }
    }
    let ours: Vec<&FoundTrigger> = found
        .triggers
        .iter()
        .filter(|trigger| functions.iter().any(|function| function.name == trigger.function))
        .collect();
    for relation in &found.relations {
        for trigger in expected(definition, relation) {
            let fault = fault_of(instance, definition, &relation.name, trigger, &ours);
            faults.extend(fault.map(|fault| of_new_partition(relation, fault, &ours)));
        }
    }
    for trigger in ours.iter().filter(|trigger| trigger.owned && !trigger.of_parent) {
        let relation = found.relations.iter().find(|relation| relation.name == trigger.table);
        let belongs = relation.is_some_and(|relation| {
            expected(definition, relation).iter().any(|one| one.name(instance, definition) == trigger.name)
        });
        if !belongs {
            faults.push(Fault::Stray { table: trigger.table.clone(), name: trigger.name.clone() });
        }
    }
    faults
}

fn older(name: &str) -> Fault {
    Fault::OlderFunction(name.to_owned())
}

/// A partition that was created lately has its triggers for each row, and lacks only the one for TRUNCATE.
fn of_new_partition(relation: &Relation, fault: Fault, ours: &[&FoundTrigger]) -> Fault {
    let from_birth = ours.iter().any(|trigger| trigger.table == relation.name && trigger.from_birth);
    match fault {
        Fault::Missing { table, trigger } if !relation.root && from_birth && trigger.is_of_truncate() => {
            Fault::NewPartition { table, trigger }
        }
        other => other,
    }
}

fn expected(definition: &Definition, relation: &Relation) -> Vec<Trigger> {
    match relation.root {
        true => of_table(definition, relation.partitioned),
        false => of_partition(!relation.partitioned),
    }
}

fn fault_of(
    instance: &Instance,
    definition: &Definition,
    table: &str,
    trigger: Trigger,
    ours: &[&FoundTrigger],
) -> Option<Fault> {
    let (table, name) = (table.to_owned(), trigger.name(instance, definition));
    let Some(found) = ours.iter().find(|found| found.table == table && found.name == name) else {
        return Some(Fault::Missing { table, trigger });
    };
    let function = function_name(instance, definition, trigger.function);
    if found.kind != trigger.kind() || found.function != function {
        return Some(Fault::Other { table, trigger });
    }
    if !found.unconditional {
        return Some(Fault::OlderTrigger { table, trigger });
    }
    (found.mode != trigger.mode.letter()).then(|| Fault::Mode { table, trigger, mode: found.mode.clone() })
}
