//! Parses outbound messages: SOAP documents with up to 100 notifications. The sender is not trusted.
//!
//! Source: the outbound-message WSDL of the SOAP API guide. A notification leaves out fields that are null,
//! and its content may be old. So Syncline takes no value from a notification, and only touches the record.

use jiff::Timestamp;
use quick_xml::Reader;
use quick_xml::events::Event;
use syncline_engine::SalesforceId;

/// The most notifications that one message may have.
const MOST_NOTIFICATIONS: usize = 100;
/// The greatest depth of nested elements. An outbound message needs six (Envelope, Body, notifications,
/// Notification, sObject, field); a few more are allowed.
const DEEPEST: usize = 12;

/// The content of one outbound message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notifications {
    /// The Id of the org that sent the message. Salesforce sends 18 characters.
    pub organization_id: String,
    /// The Id of the outbound message's definition in Salesforce. Empty if the message has none.
    pub action_id: String,
    /// The notifications, in the order of the message.
    pub notifications: Vec<Notification>,
}

/// One notification of an outbound message. It is about one record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notification {
    /// The Id of the notification itself, which begins with `04l`.
    pub id: String,
    /// The API name of the record's object.
    pub object: String,
    /// The Id of the record. Absent if the record was deleted before the message was sent: such a notification has no
    /// content. Also absent if its text is not a Salesforce Id. Catch-up finds the change of such a record.
    pub record: Option<SalesforceId>,
    /// The record's `SystemModstamp`. `None` if the message does not contain the field or its text is not a
    /// timestamp.
    pub stamp: Option<Timestamp>,
}

/// Why a body is not an outbound message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutboundError {
    /// The body is not XML.
    #[error("the body is not XML: {0}")]
    Xml(String),
    /// The body has a document type, or an entity other than those of XML itself. Salesforce sends neither.
    /// Entities that expand to other entities can exhaust the memory of a parser.
    #[error("the body has a document type or an entity of its own, which no outbound message has")]
    Entities,
    /// The elements are nested too deep.
    #[error("the XML elements of the body are nested more than {DEEPEST} deep")]
    TooDeep,
    /// The body has too many notifications.
    #[error("the body has more than {MOST_NOTIFICATIONS} notifications")]
    TooMany,
    /// The body does not have an element that every outbound message has.
    #[error("the body is not an outbound message: it has no {0}")]
    Missing(&'static str),
}

