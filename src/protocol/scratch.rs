//! Bytes that may be too many for memory: written once, then read once.
//!
//! Few of them stay in memory. From a bound on they lie in a file without a name, which
//! nobody else can open and which is gone when this is dropped or the process ends.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Cursor, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const MEMORY_BYTES_MAX: usize = 4 << 20;
const BUFFER_BYTES: usize = 64 << 10;

#[derive(Debug, Default)]
pub struct Scratch {
    memory: Vec<u8>,
    file: Option<BufWriter<File>>,
}

/// What was written, from its beginning.
#[derive(Debug)]
pub enum Written {
    Memory(Vec<u8>),
    File(File),
}

impl Scratch {
    pub fn finish(self) -> io::Result<Written> {
        match self.file {
            None => Ok(Written::Memory(self.memory)),
            Some(file) => {
                let mut file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
                file.seek(SeekFrom::Start(0))?;
                Ok(Written::File(file))
            }
        }
    }
}

impl Write for Scratch {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(file) = &mut self.file {
            return file.write(bytes);
        }
        if self.memory.len() + bytes.len() <= MEMORY_BYTES_MAX {
            return self.memory.write(bytes);
        }
        let mut file = BufWriter::with_capacity(BUFFER_BYTES, nameless()?);
        file.write_all(&std::mem::take(&mut self.memory))?;
        self.file.insert(file).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Written {
    pub fn reader(self) -> Box<dyn Read + Send> {
        match self {
            Written::Memory(bytes) => Box::new(Cursor::new(bytes)),
            Written::File(file) => Box::new(file),
        }
    }
}

/// A file that nobody else can open, on a disk where the system has a place for that:
/// `/tmp` is often memory.
pub fn nameless() -> io::Result<File> {
    let chosen = std::env::var_os("TMPDIR").map(PathBuf::from).filter(|folder| folder.is_dir());
    let usual = || Some(PathBuf::from("/var/tmp")).filter(|folder| folder.is_dir());
    let folder = chosen.or_else(usual).unwrap_or_else(std::env::temp_dir);
    made(&folder).or_else(|_| made(&std::env::temp_dir()))
}

fn made(folder: &Path) -> io::Result<File> {
    let path = folder.join(format!("homing-{}", uuid::Uuid::new_v4()));
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_wherever_it_lies() {
        for (bytes, in_memory) in [(0, true), (MEMORY_BYTES_MAX, true), (MEMORY_BYTES_MAX + 1, false)] {
            let sent: Vec<u8> = (0..bytes).map(|at| at as u8).collect();
            let mut scratch = Scratch::default();
            sent.chunks(1_000_003).for_each(|piece| scratch.write_all(piece).unwrap());
            let written = scratch.finish().unwrap();
            assert_eq!(matches!(written, Written::Memory(_)), in_memory, "{bytes}");
            let mut read = Vec::new();
            written.reader().read_to_end(&mut read).unwrap();
            assert!(read == sent, "{bytes}");
        }
    }
}
