//! Fingerprints of canonical values. A base keeps the fingerprint of a value instead of the value, so that a
//! base holds no readable data.

use crate::value::{Rule, Value};
use serde::{Deserialize, Serialize};

/// The fingerprint of one value: the first 64 bits of a keyed BLAKE3 hash over the sync, the field, the
/// rule's version and the text of the canonical value. In JSON it is a string of 16 hex digits, because some
/// readers of JSON round large numbers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Fingerprint(pub u64);

impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        format!("{:016x}", fingerprint.0)
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        u64::from_str_radix(&text, 16).map(Fingerprint)
    }
}

/// The key of an instance's fingerprints: 32 random bytes, which are secret. The key of an instance never
/// changes, because the fingerprints in its bases match no other key. If the key is lost, every base has to
/// be made anew.
///
/// # Example
///
/// ```
/// use syncline_engine::{FingerprintKey, Rule, RuleKind, Value};
///
/// let key = FingerprintKey::new([7; 32]);
/// let rule = Rule { version: 1, kind: RuleKind::Text };
/// let email = Value::Text("info@example.com".into());
/// let agreed = key.fingerprint("contacts", "Email", &rule, &email);
/// assert_eq!(key.fingerprint("contacts", "Email", &rule, &email), agreed);
/// assert_ne!(key.fingerprint("contacts", "Email", &rule, &Value::Null), agreed);
/// ```
#[derive(Clone)]
pub struct FingerprintKey([u8; 32]);

impl std::fmt::Debug for FingerprintKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FingerprintKey(…)")
    }
}

impl FingerprintKey {
    /// Makes a key from its 32 bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The fingerprint of a value of this field of this sync, made canonical by this rule.
    #[must_use]
    pub fn fingerprint(&self, sync: &str, field: &str, rule: &Rule, value: &Value) -> Fingerprint {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        for part in [sync, field] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        hasher.update(&rule.version.to_le_bytes());
        match value.text() {
            None => hasher.update(&[0]),
            Some(text) => hasher.update(&[1]).update(text.as_bytes()),
        };
        let mut first = [0; 8];
        first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        Fingerprint(u64::from_le_bytes(first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::RuleKind;

    #[test]
    fn a_fingerprint_differs_if_sync_field_rule_key_or_value_differs() {
        let key = FingerprintKey::new([7; 32]);
        let rule = Rule { version: 1, kind: RuleKind::Text };
        let value = Value::Text("x".into());
        let one = key.fingerprint("contacts", "Email", &rule, &value);
        assert_eq!(one, key.fingerprint("contacts", "Email", &rule, &value));
        let newer = Rule { version: 2, ..rule.clone() };
        for other in [
            key.fingerprint("contact", "sEmail", &rule, &value),
            key.fingerprint("contacts", "Phone", &rule, &value),
            key.fingerprint("contacts", "Email", &newer, &value),
            key.fingerprint("contacts", "Email", &rule, &Value::Null),
            FingerprintKey::new([8; 32]).fingerprint("contacts", "Email", &rule, &value),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn logs_show_a_fingerprint_and_no_key() {
        assert_eq!(format!("{:?}", Fingerprint(0xab)), "00000000000000ab");
        assert_eq!(format!("{:?}", FingerprintKey::new([7; 32])), "FingerprintKey(…)");
    }

    #[test]
    fn a_fingerprint_written_as_json_reads_back_as_the_same() {
        let fingerprint = Fingerprint(u64::MAX - 1);
        let json = serde_json::to_string(&fingerprint).unwrap();
        assert_eq!(json, "\"fffffffffffffffe\"");
        assert_eq!(serde_json::from_str::<Fingerprint>(&json).unwrap(), fingerprint);
    }
}
