//! The body of an answer as it comes, for who takes it bit by bit and holds little of it.
//!
//! Bounded like `answer`: no silence longer than the timeout, no trickle, and no more
//! than the caller allows, in all and between two of its marks. What broke on the way is
//! kept as a fault, since a reader can only say that it could not go on.

use std::cell::{Cell, RefCell};
use std::io::{Error, ErrorKind, Read};
use std::rc::Rc;
use std::time::Instant;

use bytes::{Buf, Bytes};
use reqwest::Response;
use tokio::runtime::Handle;

use super::{Connection, Line, fault};
use crate::model::Fault;

/// The slowest line that is still waited for.
const DOWN_BYTES_PER_SECOND_MIN: u64 = 1 << 10;

/// How much of a body was read since it was last set to nothing.
pub type Meter = Rc<Cell<u64>>;

/// A body that is read from the replica's own thread.
pub struct Body<'a> {
    reader: Box<dyn Read + 'a>,
    meter: Meter,
    /// Bytes between two marks.
    part_max: u64,
    read: u64,
    bytes_max: u64,
    trouble: Rc<RefCell<Option<Fault>>>,
    host: &'a str,
}

impl Connection {
    /// The body of `response`: at most `bytes_max` of it unpacked, at most `part_max`
    /// between two times that the meter is set to nothing.
    pub fn reader<'a>(
        &'a self,
        runtime: &'a Handle,
        response: Response,
        bytes_max: u64,
        part_max: u64,
    ) -> Result<Body<'a>, Fault> {
        let packing = self.packing(&response)?;
        let trouble = Rc::new(RefCell::new(None));
        let wire = Wire {
            connection: self,
            runtime,
            line: self.line(),
            response,
            piece: Bytes::new(),
            received: 0,
            began: Instant::now(),
            trouble: trouble.clone(),
        };
        let reader = packing.reader(wire).map_err(|_| fault::rubbish(self.host(), "packed wrongly"))?;
        Ok(Body { reader, meter: Meter::default(), part_max, read: 0, bytes_max, trouble, host: self.host() })
    }
}

impl Body<'_> {
    pub fn meter(&self) -> Meter {
        self.meter.clone()
    }

    /// What broke on the way, if something did.
    pub fn trouble(&self) -> Rc<RefCell<Option<Fault>>> {
        self.trouble.clone()
    }

    fn refuse(&self, fault: Fault) -> Error {
        self.trouble.borrow_mut().get_or_insert(fault);
        Error::other("the answer could not be read further")
    }
}

impl Read for Body<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let count = match self.reader.read(out) {
            Ok(count) => count,
            // What broke on the way said so; else it is the packing.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                return Err(self.refuse(fault::broken_off(self.host, self.read as usize)));
            }
            Err(_) => return Err(self.refuse(fault::rubbish(self.host, "packed wrongly"))),
        };
        self.meter.set(self.meter.get() + count as u64);
        self.read += count as u64;
        if self.read > self.bytes_max || self.meter.get() > self.part_max {
            return Err(
                self.refuse(fault::rubbish(self.host, "it, or one part of it, is larger than anything should be"))
            );
        }
        Ok(count)
    }
}

/// The bytes of the connection.
struct Wire<'a> {
    connection: &'a Connection,
    runtime: &'a Handle,
    line: Line,
    response: Response,
    piece: Bytes,
    received: u64,
    began: Instant,
    trouble: Rc<RefCell<Option<Fault>>>,
}

impl Wire<'_> {
    fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        let (connection, response, received) = (self.connection, &mut self.response, self.received as usize);
        let line = &mut self.line;
        let piece = self.runtime.block_on(async {
            tokio::select! {
                biased;
                fault = line.cut(connection.host()) => Err(fault),
                piece = connection.piece(response, received) => piece,
            }
        })?;
        if let Some(piece) = &piece {
            connection.count(0, piece.len());
            self.received += piece.len() as u64;
            let elapsed = self.began.elapsed();
            if elapsed > connection.timeout() && self.received < elapsed.as_secs() * DOWN_BYTES_PER_SECOND_MIN {
                return Err(fault::timeout(connection.host(), elapsed, "only trickled"));
            }
        }
        Ok(piece)
    }
}

impl Read for Wire<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        while self.piece.is_empty() {
            match self.next() {
                Ok(Some(piece)) => self.piece = piece,
                Ok(None) => return Ok(0),
                Err(fault) => {
                    *self.trouble.borrow_mut() = Some(fault);
                    return Err(Error::other("the connection broke"));
                }
            }
        }
        let count = out.len().min(self.piece.len());
        self.piece.split_to(count).copy_to_slice(&mut out[..count]);
        Ok(count)
    }
}
