//! What a run did, in numbers.

use crate::ports::PortError;
use syncline_engine::Side;

/// What a run did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Touches that ended without a read of Salesforce.
    pub skipped: usize,
    /// Records on which both sides were equal already.
    pub equal: usize,
    /// Touches that were deferred.
    pub deferred: usize,
    /// Rows inserted.
    pub rows_inserted: usize,
    /// Rows updated.
    pub rows_updated: usize,
    /// Rows deleted.
    pub rows_deleted: usize,
    /// Salesforce records created.
    pub records_created: usize,
    /// Salesforce records updated.
    pub records_updated: usize,
    /// Salesforce records deleted.
    pub records_deleted: usize,
    /// Deletes that a side refused. They do not count towards the delete limit.
    pub refused_deletes: u64,
    /// Conflicts recorded.
    pub conflicts: usize,
    /// Records rejected.
    pub rejected: usize,
    /// Records held.
    pub held: usize,
    /// Salesforce answered.
    pub reached_salesforce: bool,
    /// Postgres answered.
    pub reached_postgres: bool,
    /// An outage that came after the first write; its records are deferred already.
    pub outage: Option<PortError>,
}

impl Summary {
    /// Adds another run's counts.
    pub fn add(&mut self, other: &Self) {
        self.skipped += other.skipped;
        self.equal += other.equal;
        self.deferred += other.deferred;
        self.rows_inserted += other.rows_inserted;
        self.rows_updated += other.rows_updated;
        self.rows_deleted += other.rows_deleted;
        self.records_created += other.records_created;
        self.records_updated += other.records_updated;
        self.records_deleted += other.records_deleted;
        self.refused_deletes += other.refused_deletes;
        self.conflicts += other.conflicts;
        self.rejected += other.rejected;
        self.held += other.held;
        self.reached_salesforce |= other.reached_salesforce;
        self.reached_postgres |= other.reached_postgres;
        if self.outage.is_none() {
            self.outage.clone_from(&other.outage);
        }
    }

    /// True if the side answered in this run.
    #[must_use]
    pub fn reached(&self, side: Side) -> bool {
        match side {
            Side::Salesforce => self.reached_salesforce,
            Side::Postgres => self.reached_postgres,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_add_up_count_by_count_and_keep_the_first_outage() {
        let outage = |words: &str| PortError::Outage { side: Side::Salesforce, message: words.to_owned() };
        let counted = |by: usize, told: bool| Summary {
            skipped: by,
            equal: 2 * by,
            deferred: 3 * by,
            rows_inserted: 4 * by,
            rows_updated: 5 * by,
            rows_deleted: 6 * by,
            records_created: 7 * by,
            records_updated: 8 * by,
            records_deleted: 9 * by,
            refused_deletes: 13 * u64::try_from(by).unwrap(),
            conflicts: 10 * by,
            rejected: 11 * by,
            held: 12 * by,
            reached_salesforce: told,
            reached_postgres: told,
            outage: told.then(|| outage("first")),
        };
        let mut sum = counted(1, false);
        sum.add(&counted(10, true));
        assert_eq!(sum, counted(11, true));
        sum.add(&Summary { outage: Some(outage("second")), ..counted(100, false) });
        assert_eq!(sum, counted(111, true));
    }

    #[test]
    fn a_summary_tells_for_each_side_whether_it_was_reached() {
        let salesforce = Summary { reached_salesforce: true, ..Summary::default() };
        assert!(salesforce.reached(Side::Salesforce) && !salesforce.reached(Side::Postgres));
        let postgres = Summary { reached_postgres: true, ..Summary::default() };
        assert!(!postgres.reached(Side::Salesforce) && postgres.reached(Side::Postgres));
    }
}
