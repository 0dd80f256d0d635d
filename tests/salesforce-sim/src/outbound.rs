//! Outbound messages: what is sent when, and how it looks on the wire.
//!
//! Content is read when it is sent, null fields are left out, up to 100 notifications travel in one POST, each
//! record waits on its own, and whatever is not acknowledged comes again.

use crate::org::Org;
use crate::schema::FieldType;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// An outbound message: which fields of which object go where.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OutboundMessage {
    /// The object.
    pub object: String,
    /// Where it goes.
    pub endpoint: String,
    /// The fields, `Id` always among them.
    pub fields: Vec<String>,
}

/// A notification that waits.
#[derive(Clone, Debug)]
pub(crate) struct Notification {
    pub(crate) id: String,
    pub(crate) message: usize,
    pub(crate) record: String,
    pub(crate) due: Timestamp,
    attempts: u32,
}

/// What waits to be sent.
#[derive(Default)]
pub struct Outbox {
    /// The outbound messages.
    pub messages: Vec<OutboundMessage>,
    /// Every n-th notification is sent twice; 0 is never.
    pub duplicate_every: u64,
    /// Notifications wait this long before they are sent.
    pub delay: SignedDuration,
    /// Requests that were answered with anything but an Ack.
    pub refused: u64,
    /// Notifications that were acknowledged.
    pub acknowledged: u64,
    waiting: Vec<Notification>,
    next: u64,
}

impl Outbox {
    pub(crate) fn record_saved(&mut self, object: &str, record: &str, now: Timestamp) {
        for message in 0..self.messages.len() {
            if !self.messages[message].object.eq_ignore_ascii_case(object) {
                continue;
            }
            self.next += 1;
            let twice = self.duplicate_every > 0 && self.next.is_multiple_of(self.duplicate_every);
            for copy in 0..=u8::from(twice) {
                let due = now + self.delay + SignedDuration::from_millis(i64::from(copy) * 400);
                let id = format!("04l5e{:010}AAA", self.next);
                let record = record.to_owned();
                self.waiting.push(Notification { id, message, record, due, attempts: 0 });
            }
        }
    }

    /// Up to 100 notifications of one message that are due.
    pub(crate) fn take_due(&mut self, now: Timestamp) -> Vec<Notification> {
        let Some(first) = self.waiting.iter().find(|waiting| waiting.due <= now) else { return Vec::new() };
        let message = first.message;
        let mut taken = Vec::new();
        self.waiting.retain(|waiting| {
            let take = taken.len() < 100 && waiting.message == message && waiting.due <= now;
            if take {
                taken.push(waiting.clone());
            }
            !take
        });
        taken
    }

    /// Not acknowledged: again in two seconds, doubling, for 24 hours as Salesforce does.
    pub(crate) fn put_back(&mut self, notifications: Vec<Notification>, now: Timestamp) {
        self.refused += 1;
        for mut notification in notifications {
            notification.attempts += 1;
            let wait = 2_i64.saturating_pow(notification.attempts.min(13)).min(7_200);
            notification.due = now + SignedDuration::from_secs(wait);
            if notification.attempts < 32 {
                self.waiting.push(notification);
            }
        }
    }

    /// Notifications that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

/// The SOAP body of a POST.
pub(crate) fn envelope(
    org: &Org,
    base_url: &str,
    notifications: &[Notification],
) -> Option<(String, String)> {
    let message = org.outbox.messages.get(notifications.first()?.message)?;
    let schema = org.schema(&message.object)?;
    let short_org = &org.organization_id[..15];
    let mut body = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    body.push_str("<soapenv:Envelope xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\" xmlns:xsd=\"http://www.w3.org/2001/XMLSchema\" xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"><soapenv:Body>");
    let _ = write!(
        body,
        "<notifications xmlns=\"http://soap.sforce.com/2005/09/outbound\"><OrganizationId>{}</OrganizationId><ActionId>04k5e0000000001AAA</ActionId><SessionId xsi:nil=\"true\"/><EnterpriseUrl>{base_url}/services/Soap/c/62.0/{short_org}</EnterpriseUrl><PartnerUrl>{base_url}/services/Soap/u/62.0/{short_org}</PartnerUrl>",
        org.organization_id
    );
    for notification in notifications {
        let _ = write!(
            body,
            "<Notification><Id>{}</Id><sObject xsi:type=\"sf:{}\" xmlns:sf=\"urn:sobject.enterprise.soap.sforce.com\"><sf:Id>{}</sf:Id>",
            notification.id, schema.name, notification.record
        );
        let record = org.records.get(schema.name).and_then(|records| records.get(&notification.record));
        let record = record.filter(|record| !record.deleted);
        let mut fields: Vec<&str> = message
            .fields
            .iter()
            .map(String::as_str)
            .filter(|field| !field.eq_ignore_ascii_case("Id"))
            .collect();
        fields.sort_unstable();
        for name in fields {
            let Some(field) = schema.field(name) else { continue };
            let Some(value) = record.and_then(|record| record.values.get(field.name)) else { continue };
            let mut text = value.text();
            match &field.kind {
                FieldType::DateTime => text = text.replace("+0000", "Z"),
                FieldType::Number(kind, ..) if *kind != "int" && !text.contains('.') => text.push_str(".0"),
                _ => {}
            }
            let _ = write!(body, "<sf:{0}>{1}</sf:{0}>", field.name, quick_xml::escape::escape(&text));
        }
        body.push_str("</sObject></Notification>");
    }
    body.push_str("</notifications></soapenv:Body></soapenv:Envelope>");
    Some((message.endpoint.clone(), body))
}

/// True if the answer acknowledges.
pub(crate) fn acknowledges(status: u16, body: &str) -> bool {
    status == 200 && body.contains("notificationsResponse") && body.contains("<Ack>true</Ack>")
}
