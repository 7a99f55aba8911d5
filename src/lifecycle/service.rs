//! What the service manager is told: ready, stopping, and that a stop goes on. Without one, nothing.

use std::convert::Infallible;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// How often a stop is looked at.
const LOOK: Duration = Duration::from_secs(5);

/// How long a stop may stand still before the service manager may end it: longer than any pause between two attempts.
const STILL_MAX: Duration = Duration::from_secs(60);

/// Tells systemd (`Type=notify`) one state, such as `READY=1`.
pub fn notify(state: &str) {
    let Some(address) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let bytes = address.as_encoded_bytes();
    let address = match bytes.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(std::path::Path::new(&address)),
    };
    let sent = address.and_then(|address| {
        let socket = UnixDatagram::unbound()?;
        socket.send_to_addr(state.as_bytes(), &address)
    });
    if let Err(error) = sent {
        tracing::warn!(%error, state, "the service manager cannot be told");
    }
}

/// Asks the service manager for more time, for a wait of `first` at least and from then on as long as `figures` change: a
/// stop that gets on may take longer than the unit's `TimeoutStopSec`, one that stands still may not. systemd never takes
/// time away for it. `tell`: [`notify`].
pub async fn extend_while_moving<T: PartialEq>(
    first: Duration,
    figures: impl Fn() -> T,
    tell: impl Fn(&str),
) -> Infallible {
    let extend = |time: Duration| tell(&format!("EXTEND_TIMEOUT_USEC={}", time.as_micros()));
    extend(first + STILL_MAX);
    let mut last = figures();
    loop {
        tokio::time::sleep(LOOK).await;
        let now = figures();
        if now != last {
            extend(STILL_MAX);
            last = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn time_is_asked_for_while_something_moves_and_no_longer() {
        let (told, delivered) = (RefCell::new(Vec::new()), Cell::new(0));
        let tell = |state: &str| told.borrow_mut().push(state.to_owned());
        let extending = extend_while_moving(Duration::from_secs(30), || delivered.get(), tell);
        let stop = async {
            for _ in 0..12 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                delivered.set(delivered.get() + 1);
            }
            tokio::time::sleep(Duration::from_secs(600)).await;
        };
        tokio::select! {
            never = extending => match never {},
            () = stop => {}
        }
        let (first, more) = ("EXTEND_TIMEOUT_USEC=90000000", "EXTEND_TIMEOUT_USEC=60000000");
        assert_eq!(*told.borrow(), [first, more, more, more], "12 seconds of progress, then none");
    }
}
