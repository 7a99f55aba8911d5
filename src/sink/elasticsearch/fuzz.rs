//! What must hold of any bytes that a server answers.

use super::answer;
use crate::sink::ItemAnswer;

/// The first byte says how many records were sent: an answer that is understood has an item for each, and the short way
/// of reading it says what the long one says.
pub fn bulk_answers(data: &[u8]) {
    let Some((sent, body)) = data.split_first() else { return };
    let sent = usize::from(*sent);
    let read = answer::read(body, sent);
    if let Ok(answer) = &read {
        assert_eq!(answer.items.len(), sent);
    }
    if let Some(short) = answer::read_all_stored(body, sent) {
        let long = read.expect("what is read the short way can be read the long way");
        let stored = |item: &ItemAnswer| (200..300).contains(&item.status);
        assert!(long.items.iter().all(stored), "{:?}", String::from_utf8_lossy(body));
        assert_eq!(short.index, long.index);
    }
}