/// Parses the body of an outbound message.
///
/// # Errors
/// When the body is anything else. The body is read once from beginning to end. Of entities, only those of
/// XML itself and character references are replaced.
///
/// # Example
///
/// ```
/// use syncline_salesforce::{acknowledgement, parse_notifications};
///
/// let body = r#"<?xml version="1.0" encoding="UTF-8"?>
///     <soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"
///         xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
///       <soapenv:Body>
///         <notifications xmlns="http://soap.sforce.com/2005/09/outbound">
///           <OrganizationId>00D5e000000SIMuEAO</OrganizationId>
///           <ActionId>04k5e0000000001AAA</ActionId>
///           <Notification>
///             <Id>04l000000000001AAA</Id>
///             <sObject xmlns:sf="urn:sobject.enterprise.soap.sforce.com" xsi:type="sf:Contact">
///               <sf:Id>003000000000001AAA</sf:Id>
///             </sObject>
///           </Notification>
///         </notifications>
///       </soapenv:Body>
///     </soapenv:Envelope>"#;
/// let message = parse_notifications(body.as_bytes()).unwrap();
/// let notification = &message.notifications[0];
/// assert_eq!(notification.object, "Contact");
/// assert_eq!(notification.record.as_ref().unwrap().as_str(), "003000000000001AAA");
/// assert!(acknowledgement(true).contains("<Ack>true</Ack>"));
/// ```
pub fn parse_notifications(body: &[u8]) -> Result<Notifications, OutboundError> {
    let text = std::str::from_utf8(body).map_err(|error| OutboundError::Xml(error.to_string()))?;
    let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}').trim_start());
    let mut path: Vec<String> = Vec::new();
    let mut content = String::new();
    let mut parsed = Notifications::default();
    loop {
        match reader.read_event().map_err(|error| OutboundError::Xml(error.to_string()))? {
            Event::Start(start) => {
                let name = start.local_name().as_ref().to_owned();
                let name = String::from_utf8_lossy(name.as_ref()).into_owned();
                if path.len() >= DEEPEST {
                    return Err(OutboundError::TooDeep);
                }
                content.clear();
                match name.as_str() {
                    "Notification" => {
                        if parsed.notifications.len() >= MOST_NOTIFICATIONS {
                            return Err(OutboundError::TooMany);
                        }
                        parsed.notifications.push(Notification::default());
                    }
                    "sObject" => {
                        let kind = start
                            .attributes()
                            .flatten()
                            .find(|attribute| attribute.key.local_name().as_ref() == "type");
                        let kind = kind.map(|kind| kind.value.to_string()).unwrap_or_default();
                        let object = kind.rsplit(':').next().unwrap_or_default().to_owned();
                        if let Some(notification) = parsed.notifications.last_mut() {
                            notification.object = object;
                        }
                    }
                    _ => {}
                }
                path.push(name);
            }
            Event::End(_) => {
                take(&mut parsed, &path, &content);
                path.pop();
                content.clear();
            }
            Event::Text(text) => content.push_str(&text.xml10_content()),
            Event::CData(text) => content.push_str(&text.xml10_content()),
            Event::GeneralRef(reference) => {
                let character = reference.resolve_char_ref().ok().flatten();
                match (character, reference.xml10_content().as_ref()) {
                    (Some(character), _) => content.push(character),
                    (None, "amp") => content.push('&'),
                    (None, "lt") => content.push('<'),
                    (None, "gt") => content.push('>'),
                    (None, "quot") => content.push('"'),
                    (None, "apos") => content.push('\''),
                    _ => return Err(OutboundError::Entities),
                }
            }
            Event::DocType(_) => return Err(OutboundError::Entities),
            Event::Empty(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            Event::Eof => break,
        }
    }
    if !path.is_empty() {
        return Err(OutboundError::Xml("it ends before all elements are closed".to_owned()));
    }
    if parsed.organization_id.is_empty() {
        return Err(OutboundError::Missing("OrganizationId"));
    }
    if parsed.notifications.is_empty() {
        return Err(OutboundError::Missing("Notification"));
    }
    Ok(parsed)
}

fn take(parsed: &mut Notifications, path: &[String], content: &str) {
    let inner: Vec<&str> = path.iter().rev().take(3).map(String::as_str).collect();
    match inner.as_slice() {
        ["OrganizationId", "notifications", ..] => content.trim().clone_into(&mut parsed.organization_id),
        ["ActionId", "notifications", ..] => content.trim().clone_into(&mut parsed.action_id),
        ["Id", "Notification", ..] => {
            if let Some(notification) = parsed.notifications.last_mut() {
                content.trim().clone_into(&mut notification.id);
            }
        }
        ["Id", "sObject", "Notification"] => {
            if let Some(notification) = parsed.notifications.last_mut() {
                notification.record = SalesforceId::parse(content.trim()).ok();
            }
        }
        ["SystemModstamp", "sObject", "Notification"] => {
            if let Some(notification) = parsed.notifications.last_mut() {
                notification.stamp = content.trim().parse().ok();
            }
        }
        _ => {}
    }
}

