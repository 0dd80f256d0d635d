//! The Postgres side: connections, catalog, tables, capture, batch reads and writes, history.
//!
//! Only unnamed statements (`query_typed`), `SET LOCAL` and transaction-scoped advisory locks are used, so that a
//! transaction pooler may stand in between.

mod capture;
mod catalog;
mod column;
mod connect;
mod database;
mod error;
mod identity;
mod link;
mod log;
mod migrate;
mod names;
mod restore;
mod schema;
mod table;
mod transaction;
mod write;

pub use capture::install_capture;
pub use catalog::{describe_table, has_schema};
pub use connect::{Connection, Pool, Settings, SslMode};
pub use database::PostgresDatabase;
pub use error::{DatabaseError, store_error};
pub use identity::read_identity;
pub use log::Log;
pub use migrate::{Migration, migrate};
pub use names::{Instance, quote};
pub use schema::{HistoryEntry, install_schema, make_partitions, read_history};
pub use syncline_sync::DatabaseIdentity;
pub use table::{add_link, add_link_table, create_table_sql, generated_column_name, generated_table};
pub use transaction::PostgresTransaction;
