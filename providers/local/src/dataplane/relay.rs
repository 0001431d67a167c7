//! Copying between two connected sockets, both ways, until both sides have said all. Reads and writes.
//!
//! An end of one side is passed on as an end, so half-closed connections work. A connection without data holds no
//! buffer: one is borrowed when bytes arrive and given back when they are written. [`relay`] is all the rest of the
//! data plane knows, so another way of copying can take its place.

use std::{
    cell::RefCell,
    io,
    net::Shutdown,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    net::TcpStream,
    task::coop::consume_budget,
    time::{Instant, sleep_until},
};

/// Enough for a few packets; a larger one gains little and is held by every connection whose reader is slow.
const BUFFER: usize = 32 << 10;
/// Buffers that each thread keeps for the next use.
const SPARE: usize = 16;

thread_local! {
    static SPARES: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// Where the bytes of one direction are counted.
pub(crate) type Counters<'a> = &'a [&'a AtomicU64];

/// How copying ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Both sides closed in good order.
    Closed,
    /// One side broke off.
    Broken,
    /// Nothing came for as long as was allowed.
    Idle,
    /// Its target was removed, and its time to drain has passed.
    Drained,
}

/// Copies until the connection ends or `idle` passes without a byte in either direction.
pub(crate) async fn relay(
    client: &TcpStream,
    target: &TcpStream,
    received: Counters<'_>,
    sent: Counters<'_>,
    idle: Option<Duration>,
) -> End {
    let activity = Activity::new();
    let both = async {
        let there = copy(client, target, received, &activity);
        let back = copy(target, client, sent, &activity);
        match tokio::try_join!(there, back) {
            Ok(_) => End::Closed,
            Err(_) => End::Broken,
        }
    };
    match idle {
        None => both.await,
        Some(idle) => tokio::select! {
            end = both => end,
            () = activity.idle_for(idle) => End::Idle,
        },
    }
}

/// Copies one direction until its source has said all, and tells the sink so.
async fn copy(
    from: &TcpStream,
    to: &TcpStream,
    counters: Counters<'_>,
    activity: &Activity,
) -> io::Result<()> {
    loop {
        // Both sockets of a busy connection may be ready again and again; other connections must get their turn.
        consume_budget().await;
        from.readable().await?;
        let mut buffer = Buffer::borrow();
        let count = match from.try_read(&mut buffer.0) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        };
        activity.now();
        write_all(to, &buffer.0[..count]).await?;
        activity.now();
        for counter in counters {
            counter.fetch_add(count as u64, Relaxed);
        }
    }
    match SockRef::from(to).shutdown(Shutdown::Write) {
        // The other side has gone altogether; reading from it says so.
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
        result => result,
    }
}

/// Writes everything.
pub(crate) async fn write_all(to: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match to.try_write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => to.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// When a byte last went through, in milliseconds since the start.
struct Activity {
    start: Instant,
    last: AtomicU64,
}

impl Activity {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            last: AtomicU64::new(0),
        }
    }

    fn now(&self) {
        let since = self.start.elapsed().as_millis();
        self.last
            .store(u64::try_from(since).unwrap_or(u64::MAX), Relaxed);
    }

    async fn idle_for(&self, idle: Duration) {
        loop {
            let last = self.start + Duration::from_millis(self.last.load(Relaxed));
            if last.elapsed() >= idle {
                return;
            }
            sleep_until(last + idle).await;
        }
    }
}

struct Buffer(Box<[u8]>);

impl Buffer {
    fn borrow() -> Self {
        let spare = SPARES.with_borrow_mut(Vec::pop);
        Self(spare.unwrap_or_else(|| vec![0; BUFFER].into_boxed_slice()))
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.0);
        // A thread that ends has no place to keep it.
        let _ = SPARES.try_with(|spares| {
            let mut spares = spares.borrow_mut();
            if spares.len() < SPARE {
                spares.push(buffer);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let near = TcpStream::connect(listener.local_addr().expect("bound"))
            .await
            .expect("a connection");
        (near, listener.accept().await.expect("a connection").0)
    }

    #[tokio::test]
    async fn bytes_and_ends_are_passed_on_both_ways() {
        let ((mut client, front), (back, mut server)) = (pair().await, pair().await);
        let counters: [AtomicU64; 2] = Default::default();
        let [received, sent] = &counters;
        let relayed = async {
            let end = relay(&front, &back, &[received; 3], &[sent; 3], None).await;
            drop((front, back));
            end
        };
        let clients = async {
            let question = vec![7; 3_000_000];
            client.write_all(&question).await.expect("written");
            client.shutdown().await.expect("half closed");
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.expect("read");
            assert_eq!(answer, b"got 3000000");
        };
        let servers = async {
            let mut question = Vec::new();
            server.read_to_end(&mut question).await.expect("read");
            server
                .write_all(format!("got {}", question.len()).as_bytes())
                .await
                .expect("written");
            drop(server);
        };
        let (end, (), ()) = tokio::join!(relayed, clients, servers);
        assert_eq!(end, End::Closed);
        // Each direction has three counters, which are one here.
        assert_eq!(
            (received.load(Relaxed), sent.load(Relaxed)),
            (9_000_000, 33)
        );
    }

    #[tokio::test]
    async fn silence_ends_a_connection_only_when_asked() {
        let ((client, front), (back, server)) = (pair().await, pair().await);
        let count = AtomicU64::new(0);
        let idle = Some(Duration::from_millis(50));
        assert_eq!(
            relay(&front, &back, &[&count; 3], &[&count; 3], idle).await,
            End::Idle
        );
        drop((client, server));
        assert_eq!(
            relay(&front, &back, &[&count; 3], &[&count; 3], None).await,
            End::Closed
        );
    }

    #[tokio::test]
    async fn a_reset_breaks_the_connection() {
        let ((client, front), (back, _server)) = (pair().await, pair().await);
        let count = AtomicU64::new(0);
        client.set_zero_linger().expect("an option");
        drop(client);
        assert_eq!(
            relay(&front, &back, &[&count; 3], &[&count; 3], None).await,
            End::Broken
        );
    }
}
