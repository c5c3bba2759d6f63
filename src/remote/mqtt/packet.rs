//! The few packets of MQTT 3.1.1 that a client needs which hears hints and gives them:
//! no message is ever sent twice or waited for (quality of service 0).
//!
//! Pure: bytes in, packets out. Whatever comes, no more than `KEPT_BYTES_MAX` of a packet
//! is held; the rest of it is let go by, and a packet above `PACKET_BYTES_MAX` is refused
//! before it comes. What is not MQTT is refused at its first wrong byte.

/// What is kept of a message; a hint is short.
pub const KEPT_BYTES_MAX: usize = 4 << 10;
/// The largest packet that is let go by.
pub const PACKET_BYTES_MAX: usize = 1 << 20;

/// The one number that a subscription of this client has.
const SUBSCRIPTION: u16 = 1;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// 0: welcome; else why not.
    Connected(u8),
    /// Whether the broker lets this client hear the topic.
    Subscribed(bool),
    /// The beginning of what was said.
    Message(Vec<u8>),
    Pong,
}

/// Why bytes are no packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rubbish {
    NotMqtt,
    TooLarge(usize),
}

/// Who connects.
pub struct Hello<'a> {
    pub client: &'a str,
    pub user: Option<&'a str>,
    pub password: Option<&'a str>,
    /// The broker hangs up after one and a half of these without a word.
    pub silence_seconds_max: u16,
}

pub fn connect(hello: &Hello) -> Vec<u8> {
    const CLEAN: u8 = 0x02;
    const PASSWORD: u8 = 0x40;
    const USER: u8 = 0x80;
    let user = if hello.user.is_some() { USER } else { 0 };
    let password = if hello.password.is_some() { PASSWORD } else { 0 };
    let mut body = Vec::new();
    put_text(&mut body, "MQTT");
    body.extend([4, CLEAN | user | password]);
    body.extend(hello.silence_seconds_max.to_be_bytes());
    for text in [Some(hello.client), hello.user, hello.password].into_iter().flatten() {
        put_text(&mut body, text);
    }
    packet(0x10, &body)
}

pub fn subscribe(topic: &str) -> Vec<u8> {
    let mut body = SUBSCRIPTION.to_be_bytes().to_vec();
    put_text(&mut body, topic);
    body.push(0);
    packet(0x82, &body)
}

pub fn publish(topic: &str, message: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    put_text(&mut body, topic);
    body.extend(message);
    packet(0x30, &body)
}

pub fn ping() -> Vec<u8> {
    packet(0xC0, &[])
}

/// Whether a text can be a topic that is published on.
pub fn is_topic(text: &str) -> bool {
    !text.is_empty() && text.len() <= usize::from(u16::MAX) && !text.contains(['+', '#', '\0'])
}

fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![kind];
    let mut left = body.len();
    loop {
        let more = if left > 0x7f { 0x80 } else { 0 };
        out.push((left & 0x7f) as u8 | more);
        left >>= 7;
        if left == 0 {
            break;
        }
    }
    out.extend(body);
    out
}

/// Texts of this client are names and passwords: what does not fit is cut, and the broker
/// then refuses it.
fn put_text(out: &mut Vec<u8>, text: &str) {
    let bytes = &text.as_bytes()[..text.len().min(usize::from(u16::MAX))];
    out.extend((bytes.len() as u16).to_be_bytes());
    out.extend(bytes);
}

/// Takes bytes as they come and finds the packets in them.
#[derive(Debug, Default)]
pub struct Packets {
    /// Of the packet under way: its header, then its body.
    begun: Vec<u8>,
    /// Bytes of it that are let go by.
    skipping: usize,
}

impl Packets {
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<Vec<Packet>, Rubbish> {
        let mut found = Vec::new();
        while !bytes.is_empty() {
            let skipped = self.skipping.min(bytes.len());
            (self.skipping, bytes) = (self.skipping - skipped, &bytes[skipped..]);
            let Some((first, rest)) = bytes.split_first() else { break };
            self.begun.push(*first);
            bytes = rest;
            let Some((header, length)) = self.header()? else { continue };
            let wanted = header + length.min(KEPT_BYTES_MAX);
            let taken = (wanted - self.begun.len()).min(bytes.len());
            self.begun.extend(&bytes[..taken]);
            bytes = &bytes[taken..];
            if self.begun.len() == wanted {
                self.skipping = length - length.min(KEPT_BYTES_MAX);
                let whole = std::mem::take(&mut self.begun);
                found.push(read(whole[0], &whole[header..])?);
            }
        }
        Ok(found)
    }

