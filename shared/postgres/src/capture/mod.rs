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
//! TOAST nor old versions of rows matter.
//!
//! Capture can be lost: a table is copied and the copy takes its name, triggers are dropped, or switched off and on
//! again. So [`look`] compares what there is with what there has to be, and [`install_capture`] mends the differences.
//! Triggers are known by what they do, and functions by their text.

mod faults;
mod functions;
mod look;
mod triggers;

pub use look::gaps;

use crate::connect::Connection;
use crate::error::DatabaseError;
use crate::names::{Instance, quote};
use faults::{Fault, faults};
use functions::functions;
use look::look;
use syncline_engine::Definition;
use tokio_postgres::error::SqlState;

/// How often the installation is tried while others have the table locked. A try waits 2 seconds for each
/// lock.
const LOCK_TRIES: u32 = 5;

/// Installs capture on the table of a sync. What is right already is left as it is.
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

/// Takes capture off the table of a sync that is no longer served: nobody takes what it would log. The functions stay,
/// and do nothing.
///
/// # Errors
/// When the database refuses, for instance because the role does not own the table.
pub async fn remove_capture(
    connection: &mut Connection,
    instance: &Instance,
    definition: &Definition,
) -> Result<(), DatabaseError> {
    let transaction = connection.transaction().await?;
    transaction.batch_execute("SET LOCAL lock_timeout = '2s'").await?;
    let found = look(transaction.client(), instance, std::slice::from_ref(definition)).await?;
    let functions = functions(instance, definition);
    for trigger in &found.triggers {
        let ours = functions.iter().any(|function| function.name == trigger.function);
        if ours && !trigger.of_parent {
            let sql = format!("DROP TRIGGER {} ON {}", quote(&trigger.name), trigger.table);
            transaction.batch_execute(&sql).await?;
        }
    }
    transaction.commit().await?;
    Ok(())
}

/// One try of [`install_capture`], in one transaction. The table comes first, because PostgreSQL gives the triggers for
/// each row to its partitions.
async fn try_install(
    connection: &mut Connection,
    instance: &Instance,
    definition: &Definition,
) -> Result<(), DatabaseError> {
    let transaction = connection.transaction().await?;
    transaction.batch_execute("SET LOCAL lock_timeout = '2s'").await?;
    for part in [Part::Table, Part::Partitions] {
        let found = look(transaction.client(), instance, std::slice::from_ref(definition)).await?;
        let root = found.relations.iter().find(|relation| relation.root).map(|relation| &relation.name);
        for fault in faults(instance, definition, &found) {
            let of_partition = fault.table().is_some_and(|table| Some(table) != root);
            if (part == Part::Partitions) == (of_partition && !matches!(fault, Fault::Stray { .. })) {
                transaction.batch_execute(&repair(instance, definition, &fault)).await?;
            }
        }
    }
    transaction.commit().await?;
    Ok(())
}

/// What a pass of the installation repairs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// The functions, the table itself, and what stands where it does not belong.
    Table,
    /// The partitions.
    Partitions,
}

/// The statements that repair a fault.
fn repair(instance: &Instance, definition: &Definition, fault: &Fault) -> String {
    match fault {
        Fault::Function(name) | Fault::OlderFunction(name) => functions(instance, definition)
            .iter()
            .find(|function| function.name == *name)
            .map(|function| function.sql(instance))
            .unwrap_or_default(),
        Fault::Missing { table, trigger } | Fault::NewPartition { table, trigger } => {
            trigger.create(instance, definition, table)
        }
        Fault::Mode { table, trigger, .. } => trigger.enable(instance, definition, table),
        Fault::Other { table, trigger } | Fault::OlderTrigger { table, trigger } => {
            let name = quote(&trigger.name(instance, definition));
            format!("DROP TRIGGER {name} ON {table}; {}", trigger.create(instance, definition, table))
        }
        Fault::Stray { table, name } => format!("DROP TRIGGER {} ON {table}", quote(name)),
    }
}
