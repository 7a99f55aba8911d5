//! A running container of Podman: its log is read to its end again and again, never followed. A request that follows is
//! given a few lines out of the middle, and no error, where the container ends at that moment.

use std::time::Duration;

use super::Error;
use super::reader::{Next, ROOM_POLL, Reader};
use super::reading::ReadEnd;
use crate::ingest::Flush;

/// Pause after a reading. Where that brought nothing, the pause of failed readings is added, which grows. No shorter than an
/// open group may be quiet.
const POLL: Duration = Duration::from_secs(1);

impl Reader {
    /// One reading. What it held back is a whole group where the one before came no further.
    pub(super) async fn poll(&mut self) -> Result<Next, Error> {
        self.unread = true;
        match self.read_to_end(None).await? {
            ReadEnd::Eof => {
                let read_end = Some(self.tracks.read_end());
                if std::mem::replace(&mut self.polled, read_end) == read_end {
                    self.tracks.feed_all(Flush::Group);
                    self.append_all().await?;
                }
                self.wait(POLL, Next::Look).await
            }
            ReadEnd::Full | ReadEnd::Overdue | ReadEnd::Doubtful => self.wait(ROOM_POLL, Next::Look).await,
            ReadEnd::Failed(error) => self.failed(error).await,
        }
    }
}
