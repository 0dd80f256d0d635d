//! `state rebind` and `state rebuild`: what an operator does after a restore, a copy or a loss of state.

use crate::failure::Failure;
use crate::instance::{Connected, Home};
use syncline_postgres::read_identity;
use syncline_sync::Operator as _;

impl<H: Home> Connected<H> {
    /// `state rebind`: binds the instance to the org and the database that are connected. Answers the lines
    /// to print.
    pub(crate) async fn rebind(&self) -> Result<Vec<String>, Failure> {
        let connection = self.pool.get().await?;
        let Some(row) = self.target.operator().await?.binding().await? else {
            return Err(Failure::new(format!(
                "nothing is applied yet; run `syncline apply{}`",
                self.target.home.option()
            )));
        };
        let here = read_identity(&connection, &self.host).await?;
        self.target.operator().await?.rebind(&self.organization_id, &here).await?;
        self.target.resume_stopped().await?;
        let was = row.identity.map_or_else(
            || "a database that an earlier release recorded only in part".to_owned(),
            |one| one.to_string(),
        );
        Ok(vec![
            format!("the instance was bound to org {} and {was}", row.organization_id),
            format!("the instance is bound to org {} and {here} from now on", self.organization_id),
        ])
    }

    /// `state rebuild`: forgets all bases; answers how many there were.
    pub(crate) async fn rebuild(&self) -> Result<u64, Failure> {
        self.check_binding(self.target.operator().await?.binding().await?.as_ref()).await?;
        self.target.home.before_bases_are_forgotten().await?;
        let forgotten = self.target.operator().await?.forget_bases().await?;
        self.target.resume_stopped().await?;
        Ok(forgotten)
    }
}
