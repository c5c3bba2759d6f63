//! Server-sent events, as far as hints need them: the name and data of each event, out
//! of bytes that come in any pieces.
//!
//! Holds at most one line and one event, both bounded. Comments (`: beat`) and fields
//! it does not know are passed over.

/// One line, and one event's data, may not be longer.
const LINE_BYTES_MAX: usize = 8 << 10;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// `message` when the stream gives none.
    pub name: String,
    pub data: String,
}

#[derive(Debug, PartialEq, Eq)]
pub struct TooLong;

#[derive(Default)]
pub struct Events {
    line: Vec<u8>,
    name: String,
    data: String,
    /// The last byte ended a line as CR; an LF right after belongs to it.
    after_return: bool,
}

impl Events {
    /// The events that `piece` completes.
    pub fn feed(&mut self, piece: &[u8]) -> Result<Vec<Event>, TooLong> {
        let mut complete = Vec::new();
        for &byte in piece {
            let paired = std::mem::take(&mut self.after_return) && byte == b'\n';
            match byte {
                _ if paired => {}
                b'\n' | b'\r' => {
                    self.after_return = byte == b'\r';
                    complete.extend(self.end_line()?);
                }
                _ if self.line.len() == LINE_BYTES_MAX => return Err(TooLong),
                _ => self.line.push(byte),
            }
        }
        Ok(complete)
    }

    fn end_line(&mut self) -> Result<Option<Event>, TooLong> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            let event = Event { name: std::mem::take(&mut self.name), data: std::mem::take(&mut self.data) };
            return Ok((!event.name.is_empty() || !event.data.is_empty()).then_some(event));
        }
        let line = String::from_utf8_lossy(&line);
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => self.name = value.to_owned(),
            "data" => {
                if self.data.len() + value.len() > LINE_BYTES_MAX {
                    return Err(TooLong);
                }
                if !self.data.is_empty() {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            _ => {}
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The events of a stream, the same in whatever pieces it comes.
    fn check(stream: &str, expected: &[(&str, &str)]) {
        for size in 1..=stream.len() {
            let mut events = Events::default();
            let pieces = stream.as_bytes().chunks(size);
            let got: Vec<Event> = pieces.flat_map(|piece| events.feed(piece).unwrap()).collect();
            let got: Vec<_> = got.iter().map(|event| (event.name.as_str(), event.data.as_str())).collect();
            assert_eq!(got, expected, "{stream:?} in pieces of {size}");
        }
    }

    #[test]
    fn events_are_read_in_any_pieces() {
        check("event: hint\ndata: 7\n\n", &[("hint", "7")]);
        check("event: hint\r\ndata: 7\r\n\r\nevent:hint\rdata:8\r\r", &[("hint", "7"), ("hint", "8")]);
        check(": beat\n\n: beat\n\n", &[]);
        check("data: a\ndata: b\n\n", &[("", "a\nb")]);
        check("id: 3\nretry: 5\nnonsense\nevent: hint\n\n", &[("hint", "")]);
        check("event: hint\ndata: 7\n", &[]);
    }

    #[test]
    fn a_line_without_end_is_cut_off_and_not_kept() {
        let mut events = Events::default();
        let fed = (0..100).find_map(|_| events.feed(&[b'x'; 1_000]).err());
        assert_eq!(fed, Some(TooLong));
        assert!(events.line.len() <= LINE_BYTES_MAX);
    }

    #[test]
    fn an_event_without_end_is_cut_off_too() {
        let mut events = Events::default();
        let fed = (0..100_000).find_map(|_| events.feed(b"data: yet another line\n").err());
        assert_eq!(fed, Some(TooLong));
    }
}
