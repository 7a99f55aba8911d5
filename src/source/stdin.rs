//! Standard input as a source: read once to its end; what a crash interrupts cannot be read again.

use std::io::{self, Read};
use std::sync::Arc;

use crate::buffer::{Appender, OriginInfo};
use crate::ingest::{self, Flush, Ingest};
use crate::record::{Constants, Counters, OriginId, time};
use crate::source::{READ_BYTES, RunColumns};

/// Why standard input was not read to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("standard input: {0}")]
    Read(#[from] io::Error),
    #[error("the buffer has stopped")]
    BufferClosed,
}

/// Reads `input` to its end, on the thread that calls.
///
/// # Errors
/// [`Error`]; what was read before it is in the buffer.
pub fn read(
    mut input: impl Read,
    name: &str,
    options: Arc<ingest::Options>,
    run: &RunColumns,
    appender: &Appender,
) -> Result<(), Error> {
    let id = OriginId::random()?;
    let own = [("Source".to_owned(), name.to_owned()), ("Origin".to_owned(), id.to_string())];
    let constants = Constants::new(run.0.iter().cloned().chain(own));
    let info = OriginInfo { id, descriptor: b"{\"kind\":\"stdin\"}".to_vec(), constants: constants.members().to_vec() };
    let mut ingest = Ingest::new(options, Arc::new(info), constants, 0, Counters::default());
    let mut window = Vec::new();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let read = match input.read(&mut buffer) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        window.extend_from_slice(buffer.get(..read).unwrap_or_default());
        let flush = if read == 0 { Flush::All } else { Flush::No };
        loop {
            let fed = ingest.feed(&window, &time::now(), flush);
            window.drain(..fed.consumed);
            let ended = read == 0 && !fed.section_full;
            let position = ingest.position().to_le_bytes().to_vec();
            if let Some(section) = ingest.section(position, ended) {
                appender.append_blocking(section).map_err(|_| Error::BufferClosed)?;
            }
            if !fed.section_full {
                break;
            }
        }
        if read == 0 {
            return Ok(());
        }
    }
}
