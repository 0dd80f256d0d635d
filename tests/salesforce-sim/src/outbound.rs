//! Outbound messages on the wire. Fields that are null are left out. A notification about a record that was deleted
//! before the message was sent has no content.

use org::{FieldType, Notification, Org};
use std::fmt::Write as _;

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
            "<Notification><Id>{}</Id><sObject xsi:type=\"sf:{}\" xmlns:sf=\"urn:sobject.enterprise.soap.sforce.com\">",
            notification.id, schema.name
        );
        let record = org.record(schema.name, &notification.record).filter(|record| !record.deleted);
        let Some(record) = record else {
            body.push_str("</sObject></Notification>");
            continue;
        };
        let _ = write!(body, "<sf:Id>{}</sf:Id>", notification.record);
        let mut fields: Vec<&str> = message
            .fields
            .iter()
            .map(String::as_str)
            .filter(|field| !field.eq_ignore_ascii_case("Id"))
            .collect();
        fields.sort_unstable();
        for name in fields {
            let Some(field) = schema.field(name) else { continue };
            let Some(value) = record.values.get(field.name) else { continue };
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
