//! `apply`: sets up what is missing on both sides, and stores the definitions. [`super::inspect`] finds out first
//! what there is.

use super::first_link::FirstLinks;
use super::inspect::{Inspected, LinkColumn};
use crate::failure::Failure;
use crate::instance::{Connected, Home};
use syncline_engine::Definition;
use syncline_postgres::{
    Connection, add_link, add_link_table, capture_gaps, describe_table, install_capture, install_schema,
    quote, read_identity, remove_capture,
};
use syncline_sync::Operator as _;
use syncline_sync::define::identified;
use syncline_sync::poll::{note_gap, note_whole};

impl<H: Home> Connected<H> {
    /// Sets up what is missing and stores the definitions. Answers one line for each thing that was done.
    pub(crate) async fn install(
        &self,
        inspected: &Inspected,
        first_links: FirstLinks,
    ) -> Result<Vec<String>, Failure> {
        let mut done = inspected.notes.clone();
        let mut connection = self.pool.get().await?;
        let operator = self.target.operator().await?;
        self.check_binding(operator.binding().await?.as_ref()).await?;
        let already = operator.definitions().await?;
        if first_links == FirstLinks::Stop {
            self.check_first_links(&inspected.definitions, &already).await?;
        }
        install_schema(&mut connection, &self.target.instance).await?;
        let identity = read_identity(&connection, &self.host).await?;
        let home = &self.target.home;
        home.install(&self.target.config, &mut connection, &self.organization_id, &identity).await?;
        done.push(format!("schema {} is ready", self.target.instance.schema_name()));
        for sql in &inspected.create {
            connection.batch_execute(sql).await?;
            done.push(sql.lines().next().unwrap_or_default().trim_end_matches(" (").to_owned());
        }
        for LinkColumn { schema, table, link, unique, partitioned } in &inspected.links {
            add_link(&mut connection, schema, table, link, *unique, *partitioned).await.map_err(|error| {
                let words = format!(
                    "{schema}.{table}: the link column {link} cannot be added or made unique: {error}; correct this, then run the command again"
                );
                Failure::about(words, error)
            })?;
        }
        let state = home.state(&self.target.config).await?;
        for definition in &inspected.definitions {
            done.extend(self.capture(&mut connection, &state, definition).await?);
            let described = describe_table(&connection, &definition.schema, &definition.table).await?;
            let definition =
                described.map_or_else(|| definition.clone(), |table| identified(definition.clone(), &table));
            let stored = operator.put_definition(&definition).await?;
            done.push(format!(
                "sync {} is applied: {} = {}.{}, {} fields, definition {}",
                stored.name,
                stored.object,
                quote(&stored.schema).trim_matches('"'),
                stored.table,
                stored.fields.len(),
                stored.version
            ));
        }
        home.serve_only(&self.target.config).await?;
        for gone in already.iter().filter(|known| inspected.definition(&known.name).is_none()) {
            done.push(self.take_capture_off(&mut connection, gone).await);
        }
        done.push(home.taken_up().to_owned());
        Ok(done)
    }

    /// Installs capture on the table of a sync. Answers what to say if it had been lost.
    async fn capture(
        &self,
        connection: &mut Connection,
        state: &H::State,
        definition: &Definition,
    ) -> Result<Option<String>, Failure> {
        let Definition { name, schema, table, .. } = definition;
        if definition.link_table {
            add_link_table(connection, &self.target.instance, name).await?;
        }
        let gaps = capture_gaps(connection, &self.target.instance, std::slice::from_ref(definition)).await?;
        // A sync that was never scanned has nothing to be scanned anew.
        let gap = match gaps.get(name) {
            Some(gap) if note_gap(state, name, gap).await? => Some(gap),
            _ => None,
        };
        install_capture(connection, &self.target.instance, definition).await.map_err(|error| {
            let words = format!(
                "sync.{name}: capture cannot be installed on {schema}.{table}: {error}; correct this, then run the command again"
            );
            Failure::about(words, error)
        })?;
        let Some(gap) = gap else { return Ok(None) };
        note_whole(state, name).await?;
        Ok(Some(format!(
            "capture of sync {name} was not whole and is repaired: {gap}; every record is compared"
        )))
    }

    /// Takes capture off the table of a sync that is no longer served. Answers what to say of it.
    async fn take_capture_off(&self, connection: &mut Connection, gone: &Definition) -> String {
        let Definition { name, schema, table, .. } = gone;
        match remove_capture(connection, &self.target.instance, gone).await {
            Ok(()) => {
                format!("sync {name} is no longer served; capture is taken off {schema}.{table}")
            }
            Err(error) => format!(
                "sync {name} is no longer served, but capture cannot be taken off {schema}.{table}: {error}; drop the triggers whose names begin with {} by hand",
                self.target.instance.schema_name()
            ),
        }
    }
}
