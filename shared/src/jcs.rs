//! The canonical form of JSON (RFC 8785), so that the same arguments have the same hash whoever writes them down.

use std::cmp::Ordering;
use std::io::{self, Write};

use aws_lc_rs::digest;
use serde_json::{Map, Number, Value};

use crate::secret::TokenHash;

/// So many bytes are written down before they are hashed: hardly any arguments are longer.
const PIECE: usize = 64 * 1024;

/// The SHA-256 of an object's canonical form.
pub fn hash(object: &Map<String, Value>) -> TokenHash {
    let mut out = Hashing { piece: Vec::with_capacity(256), before: None };
    // Hashing cannot fail, nor can writing into memory.
    let _ = write_object(object, &mut out);
    out.finish()
}

/// A value's canonical form.
///
/// One thing is stricter than RFC 8785: whole numbers beyond 2^53 keep their digits instead of being rounded to what a
/// double holds, so that two of them never look the same.
pub fn canonical(value: &Value) -> String {
    let mut out = Vec::new();
    let _ = write(value, &mut out);
    String::from_utf8(out).unwrap_or_default()
}

/// Hashes what is written to it, piece by piece when there is much.
struct Hashing {
    piece: Vec<u8>,
    before: Option<digest::Context>,
}

impl Hashing {
    fn finish(self) -> TokenHash {
        let Some(mut context) = self.before else { return TokenHash::of(&self.piece) };
        context.update(&self.piece);
        let mut hash = [0; 32];
        hash.copy_from_slice(context.finish().as_ref());
        TokenHash::from_digest(hash)
    }
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.piece.len() + bytes.len() > PIECE {
            let context = self.before.get_or_insert_with(|| digest::Context::new(&digest::SHA256));
            context.update(&self.piece);
            context.update(bytes);
            self.piece.clear();
        } else {
            self.piece.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write(value: &Value, out: &mut impl Write) -> io::Result<()> {
    match value {
        Value::Null => out.write_all(b"null"),
        Value::Bool(truth) => out.write_all(if *truth { b"true" } else { b"false" }),
        Value::Number(number) => write_number(number, out),
        Value::String(text) => write_text(text, out),
        Value::Array(items) => {
            out.write_all(b"[")?;
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.write_all(b",")?;
                }
                write(item, out)?;
            }
            out.write_all(b"]")
        }
        Value::Object(object) => write_object(object, out),
    }
}

fn write_object(object: &Map<String, Value>, out: &mut impl Write) -> io::Result<()> {
    let mut members: Vec<_> = object.iter().collect();
    members.sort_unstable_by(|(one, _), (other, _)| in_utf16(one, other));
    out.write_all(b"{")?;
    for (at, (name, value)) in members.into_iter().enumerate() {
        if at > 0 {
            out.write_all(b",")?;
        }
        write_text(name, out)?;
        out.write_all(b":")?;
        write(value, out)?;
    }
    out.write_all(b"}")
}

/// RFC 8785 section 3.2.3: names are in the order of their UTF-16 code units.
fn in_utf16(one: &str, other: &str) -> Ordering {
    if one.is_ascii() || other.is_ascii() { one.cmp(other) } else { one.encode_utf16().cmp(other.encode_utf16()) }
}

fn write_text(text: &str, out: &mut impl Write) -> io::Result<()> {
    // serde_json escapes what section 3.2.2.2 escapes, and in its way.
    serde_json::to_writer(out, text).map_err(io::Error::from)
}

fn write_number(number: &Number, out: &mut impl Write) -> io::Result<()> {
    match number.as_f64() {
        Some(_) if number.is_f64() => out.write_all(as_in_javascript(&number.to_string()).as_bytes()),
        _ => write!(out, "{number}"),
    }
}

/// ECMAScript's `Number::toString`, which section 3.2.2.3 asks for: the shortest digits that mean the same double, of
/// two such the even one. serde_json finds the digits; their layout is another.
fn as_in_javascript(text: &str) -> String {
    let (sign, text) = text.strip_prefix('-').map_or(("", text), |text| ("-", text));
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{part}");
    let digits = all.trim_start_matches('0');
    // The decimal point stands behind so many of the digits.
    let point = whole.len() as i32 + exponent.parse::<i32>().unwrap_or_default() - (all.len() - digits.len()) as i32;
    let digits = digits.trim_end_matches('0');
    let count = digits.len() as i32;
    match point {
        _ if count == 0 => "0".to_owned(),
        _ if point >= count && point <= 21 => format!("{sign}{digits}{}", "0".repeat((point - count) as usize)),
        1..=21 => format!("{sign}{}.{}", &digits[..point as usize], &digits[point as usize..]),
        -5..=0 => format!("{sign}0.{}{digits}", "0".repeat(-point as usize)),
        _ => {
            let rest = if count > 1 { format!(".{}", &digits[1..]) } else { String::new() };
            format!("{sign}{}{rest}e{:+}", &digits[..1], point - 1)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let value: Value = serde_json::from_str(text).unwrap();
        assert_eq!(canonical(&value), expected);
    }

    #[test]
    fn the_examples_of_rfc_8785() {
        check(
            r#"{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],
                "string":"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/","literals":[null,true,false]}"#,
            r#"{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}"#,
        );
        // Section 3.2.3.
        check(
            r#"{"\u20ac":"Euro Sign","\r":"Carriage Return","\ufb33":"Hebrew Letter Dalet With Dagesh","1":"One",
                "\ud83d\ude00":"Emoji: Grinning Face","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis"}"#,
            "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u{80}\":\"Control\",\"ö\":\"Latin Small Letter O With Diaeresis\",\
             \"€\":\"Euro Sign\",\"😀\":\"Emoji: Grinning Face\",\"\u{fb33}\":\"Hebrew Letter Dalet With Dagesh\"}",
        );
    }

    #[test]
    fn numbers_are_written_as_javascript_writes_them() {
        // RFC 8785 appendix B.
        for (bits, expected) in [
            (0_u64, "0"),
            (0x8000_0000_0000_0000, "0"),
            (0x0000_0000_0000_0001, "5e-324"),
            (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
            (0x4340_0000_0000_0000, "9007199254740992"),
            (0x4430_0000_0000_0000, "295147905179352830000"),
            (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
            (0x44b5_2d02_c7e1_4af6, "1e+23"),
            (0x44b5_2d02_c7e1_4af7, "1.0000000000000001e+23"),
            (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
            (0x444b_1ae4_d6e2_ef50, "1e+21"),
            (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
            (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
            (0x41b3_de43_5555_5553, "333333333.3333332"),
            (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
            (0x4314_3ff3_c1cb_0959, "1424953923781206.2"),
        ] {
            assert_eq!(canonical(&json!(f64::from_bits(bits))), expected, "{bits:x}");
        }
        check(
            "[1.0,-1.5e1,18446744073709551615,-9223372036854775808,100]",
            "[1,-15,18446744073709551615,-9223372036854775808,100]",
        );
    }

    #[test]
    fn the_hash_is_of_the_canonical_form_whatever_its_size() {
        for object in [
            json!({}),
            json!({ "b": 1, "a": [1.5, "x"] }),
            json!({ "a": "x".repeat(10_000) }),
            json!({ "a": vec!["xyz"; 50_000] }),
        ] {
            let expected = TokenHash::of(canonical(&object).as_bytes());
            assert_eq!(hash(object.as_object().unwrap()), expected);
        }
    }
}