    /// Bytes of the header and of the body, once the header is there.
    fn header(&self) -> Result<Option<(usize, usize)>, Rubbish> {
        if !matches!(self.begun[0], 0x20 | 0x90 | 0xD0 | 0x30..=0x3F) {
            return Err(Rubbish::NotMqtt);
        }
        let mut length = 0;
        for (at, byte) in self.begun[1..].iter().enumerate().take(4) {
            length |= usize::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                let too_large = length > PACKET_BYTES_MAX;
                return if too_large { Err(Rubbish::TooLarge(length)) } else { Ok(Some((at + 2, length))) };
            }
        }
        if self.begun.len() > 4 { Err(Rubbish::NotMqtt) } else { Ok(None) }
    }
}

fn read(kind: u8, body: &[u8]) -> Result<Packet, Rubbish> {
    match (kind, body) {
        (0x20, [_, code]) => Ok(Packet::Connected(*code)),
        (0x90, [_, _, code]) => Ok(Packet::Subscribed(*code != 0x80)),
        (0xD0, []) => Ok(Packet::Pong),
        (0x30..=0x3F, [high, low, rest @ ..]) => {
            let topic = usize::from(u16::from_be_bytes([*high, *low]));
            // Above quality 0 a number follows; nothing of that kind was asked for.
            let number = if kind & 0x06 == 0 { 0 } else { 2 };
            let message = rest.get(topic + number..).ok_or(Rubbish::NotMqtt)?;
            Ok(Packet::Message(message.to_vec()))
        }
        _ => Err(Rubbish::NotMqtt),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_written_as_the_standard_has_them() {
        let hello = Hello { client: "me", user: Some("ada"), password: Some("pw"), silence_seconds_max: 60 };
        assert_eq!(connect(&hello), b"\x10\x17\x00\x04MQTT\x04\xc2\x00\x3c\x00\x02me\x00\x03ada\x00\x02pw");
        let hello = Hello { user: None, password: None, ..hello };
        assert_eq!(connect(&hello), b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02me");
        assert_eq!(subscribe("a/b"), b"\x82\x08\x00\x01\x00\x03a/b\x00");
        assert_eq!(publish("a/b", b"hi"), b"\x30\x07\x00\x03a/bhi");
        assert_eq!(ping(), b"\xc0\x00");
        assert_eq!(publish("t", &[7; 200])[..3], [0x30, 0xCB, 0x01]);
    }

    #[test]
    fn packets_are_found_however_the_bytes_are_cut() {
        let mut bytes = b"\x20\x02\x00\x05\x90\x03\x00\x01\x80\x90\x03\x00\x01\x00\xd0\x00".to_vec();
        bytes.extend(publish("a/b", b"hi"));
        bytes.extend(b"\x32\x06\x00\x01t\x00\x07!");
        bytes.extend(publish("big", &vec![b'x'; 300_000]));
        bytes.extend(publish("t", b""));
        let mut kept = vec![b'x'; KEPT_BYTES_MAX - 5];
        let expected = vec![
            Packet::Connected(5),
            Packet::Subscribed(false),
            Packet::Subscribed(true),
            Packet::Pong,
            Packet::Message(b"hi".to_vec()),
            Packet::Message(b"!".to_vec()),
            Packet::Message(std::mem::take(&mut kept)),
            Packet::Message(Vec::new()),
        ];
        for size in [1, 2, 3, 7, 1_000, usize::MAX] {
            let mut packets = Packets::default();
            let mut found = Vec::new();
            for piece in bytes.chunks(size.min(bytes.len())) {
                found.extend(packets.feed(piece).unwrap());
                assert!(packets.begun.capacity() <= 4 * KEPT_BYTES_MAX, "{}", packets.begun.capacity());
            }
            assert_eq!(found, expected, "pieces of {size}");
        }
    }

    #[test]
    fn what_is_no_mqtt_or_too_large_is_refused() {
        for bytes in [
            &b"HTTP/1.1 400 Bad Request\r\n"[..],
            b"\x10\x00",
            b"\x20\x03\x00\x00\x00",
            b"\xd0\x01x",
            b"\x30\xff\xff\xff\xff\x01",
            b"\x30\x03\x00\x09a",
            b"\x30\x01a",
        ] {
            assert_eq!(Packets::default().feed(bytes), Err(Rubbish::NotMqtt), "{bytes:?}");
        }
        let hundred_mib = b"\x30\x80\x80\x80\x32";
        assert_eq!(Packets::default().feed(hundred_mib), Err(Rubbish::TooLarge(100 << 20)));
    }
}
