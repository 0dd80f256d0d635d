//! The Postgres side: the `Database` port of `syncline-sync` on the user's database, and the schema that
//! Syncline keeps there.
//!
//! **Invariant:** no transaction leaves state on its server connection. Statements are unnamed
//! (`query_typed`), settings are `SET LOCAL`, and advisory locks end with the transaction. So a pooler in
//! transaction mode, such as PgBouncer, may stand between Syncline and the database.
//!
//! This crate follows PostgreSQL's documentation. Where the code encodes a fact of that documentation, the
//! item names the page.
//!
//! Not in this crate: decisions about records (`syncline-engine` and `syncline-sync` make them), and the
//! tables of the state store and the queue (`syncline-embedded` keeps them in the same schema).
//!
//! Begin with [`PostgresDatabase`], the port. Then read [`PostgresTransaction`], in which a run locks, reads
//! and writes rows, and [`install_capture`], which makes the triggers that log changed rows. [`Log`] takes
//! these log rows as touches.
//!
//! # Layout
//!
//! - `connect`: the database address and the pool of connections; `tls`: how a connection is protected.
//! - `identity`: reads what tells the database from its copies.
//! - `catalog`: describes a table: its columns, its key, and what the role may do with it.
//! - `table`: generates tables, and adds the link to a table.
//! - `drift`: what changed at a table since its definition was applied.
//! - `names`: quotes identifiers, and names the schema and the triggers of an instance.
//! - `migrate`: runs versioned migrations of a schema.
//! - `schema`: Syncline's own tables (`migrations/`), the partitions of history, and reading history.
//! - `capture`: the triggers and trigger functions that log the keys of changed rows, and whether all of it is there.
//! - `log`: takes rows out of the capture log as touches.
//! - `database`: the `Database` port.
//! - `transaction`: the `Transaction` port: locks, reads, history, and the run's own log rows.
//! - `read`: reads rows in batches, and finds the rows of a batch that cannot be read.
//! - `write`: writes rows in batches, and finds the refused rows of a batch.
//! - `kept`: what a table kept of the values that were written to it.
//! - `statements`: the statements that lock, insert, update and delete rows.
//! - `restore`: inserts a deleted row again after an undelete in Salesforce.
//! - `link`: SQL for a row's link, in a column or in a table of Syncline's own.
//! - `column`: SQL that turns a column into text, and text into a column's value.
//! - `error`: the errors of this crate, and what each means to `syncline-sync`.

mod capture;
mod catalog;
mod column;
mod connect;
mod database;
mod drift;
mod error;
mod identity;
mod kept;
mod link;
mod log;
mod migrate;
mod names;
mod read;
mod restore;
mod schema;
mod statements;
mod table;
mod tls;
mod transaction;
mod write;

pub use capture::{gaps as capture_gaps, install_capture, remove_capture};
pub use catalog::{describe_table, has_schema};
pub use connect::{Connection, ConnectionSettings, Pool};
pub use database::PostgresDatabase;
pub use error::{DatabaseError, store_error};
pub use identity::read_identity;
pub use log::Log;
pub use migrate::{Migration, migrate};
pub use names::{Instance, quote};
pub use schema::{HistoryEntry, install_schema, make_partitions, read_history};
pub use syncline_sync::DatabaseIdentity;
pub use table::{add_link, add_link_table, create_table_sql, generated_column_name, generated_table};
pub use tls::SslMode;
pub use transaction::PostgresTransaction;
