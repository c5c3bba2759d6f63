//! Lines from a peer that may send anything: never more than `line_bytes_max` is held.
//!
//! `next` can be dropped at any await and called again; nothing that was read is lost.

use tokio::io::{AsyncRead, AsyncReadExt};

#[derive(Debug)]
pub enum LineError {
    TooLong,
    Io,
}

pub struct Lines<R> {
    pub from: R,
    buffer: Vec<u8>,
    /// Bytes at the front of `buffer` known to hold no newline.
    scanned: usize,
    line_bytes_max: usize,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub fn new(from: R, line_bytes_max: usize) -> Lines<R> {
        Lines { from, buffer: Vec::new(), scanned: 0, line_bytes_max }
    }

    /// The next line without its end; `None` when the peer sends no more. What follows
    /// the last newline is a line too, since a script may well forget to end it.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, LineError> {
        loop {
            if let Some(at) = self.buffer[self.scanned..].iter().position(|byte| *byte == b'\n') {
                return self.take(self.scanned + at).map(Some);
            }
            self.scanned = self.buffer.len();
            if self.scanned > self.line_bytes_max {
                return Err(LineError::TooLong);
            }
            if self.from.read_buf(&mut self.buffer).await.map_err(|_| LineError::Io)? == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { self.take(self.buffer.len()).map(Some) };
            }
        }
    }

    /// So many bytes as they come, lines or not.
    pub async fn exactly(&mut self, bytes: usize) -> Result<Vec<u8>, LineError> {
        while self.buffer.len() < bytes {
            if self.from.read_buf(&mut self.buffer).await.map_err(|_| LineError::Io)? == 0 {
                return Err(LineError::Io);
            }
        }
        let rest = self.buffer.split_off(bytes);
        self.scanned = 0;
        Ok(std::mem::replace(&mut self.buffer, rest))
    }

    fn take(&mut self, end: usize) -> Result<Vec<u8>, LineError> {
        if end > self.line_bytes_max {
            return Err(LineError::TooLong);
        }
        let rest = self.buffer.split_off((end + 1).min(self.buffer.len()));
        let mut line = std::mem::replace(&mut self.buffer, rest);
        line.truncate(end);
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        self.scanned = 0;
        Ok(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(input: &[u8], max: usize) -> (Vec<String>, bool) {
        let mut lines = Lines::new(input, max);
        let mut out = Vec::new();
        loop {
            match lines.next().await {
                Ok(Some(line)) => out.push(String::from_utf8(line).unwrap()),
                Ok(None) => return (out, true),
                Err(_) => return (out, false),
            }
        }
    }

    #[tokio::test]
    async fn lines_end_at_newlines_and_at_the_end() {
        let owned = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        assert_eq!(all(b"a\r\n\nbc", 4).await, (owned(&["a", "", "bc"]), true));
        assert_eq!(all(b"abcd\n", 4).await, (owned(&["abcd"]), true));
        assert_eq!(all(b"a\nabcde\n", 4).await, (owned(&["a"]), false));
        assert_eq!(all(&[b'x'; 100], 4).await, (owned(&[]), false));
    }
}
