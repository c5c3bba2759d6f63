//! The way from a device to its hub, with everything that can happen on it.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// What the road does with a connection that begins now.
#[derive(Clone)]
pub enum Mode {
    /// Carries bytes both ways.
    Open(String),
    /// Closes it without a word.
    Cut,
    /// Answers every request with these bytes, and closes.
    Answer(Vec<u8>),
    /// Carries requests whose path has this word, and holds back what is answered to
    /// them until the mode is another.
    Hold(String, &'static str),
}

pub struct Road {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    mode: Mutex<Mode>,
    changed: Condvar,
    held: AtomicU64,
    over: AtomicBool,
    streams: Mutex<Vec<TcpStream>>,
}

/// An answer as bytes.
pub fn http(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
        .into_bytes()
}

impl Road {
    pub fn to(address: &str) -> Road {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let shared = Arc::new(Shared {
            mode: Mutex::new(Mode::Open(address.to_owned())),
            changed: Condvar::new(),
            held: AtomicU64::new(0),
            over: AtomicBool::new(false),
            streams: Mutex::new(Vec::new()),
        });
        let road = Road { address: listener.local_addr().unwrap(), shared: shared.clone() };
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.over.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(stream), shared) = (stream, shared.clone()) else { continue };
                std::thread::spawn(move || shared.serve(stream));
            }
        });
        road
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on; connections that are open end.
    pub fn set(&self, mode: Mode) {
        *self.shared.mode.lock().unwrap() = mode;
        self.shared.cut();
        self.shared.changed.notify_all();
    }

    /// Lets go what was held back; connections stay.
    pub fn let_go(&self, address: &str) {
        *self.shared.mode.lock().unwrap() = Mode::Open(address.to_owned());
        self.shared.changed.notify_all();
    }

    /// Answers held back so far.
    pub fn held(&self) -> u64 {
        self.shared.held.load(Ordering::SeqCst)
    }
}

impl Drop for Road {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        self.set(Mode::Cut);
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream) {
        let mode = self.mode.lock().unwrap().clone();
        match mode {
            Mode::Cut => {}
            Mode::Open(address) => self.carry(stream, &address, None),
            Mode::Hold(address, word) => self.carry(stream, &address, Some(word)),
            Mode::Answer(bytes) => {
                // Something of the request first: an answer before it is no answer.
                let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(&bytes);
                let _ = stream.shutdown(Shutdown::Write);
                while stream.read(&mut [0; 4096]).is_ok_and(|count| count > 0) {}
            }
        }
    }

    fn carry(&self, from: TcpStream, address: &str, hold: Option<&str>) {
        let Ok(to) = TcpStream::connect(address) else { return };
        self.streams.lock().unwrap().extend([from.try_clone().unwrap(), to.try_clone().unwrap()]);
        let (mut up, mut down) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        let marked = Arc::new(AtomicBool::new(false));
        let mark = marked.clone();
        let word = hold.map(|word| format!("/{word} ").into_bytes());
        std::thread::spawn(move || {
            let mut buffer = [0; 16 << 10];
            while let Ok(count) = up.read(&mut buffer) {
                if word.as_ref().is_some_and(|word| buffer[..count].windows(word.len()).any(|part| part == *word)) {
                    mark.store(true, Ordering::SeqCst);
                }
                if count == 0 || down.write_all(&buffer[..count]).is_err() {
                    break;
                }
            }
            let _ = down.shutdown(Shutdown::Both);
        });
        let (mut up, mut down) = (to, from);
        let mut buffer = [0; 16 << 10];
        while let Ok(count) = up.read(&mut buffer) {
            if marked.swap(false, Ordering::SeqCst) {
                self.held.fetch_add(1, Ordering::SeqCst);
                let mode = self.mode.lock().unwrap();
                let _mode = self.changed.wait_while(mode, |mode| matches!(mode, Mode::Hold(..))).unwrap();
            }
            if count == 0 || down.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _ = down.shutdown(Shutdown::Both);
    }

    fn cut(&self) {
        for stream in self.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}
