//! Whether a side has kept less of a value than it was given.

use crate::value::Value;
use jiff::{SignedDuration, Timestamp};
use rust_decimal::Decimal;

/// True if `kept` is `given` with a part of it lost: a text that is cut at its end, a number that is rounded, a moment
/// without its seconds, minutes or hours, a list without some of its choices, or nothing at all.
///
/// A trigger or a column type that keeps less than it was given has not edited the value. If what it kept counted as an
/// edit, the whole value would be overwritten with it on the other side and be lost.
///
/// # Example
///
/// ```
/// use syncline_engine::{Value, is_poorer};
///
/// let text = |text: &str| Value::Text(text.to_owned());
/// assert!(is_poorer(&text("Chief Executive Officer"), &text("Chief")));
/// assert!(is_poorer(&text("Chief"), &Value::Null));
/// // Another spelling is an edit, and so is a longer text.
/// assert!(!is_poorer(&text("Chief"), &text("CHIEF")));
/// assert!(!is_poorer(&text("Chief"), &text("Chiefs")));
/// ```
#[must_use]
pub fn is_poorer(given: &Value, kept: &Value) -> bool {
    match (given, kept) {
        (Value::Null, _) => false,
        (_, Value::Null) => true,
        (Value::Text(given), Value::Text(kept)) => {
            given.len() > kept.len() && given.starts_with(kept.as_str())
        }
        (Value::Number(given), Value::Number(kept)) => is_rounded(*given, *kept),
        (Value::DateTime(given), Value::DateTime(kept)) => is_truncated(*given, *kept),
        (Value::Choices(given), Value::Choices(kept)) => given.len() > kept.len() && given.is_superset(kept),
        _ => false,
    }
}

fn is_rounded(given: Decimal, kept: Decimal) -> bool {
    let (given, kept) = (given.normalize(), kept.normalize());
    kept.scale() < given.scale() && (given - kept).abs() < Decimal::new(1, kept.scale())
}

/// The moment was cut to its minute, its hour or its day in UTC.
fn is_truncated(given: Timestamp, kept: Timestamp) -> bool {
    let lost = given.duration_since(kept);
    [60, 3_600, 86_400].into_iter().any(|unit| {
        let whole = kept.as_second() % unit == 0 && kept.subsec_nanosecond() == 0;
        whole && lost > SignedDuration::ZERO && lost < SignedDuration::from_secs(unit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn number(text: &str) -> Value {
        Value::Number(text.parse().unwrap())
    }

    fn moment(text: &str) -> Value {
        Value::DateTime(text.parse().unwrap())
    }

    fn choices(list: &[&str]) -> Value {
        Value::Choices(list.iter().map(|one| (*one).to_owned()).collect::<BTreeSet<_>>())
    }

    #[test]
    fn what_is_rounded_truncated_or_left_out_is_poorer() {
        for (given, kept) in [
            (number("12.345"), number("12.35")),
            (number("12.345"), number("12.34")),
            (number("0.5"), number("0")),
            (number("-0.5"), number("-1")),
            (moment("2026-02-03T04:05:06Z"), moment("2026-02-03T04:05:00Z")),
            (moment("2026-02-03T04:05:06Z"), moment("2026-02-03T04:00:00Z")),
            (moment("2026-02-03T04:05:06Z"), moment("2026-02-03T00:00:00Z")),
            (choices(&["a", "b"]), choices(&["b"])),
            (Value::Boolean(true), Value::Null),
        ] {
            assert!(is_poorer(&given, &kept), "{given} {kept}");
        }
    }

    #[test]
    fn another_value_is_an_edit() {
        for (given, kept) in [
            (number("12.345"), number("13.5")),
            (number("1234"), number("1000")),
            (number("12"), number("12.5")),
            (moment("2026-02-03T04:05:06Z"), moment("2026-02-04T00:00:00Z")),
            (moment("2026-02-03T04:05:06Z"), moment("2026-02-03T04:05:07Z")),
            (choices(&["a", "b"]), choices(&["c"])),
            (Value::Boolean(true), Value::Boolean(false)),
            (Value::Text("Chief".into()), Value::Text("chie".into())),
        ] {
            assert!(!is_poorer(&given, &kept), "{given} {kept}");
        }
    }

    proptest! {
        #[test]
        fn no_value_is_poorer_than_itself_and_no_two_are_poorer_than_each_other(one in "[a-c]{0,4}", other in "[a-c]{0,4}") {
            let value = |text: &str| if text.is_empty() { Value::Null } else { Value::Text(text.to_owned()) };
            let (one, other) = (value(&one), value(&other));
            prop_assert!(!is_poorer(&one, &one));
            prop_assert!(!(is_poorer(&one, &other) && is_poorer(&other, &one)));
        }
    }
}
