//! An action: something that an app asks of its backend and that is no row.
//!
//! An invitation to be sent, a report to be made. It waits in the app's file like a
//! change, goes once, in order, and is told apart by its key: the backend that has seen
//! a key does nothing the second time.

/// The table in the app's file that actions wait in; also what they are called by where
/// people name a table.
pub const TABLE: &str = "_homing_actions";

/// The largest payload that is sent, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 1 << 20;

/// What is kept and told of a backend's answer, in characters.
pub const ANSWER_CHARS_MAX: usize = 4_096;

const NAME_BYTES_MAX: usize = 128;

/// One action, as it travels: always the same for the same row of the table.
#[derive(Clone, Debug, PartialEq)]
pub struct Action {
    /// Its place in the order.
    pub id: i64,
    pub name: String,
    /// The same at every try.
    pub key: String,
    /// JSON, as the app wrote it but for white space.
    pub payload: String,
    /// When it was asked for, milliseconds since 1970.
    pub at: i64,
}

/// Whether a text can name an action, or be its key. Both become parts of paths and
/// headers, so that the list is short: letters, digits, `_`, `-`, `.` and `:`, beginning
/// with a letter or digit.
pub fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte);
    text.len() <= NAME_BYTES_MAX
        && text.bytes().all(plain)
        && text.starts_with(|mark: char| mark.is_ascii_alphanumeric())
}

/// JSON without white space between its parts: two texts that say the same in the same
/// order are then the same text. Numbers are never read, so that none is changed.
pub fn compact(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let (mut in_text, mut escaped) = (false, false);
    for mark in json.chars() {
        if in_text || !matches!(mark, ' ' | '\t' | '\n' | '\r') {
            out.push(mark);
        }
        in_text = in_text != (mark == '"' && !escaped);
        escaped = in_text && mark == '\\' && !escaped;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_goes_from_between_the_parts_and_stays_in_texts() {
        for (json, compacted) in [
            ("{ \"a\" : [1,\n 2 ] }", r#"{"a":[1,2]}"#),
            (r#"{"a b": " \" x ", "c": 1}"#, r#"{"a b":" \" x ","c":1}"#),
            (r#"["\\", " "]"#, r#"["\\"," "]"#),
            ("12345678901234567890.10", "12345678901234567890.10"),
            ("", ""),
        ] {
            assert_eq!(compact(json), compacted);
        }
    }

    #[test]
    fn a_name_can_stand_in_a_path_and_in_a_header() {
        for text in ["send_invite", "orders.pay", "a", "7", "order:7-b", &"x".repeat(128)] {
            assert!(is_name(text), "{text}");
        }
        for text in ["", ".", "..", "-x", ":x", "a/b", "a b", "a?b", "a\r\nX-Y: z", "é", "a%2f", &"x".repeat(129)] {
            assert!(!is_name(text), "{text}");
        }
    }
}
