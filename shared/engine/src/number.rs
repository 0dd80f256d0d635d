//! Canonical numbers: how many digits of a number count.

use crate::value::{Value, ValueError};
use rust_decimal::{Decimal, RoundingStrategy};

/// How many digits of a number Salesforce keeps for sure: those of a double-precision number. Source: Salesforce Help,
/// "Numbers and currencies keep more digits than the field displays", and IEEE 754.
pub const SALESFORCE_DIGITS: u32 = 15;

/// The most digits after the point that a canonical number has.
pub(crate) const MOST_DIGITS: u32 = Decimal::MAX_SCALE;

/// Reads a decimal number and rounds it. Halves are rounded away from zero, as Postgres rounds a `numeric`. A number
/// with more digits than are kept exactly is an error, unless the rounding takes those digits away.
pub(crate) fn number(text: &str, scale: u32, displayed: Option<u32>) -> Result<Value, ValueError> {
    let plain = without_exponent(text)?;
    let whole = plain.trim_start_matches(['-', '+']).split('.').next().unwrap_or_default();
    let whole = u32::try_from(whole.trim_start_matches('0').len()).unwrap_or(u32::MAX);
    let kept = displayed
        .map_or(scale, |displayed| displayed.max(SALESFORCE_DIGITS.saturating_sub(whole)).min(scale));
    // One digit more than is kept decides how the number is rounded.
    let digits = usize::try_from(kept).unwrap_or(usize::MAX).saturating_add(1);
    let number = match plain.split_once('.') {
        Some((whole, fraction)) if kept < MOST_DIGITS && fraction.len() > digits => {
            let cut = fraction.get(..digits).ok_or(ValueError::Number)?;
            if !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
                return Err(ValueError::Number);
            }
            Decimal::from_str_exact(&format!("{whole}.{cut}"))
        }
        _ => Decimal::from_str_exact(&plain),
    };
    let number = number.map_err(|_| ValueError::Number)?;
    let number = number.round_dp_with_strategy(kept, RoundingStrategy::MidpointAwayFromZero).normalize();
    Ok(Value::Number(if number.is_zero() { Decimal::ZERO } else { number }))
}

/// A number without its exponent: `2.5E-3` is `0.0025`. Salesforce and Postgres write very large and very small numbers
/// with an exponent.
fn without_exponent(text: &str) -> Result<String, ValueError> {
    let Some((mantissa, exponent)) = text.split_once(['e', 'E']) else { return Ok(text.to_owned()) };
    let exponent: i32 = exponent.parse().map_err(|_| ValueError::Number)?;
    // No double-precision number is larger than 1.8E308, or, but for 0, smaller than 4.9E-324.
    if exponent.abs() > 400 {
        return Err(ValueError::Number);
    }
    let (sign, digits) = match mantissa.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", mantissa.trim_start_matches('+')),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{fraction}");
    if all.is_empty() || !all.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(ValueError::Number);
    }
    let zeros = |count: i32| "0".repeat(usize::try_from(count).unwrap_or_default());
    let point = i32::try_from(whole.len()).unwrap_or(i32::MAX).saturating_add(exponent);
    let length = i32::try_from(all.len()).unwrap_or(i32::MAX);
    Ok(match usize::try_from(point) {
        Ok(place) if point < length => match all.split_at_checked(place) {
            Some(("", fraction)) => format!("{sign}0.{fraction}"),
            Some((whole, fraction)) => format!("{sign}{whole}.{fraction}"),
            None => return Err(ValueError::Number),
        },
        Ok(_) => format!("{sign}{all}{}", zeros(point - length)),
        Err(_) => format!("{sign}0.{}{all}", zeros(-point)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_that_rounding_takes_away_are_no_reason_to_refuse_a_number() {
        let two = |text| number(text, 2, None).map(|value| value.to_string());
        assert_eq!(two("1.12345678901234567890123456789"), Ok("1.12".to_owned()));
        assert_eq!(two("2.842170943040401E-14"), Ok("0".to_owned()));
        assert_eq!(two("-4.995E-1"), Ok("-0.5".to_owned()));
        assert_eq!(two("0.00499999999999999999999999999999999995"), Ok("0".to_owned()));
        assert_eq!(two("1.2345E+3"), Ok("1234.5".to_owned()));
        for text in ["1E999", "1E", "E5", "1.2.3", "1.23x45678901234567890", "--1", "1e2e3", ""] {
            assert!(two(text).is_err() || text.is_empty(), "{text}");
        }
    }

    #[test]
    fn salesforce_keeps_more_digits_than_it_displays_and_no_more_than_a_double_holds() {
        let of = |text, displayed| number(text, MOST_DIGITS, Some(displayed)).unwrap().to_string();
        assert_eq!(of("1234567.89", 0), "1234567.89");
        assert_eq!(of("0.12345678901234567890", 2), "0.123456789012346");
        assert_eq!(of("0.12345678901234568", 2), of("0.123456789012346", 2));
        assert_eq!(of("9999999999999999.99", 2), "9999999999999999.99");
        assert_eq!(of("9999999999999999.994", 2), "9999999999999999.99");
    }
}
