//! What must hold of any bytes that an engine sends, and of any that stand in the log as a position.

use super::container::Descriptor;
use super::frame::{Damage, Decoder, Stream};
use super::position::Position;
use crate::record::Nanos;

type Owned = (Stream, Option<Nanos>, Vec<u8>);

/// The first byte says how it is read, the rest is the stream: in pieces and at once it gives the same entries.
pub fn docker_frames(data: &[u8]) {
    let Some((head, stream)) = data.split_first() else { return };
    let terminal = head & 1 == 1;
    let chunk = 1 + usize::from(head >> 1);
    let whole = read(terminal, stream, stream.len().max(1));
    let pieces = read(terminal, stream, chunk);
    assert_eq!(whole, pieces, "entries do not depend on how the bytes arrive");
}

fn read(terminal: bool, stream: &[u8], chunk: usize) -> (Vec<Owned>, Result<(), Damage>) {
    let (mut decoder, mut entries) = (Decoder::new(terminal), Vec::new());
    for piece in stream.chunks(chunk) {
        decoder.push(piece);
        loop {
            match decoder.next_entry() {
                Ok(Some(entry)) => entries.push((entry.stream, entry.time, entry.payload.to_vec())),
                Ok(None) => break,
                Err(damage) => return (entries, Err(damage)),
            }
        }
    }
    if let Some(entry) = decoder.last_entry() {
        entries.push((entry.stream, entry.time, entry.payload.to_vec()));
    }
    (entries, Ok(()))
}

/// What is understood is written as it was read.
pub fn positions(data: &[u8]) {
    if let Some(position) = Position::decode(data) {
        assert_eq!(Position::decode(&position.encode()), Some(position));
    }
    if let Some(descriptor) = Descriptor::decode(data) {
        assert_eq!(Descriptor::decode(&descriptor.encode()), Some(descriptor));
    }
}
