//! What must hold of any bytes that stand in the log as the position of a file.

use super::position::{Descriptor, Position};

/// What is understood is written as it was read.
pub fn positions(data: &[u8]) {
    if let Some(position) = Position::decode(data) {
        assert_eq!(Position::decode(&position.encode()), Some(position));
    }
    if let Some(descriptor) = Descriptor::decode(data) {
        assert_eq!(Descriptor::decode(&descriptor.encode()), Some(descriptor));
    }
}