/// The body of the answer to an outbound message. `true` acknowledges the whole message. `false` asks
/// Salesforce to send the whole message again.
#[must_use]
pub fn acknowledgement(ack: bool) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<soapenv:Envelope \
         xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\"><soapenv:Body><notificationsResponse \
         xmlns=\"http://soap.sforce.com/2005/09/outbound\"><Ack>{ack}</Ack></notificationsResponse></soapenv:Body>\
         </soapenv:Envelope>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(inner: &str) -> String {
        format!(
            "\u{feff}<?xml version=\"1.0\" encoding=\"UTF-8\"?><e:Envelope xmlns:e=\"http://schemas.xmlsoap.org/soap/envelope/\"><e:Body>\
             <notifications xmlns=\"http://soap.sforce.com/2005/09/outbound\"><OrganizationId>00D5e000000SIMuEAO</OrganizationId>\
             <ActionId>04k5e0000000001AAA</ActionId><SessionId xsi:nil=\"true\"/>{inner}</notifications></e:Body></e:Envelope>"
        )
    }

    fn notification(number: usize) -> String {
        format!(
            "<Notification><Id>04l{number:012}AAA</Id><sObject xmlns:sf=\"urn:x\" xsi:type=\"sf:Contact\"><sf:Id>003{number:012}AAA</sf:Id>\
             <sf:LastName>A &amp; &#66; &lt;b&gt;</sf:LastName><sf:SystemModstamp>2026-05-01T10:00:00.000Z</sf:SystemModstamp></sObject></Notification>"
        )
    }

    #[test]
    fn notifications_are_read() {
        let parsed = parse_notifications(body(&(notification(1) + &notification(2))).as_bytes()).unwrap();
        assert_eq!(parsed.organization_id, "00D5e000000SIMuEAO");
        assert_eq!(parsed.notifications.len(), 2);
        let second = &parsed.notifications[1];
        assert_eq!((second.object.as_str(), second.id.as_str()), ("Contact", "04l000000000002AAA"));
        assert_eq!(second.record.as_ref().unwrap().as_str(), "003000000000002AAA");
        assert_eq!(second.stamp, Some("2026-05-01T10:00:00Z".parse().unwrap()));
    }

    #[test]
    fn a_notification_without_a_record_does_not_refuse_its_message() {
        let deleted = "<Notification><Id>04l000000000009AAA</Id><sObject xsi:type=\"sf:Contact\"></sObject></Notification>\
                       <Notification><Id>04l000000000008AAA</Id><sObject xsi:type=\"sf:Contact\"/></Notification>\
                       <Notification><Id>04l000000000007AAA</Id></Notification>\
                       <Notification><Id>04l000000000006AAA</Id><sObject><Id>no Id</Id></sObject></Notification>";
        let parsed =
            parse_notifications(body(&(notification(1) + deleted + &notification(2))).as_bytes()).unwrap();
        let records: Vec<Option<&str>> =
            parsed.notifications.iter().map(|one| one.record.as_ref().map(SalesforceId::as_str)).collect();
        let (first, last) = (Some("003000000000001AAA"), Some("003000000000002AAA"));
        assert_eq!(records, [first, None, None, None, None, last]);
        assert!(parse_notifications(body(deleted).as_bytes()).is_ok(), "all of its records are deleted");
    }

    #[test]
    fn xml_made_to_blow_a_parser_up_is_refused() {
        let laughs = "<!DOCTYPE lolz [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;\">]><e>&b;</e>";
        assert_eq!(parse_notifications(laughs.as_bytes()), Err(OutboundError::Entities));
        let unknown = body("<Notification><Id>&boom;</Id></Notification>");
        assert_eq!(parse_notifications(unknown.as_bytes()), Err(OutboundError::Entities));
        let deep = body(&"<x>".repeat(1_000));
        assert_eq!(parse_notifications(deep.as_bytes()), Err(OutboundError::TooDeep));
        let many: String = (0..101).map(notification).collect();
        assert_eq!(parse_notifications(body(&many).as_bytes()), Err(OutboundError::TooMany));
    }

    #[test]
    fn what_is_no_outbound_message_is_refused_in_words() {
        for (text, words) in [
            ("", "OrganizationId"),
            ("{\"a\":1}", "OrganizationId"),
            ("<a><b></a>", "not XML"),
            ("<a>", "not XML"),
            (&body(""), "no Notification"),
        ] {
            let error = parse_notifications(text.as_bytes()).unwrap_err();
            assert!(error.to_string().contains(words), "{text}: {error}");
        }
        assert!(parse_notifications(&[0xff, 0xfe]).is_err());
    }
}
