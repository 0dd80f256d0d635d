//! Step 3, which row is the record's: among those that match its key or its Salesforce Id.

use super::record::{InRun, Read, SalesforceRead};
use crate::ports::Row;
use crate::touch::Touch;
use syncline_engine::{PostgresKey, SalesforceId};

/// The outcome of matching a record with the rows that were found.
pub(super) enum Match {
    /// The record has this row, or none. The touches are of rows that turned out to be other records'.
    Row { read: Box<Read>, others: Vec<Touch> },
    /// These touches are looked at in the record's stead.
    Others { record: SalesforceRead, touches: Vec<Touch> },
    /// A person has to decide.
    Reject { record: SalesforceRead, code: &'static str, message: String },
}

/// What the link column of a row says of a record.
enum LinkColumn {
    /// It names the record, or a row that has no link yet belongs to a record that is not known yet.
    Right,
    /// It has to be filled with the record's Id.
    Fill(Option<SalesforceId>),
    /// The row is not this record's: the record has none, and the touch is of the row's own record.
    OfAnother(Touch),
    /// These touches are looked at in the record's stead.
    Others(Vec<Touch>),
    /// It names another record than the one whose row this is.
    Wrong(SalesforceId, SalesforceId),
}

/// Finds the row of a record among those that match its key or its Id, and what its link column lacks.
pub(super) fn match_row(record: SalesforceRead, landed: Option<PostgresKey>, mut rows: Vec<Row>) -> Match {
    if rows.len() > 1 {
        return match_of_several(record, landed, rows);
    }
    let others = row_under_former_key(&record, rows.first());
    let Some(row) = rows.pop() else { return matched(record, landed, None, None, others) };
    let linked = match row.link.as_deref().map(SalesforceId::parse).transpose() {
        Ok(linked) => linked,
        Err(error) => {
            let message = format!("row {}: the link column holds {error}", row.key);
            return Match::Reject { record, code: "LINK", message };
        }
    };
    match link_column(&record, &row, linked) {
        LinkColumn::Right => matched(record, landed, Some(row), None, others),
        LinkColumn::Fill(link) => matched(record, landed, Some(row), link, others),
        LinkColumn::OfAnother(touch) => matched(record, landed, None, None, vec![touch]),
        LinkColumn::Others(touches) => Match::Others { record, touches },
        LinkColumn::Wrong(id, linked) => {
            let message = format!("row {} belongs to {id}, but its link column holds {linked}", row.key);
            Match::Reject { record, code: "LINK", message }
        }
    }
}

fn matched(
    salesforce: SalesforceRead,
    landed: Option<PostgresKey>,
    row: Option<Row>,
    link: Option<SalesforceId>,
    others: Vec<Touch>,
) -> Match {
    Match::Row { read: Box::new(Read { salesforce, row, link, landed }), others }
}

/// Several rows match: one by the key and one by the link. The row that names the record counts, because the key may be
/// another row's by now.
fn match_of_several(record: SalesforceRead, landed: Option<PostgresKey>, rows: Vec<Row>) -> Match {
    let touch = &record.loaded.touch;
    if record.loaded.base.is_none() {
        // The touch's Id and key lead to two rows: each row is looked at for itself.
        let touches = touch.apart();
        return Match::Others { record, touches };
    }
    let id = record.id();
    let linked = |row: &Row| {
        let link = row.link.as_deref().and_then(|link| SalesforceId::parse(link).ok());
        link.is_some() && link == id
    };
    if rows.iter().filter(|row| linked(row)).count() == 1 {
        let (ours, others): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(linked);
        let others = others.into_iter().map(|row| touch.alone_of_row(row.key)).collect();
        return matched(record, landed, ours.into_iter().next(), None, others);
    }
    let keys = rows.iter().map(|row| row.key.to_string()).collect::<Vec<_>>().join(" and ");
    let message = format!("rows {keys} both stand for this record: one by its key, one by its Salesforce Id");
    Match::Reject { record, code: "AMBIGUOUS", message }
}

/// Another row may have the key by now that the record's row had before, also where the record's row moved on since.
fn row_under_former_key(record: &SalesforceRead, row: Option<&Row>) -> Vec<Touch> {
    let touch = &record.loaded.touch;
    let moved = record.loaded.moved_to().is_some();
    let former = touch.old_key.clone().filter(|old| moved && Some(old) != row.map(|row| &row.key));
    former.map(|key| touch.alone_of_row(key)).into_iter().collect()
}

fn link_column(record: &SalesforceRead, row: &Row, linked: Option<SalesforceId>) -> LinkColumn {
    let loaded = &record.loaded;
    match (linked, record.id()) {
        (Some(linked), Some(id)) if linked == id => LinkColumn::Right,
        // The column still shows a record that was deleted and replaced.
        (Some(linked), id) if loaded.has_replaced(&linked) => match record.record() {
            Some(_) => LinkColumn::Fill(id),
            None => LinkColumn::Right,
        },
        // The record's own row was deleted, and another record's row was given its key since.
        (Some(linked), Some(_)) if loaded.row_was_deleted() => {
            let mut touch = Touch { id: Some(linked), ..loaded.touch.alone_of_row(row.key.clone()) };
            touch.evidence.pg_deleted = false;
            LinkColumn::OfAnother(touch)
        }
        (Some(linked), Some(id)) if loaded.base.as_ref().is_some_and(|base| base.salesforce_id.is_some()) => {
            LinkColumn::Wrong(id, linked)
        }
        (Some(linked), _) => {
            let mut touch = loaded.touch.clone();
            touch.id = Some(linked);
            touch.key = Some(row.key.clone());
            touch.stamp = None;
            LinkColumn::Others(vec![touch])
        }
        (None, Some(id)) if loaded.base.is_some() => match record.record() {
            Some(_) => LinkColumn::Fill(Some(id)),
            None => LinkColumn::Right,
        },
        (None, Some(_)) => LinkColumn::Others(loaded.touch.apart()),
        (None, None) => LinkColumn::Right,
    }
}
