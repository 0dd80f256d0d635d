//! What a refusal of Salesforce is about: one record, the definition, the daily allowance, or nothing but the moment.
//!
//! This is the only table of Salesforce's error codes by what they mean. A code that it does not know is about the
//! moment: the call is made again later, and nothing is concluded about any record.
//!
//! Sources: Status Codes and Error Responses (REST API Developer Guide); Core Data Types Used in API Calls, StatusCode
//! and ExceptionCode (SOAP API Developer Guide).

/// What a refusal is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concern {
    /// One record of the call: its Id or a value of it. The call is halved until that record is alone.
    Record,
    /// How many records the call has: Apex code of the org met one of its limits, and the same records succeed in
    /// smaller calls. Source: Execution Governors and Limits (Apex Developer Guide).
    Size,
    /// The definition of the sync: an object or a field that is not there, or that this user may not see. The sync is
    /// paused until a person has looked at it.
    Definition,
    /// The daily allowance of API calls, which is used up.
    Quota,
    /// The user, the org, something between Syncline and Salesforce, or the moment. The call is made again later.
    Moment,
}

impl Concern {
    /// What Salesforce's refusal of a whole call is about. Nothing of the call was carried out.
    #[must_use]
    pub fn of_call(code: &str, message: &str) -> Self {
        match code {
            // "TotalRequests Limit exceeded" is the day's allowance. "ConcurrentRequests (Concurrent API Requests) Limit
            // exceeded" and "ConcurrentPerOrgLongTxn Limit exceeded" are over within seconds.
            "REQUEST_LIMIT_EXCEEDED" if !message.to_ascii_lowercase().contains("concurrent") => Self::Quota,
            "INVALID_FIELD"
            | "INVALID_TYPE"
            | "INVALID_TYPE_FOR_OPERATION"
            | "NOT_FOUND"
            | "INSUFFICIENT_ACCESS"
            | "INVALID_FIELD_FOR_INSERT_UPDATE" => Self::Definition,
            // The parser of a collection refuses the whole call where one value does not have its field's form.
            "MALFORMED_ID"
            | "INVALID_ID_FIELD"
            | "INVALID_QUERY_FILTER_OPERATOR"
            | "INVALID_CROSS_REFERENCE_KEY"
            | "ENTITY_IS_DELETED"
            | "JSON_PARSER_ERROR" => Self::Record,
            _ if is_of_size(message) => Self::Size,
            _ => Self::Moment,
        }
    }

    /// What the error of one record in the answer to a write is about: the record, or the moment. Other records of the
    /// same call may have been written.
    #[must_use]
    pub fn of_record(code: &str, message: &str) -> Self {
        match code {
            "UNABLE_TO_LOCK_ROW"
            | "SERVER_UNAVAILABLE"
            | "QUERY_TIMEOUT"
            | "REQUEST_RUNNING_TOO_LONG"
            | "REQUEST_LIMIT_EXCEEDED"
            | "API_CURRENTLY_DISABLED"
            | "API_DISABLED_FOR_ORG"
            | "INVALID_SESSION_ID"
            | "ORG_LOCKED"
            | "INSERT_UPDATE_DELETE_NOT_ALLOWED_DURING_MAINTENANCE"
            | "ALL_OR_NONE_OPERATION_ROLLED_BACK"
            | "PROCESSING_HALTED" => Self::Moment,
            _ if is_of_size(message) => Self::Size,
            // A trigger in Salesforce met the lock, and passes the code on in its message.
            _ if message.contains("UNABLE_TO_LOCK_ROW") => Self::Moment,
            _ => Self::Record,
        }
    }
}

/// Words of Salesforce for a limit that Apex code meets, because it works on all records of a call together. With partial
/// saves, Salesforce tries the call three times before it gives up with the first of them.
const OF_SIZE: [&str; 8] = [
    "Too many batch retries in the presence of Apex triggers",
    "System.LimitException",
    "Apex CPU time limit exceeded",
    "Apex heap size too large",
    "Too many SOQL queries",
    "Too many DML",
    "Too many query rows",
    "Too many future calls",
];

fn is_of_size(message: &str) -> bool {
    OF_SIZE.iter().any(|words| message.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_that_nobody_knows_says_nothing_of_a_record() {
        for code in ["", "SOMETHING_NEW", "420 Unknown", "API_DISABLED_FOR_ORG", "INVALID_SESSION_ID"] {
            assert_eq!(Concern::of_call(code, "words"), Concern::Moment, "{code}");
        }
    }

    #[test]
    fn only_the_days_requests_are_the_quota() {
        let of_words = |words| Concern::of_call("REQUEST_LIMIT_EXCEEDED", words);
        assert_eq!(of_words("TotalRequests Limit exceeded."), Concern::Quota);
        assert_eq!(of_words("ConcurrentPerOrgLongTxn Limit exceeded"), Concern::Moment);
        assert_eq!(of_words("ConcurrentRequests (Concurrent API Requests) Limit exceeded."), Concern::Moment);
    }

    #[test]
    fn maintenance_and_locks_are_moments_also_where_they_are_said_of_one_record() {
        let maintenance = "INSERT_UPDATE_DELETE_NOT_ALLOWED_DURING_MAINTENANCE";
        assert_eq!(Concern::of_record(maintenance, "read-only"), Concern::Moment);
        let wrapped =
            "execution of BeforeUpdate caused by: UNABLE_TO_LOCK_ROW, unable to obtain exclusive access";
        assert_eq!(Concern::of_record("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", wrapped), Concern::Moment);
        assert_eq!(Concern::of_record("STRING_TOO_LONG", "too long"), Concern::Record);
    }

    #[test]
    fn a_limit_of_apex_code_is_about_the_size_of_the_call() {
        let code = "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY";
        for words in [
            "ContactTrigger: System.LimitException: Apex CPU time limit exceeded",
            "Too many batch retries in the presence of Apex triggers and partial failures.",
            "AfterUpdate caused by: System.LimitException: Too many future calls: 51",
        ] {
            assert_eq!(Concern::of_record(code, words), Concern::Size, "{words}");
        }
        let own = "ContactTrigger: execution of BeforeUpdate caused by: System.DmlException: no";
        assert_eq!(Concern::of_record(code, own), Concern::Record);
    }
}
