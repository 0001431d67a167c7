//! Copying between two connected sockets, both ways, until both sides have said all. Reads and writes.
//!
//! An end of one side is passed on as an end, so half-closed connections work. A connection without data holds neither
//! buffer nor pipe: one is borrowed when bytes arrive and given back when they are written. Small messages go through a
//! buffer, which costs least; a direction whose reads fill the buffer again and again goes through a [`Pipe`] and is
//! not copied any more.

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    net::Shutdown,
    pin::{Pin, pin},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    task::{Context, Poll, ready},
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead as _, AsyncWrite as _, Interest, ReadBuf},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    task::yield_now,
    time::{Instant, Sleep, sleep},
};

use super::pipe::{self, Pipe};

/// Enough for a few packets; a larger one gains little and is held by every connection whose reader is slow.
const BUFFER: usize = 32 << 10;
/// Buffers that each thread keeps for the next use.
const SPARE: usize = 16;
/// Reads in a row that fill the buffer before a direction is spliced.
const BULK: u8 = 3;
/// A spliced piece smaller than this is cheaper to copy.
const SMALL: usize = 8 << 10;
/// Bytes that one direction moves before other connections get their turn.
const TURN: usize = 1 << 20;

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

/// Copies until the connection ends or `idle` passes without a byte in either direction. The caller closes both sockets
/// then.
pub(crate) async fn relay(
    client: &mut TcpStream,
    target: &mut TcpStream,
    received: Counters<'_>,
    sent: Counters<'_>,
    idle: Option<Duration>,
) -> End {
    let (client_reader, client_writer) = client.split();
    let (target_reader, target_writer) = target.split();
    let mut there = Direction::new(client_reader, target_writer, received);
    let mut back = Direction::new(target_reader, client_writer, sent);
    let mut silence = idle.map(Silence::new);
    poll_fn(|cx| {
        let before = (there.moved, back.moved);
        let there_ended = match there.poll(cx) {
            Poll::Ready(Err(_)) => return Poll::Ready(End::Broken),
            polled => polled.is_ready(),
        };
        let back_ended = match back.poll(cx) {
            Poll::Ready(Err(_)) => return Poll::Ready(End::Broken),
            polled => polled.is_ready(),
        };
        if there_ended && back_ended {
            return Poll::Ready(End::Closed);
        }
        match &mut silence {
            Some(silence) => silence
                .poll(cx, before != (there.moved, back.moved))
                .map(|()| End::Idle),
            None => Poll::Pending,
        }
    })
    .await
}

/// One direction of a connection.
struct Direction<'a> {
    from: ReadHalf<'a>,
    to: WriteHalf<'a>,
    counters: Counters<'a>,
    held: Held,
    /// Bytes that were written.
    moved: u64,
    /// Reads in a row that filled the buffer.
    full: u8,
    may_splice: bool,
    ended: bool,
}

/// What was read and not yet written.
enum Held {
    Nothing,
    Buffer {
        buffer: Buffer,
        start: usize,
        end: usize,
    },
    Pipe(Pipe),
}

impl<'a> Direction<'a> {
    fn new(from: ReadHalf<'a>, to: WriteHalf<'a>, counters: Counters<'a>) -> Self {
        Self {
            from,
            to,
            counters,
            held: Held::Nothing,
            moved: 0,
            full: 0,
            may_splice: true,
            ended: false,
        }
    }

    /// Copies until the source has said all, and tells the sink so.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let turn = self.moved + TURN as u64;
        while !self.ended {
            ready!(self.poll_write(cx))?;
            if self.moved >= turn {
                // Woken when the kernel was asked what others have to do.
                return pin!(yield_now()).poll(cx).map(Ok);
            }
            if ready!(self.poll_read(cx))? == 0 {
                self.ended = true;
                match SockRef::from(self.to.as_ref()).shutdown(Shutdown::Write) {
                    // The other side has gone altogether; reading from it says so.
                    Err(error) if error.kind() == io::ErrorKind::NotConnected => {}
                    result => result?,
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Writes all that is held.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let count = match &mut self.held {
                Held::Nothing => return Poll::Ready(Ok(())),
                Held::Buffer { buffer, start, end } => {
                    let rest = &buffer.0[*start..*end];
                    let count = ready!(Pin::new(&mut self.to).poll_write(cx, rest))?;
                    *start += count;
                    if start == end {
                        self.held = Held::Nothing;
                    }
                    count
                }
                Held::Pipe(pipe) => {
                    let to = self.to.as_ref();
                    ready!(to.poll_write_ready(cx))?;
                    match to.try_io(Interest::WRITABLE, || pipe.empty(to)) {
                        Ok(count) => {
                            if pipe.is_empty() {
                                self.held = Held::Nothing;
                            }
                            count
                        }
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                        Err(error) if pipe::is_refusal(&error) => {
                            self.may_splice = false;
                            let buffer = Buffer(pipe.take()?);
                            let (start, end) = (0, buffer.0.len());
                            self.held = Held::Buffer { buffer, start, end };
                            continue;
                        }
                        Err(error) => return Poll::Ready(Err(error)),
                    }
                }
            };
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.moved += count as u64;
            for counter in self.counters {
                counter.fetch_add(count as u64, Relaxed);
            }
        }
    }

    /// Reads a piece, which is held then; 0 when the source has said all.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        while self.may_splice && self.full >= BULK {
            let from = self.from.as_ref();
            ready!(from.poll_read_ready(cx))?;
            let Some(mut pipe) = Pipe::borrow() else {
                // Later, perhaps.
                self.full = 0;
                break;
            };
            match from.try_io(Interest::READABLE, || pipe.fill(from)) {
                Ok(count) => {
                    if count < SMALL {
                        self.full = 0;
                    }
                    if count > 0 {
                        self.held = Held::Pipe(pipe);
                    }
                    return Poll::Ready(Ok(count));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if pipe::is_refusal(&error) => self.may_splice = false,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        let mut buffer = Buffer::borrow();
        let mut bytes = ReadBuf::new(&mut buffer.0);
        ready!(Pin::new(&mut self.from).poll_read(cx, &mut bytes))?;
        let count = bytes.filled().len();
        if count == BUFFER {
            self.full = self.full.saturating_add(1);
        } else {
            self.full = 0;
        }
        if count > 0 {
            let (start, end) = (0, count);
            self.held = Held::Buffer { buffer, start, end };
        }
        Poll::Ready(Ok(count))
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

/// The end of a connection that is silent for too long.
struct Silence {
    allowed: Duration,
    last: Instant,
    end: Pin<Box<Sleep>>,
}

impl Silence {
    fn new(allowed: Duration) -> Self {
        Self {
            allowed,
            last: Instant::now(),
            end: Box::pin(sleep(allowed)),
        }
    }

    /// Ready when nothing moved for too long; `moved` tells whether something did just now.
    fn poll(&mut self, cx: &mut Context<'_>, moved: bool) -> Poll<()> {
        if moved {
            self.last = Instant::now();
        }
        // The timer is moved only when it fires: that costs more than looking at the clock.
        loop {
            ready!(self.end.as_mut().poll(cx));
            let end = self.last + self.allowed;
            if end <= Instant::now() {
                return Poll::Ready(());
            }
            self.end.as_mut().reset(end);
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
        // What came out of a pipe has another size.
        if buffer.len() != BUFFER {
            return;
        }
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
    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::{
        super::pipe::tests::{SHORTAGE, SPLICED, spares},
        *,
    };

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let near = TcpStream::connect(listener.local_addr().expect("bound"))
            .await
            .expect("a connection");
        (near, listener.accept().await.expect("a connection").0)
    }

    #[tokio::test]
    async fn bytes_and_ends_are_passed_on_both_ways() {
        let ((mut client, mut front), (mut back, mut server)) = (pair().await, pair().await);
        let counters: [AtomicU64; 2] = Default::default();
        let [received, sent] = &counters;
        let relayed = async {
            let end = relay(&mut front, &mut back, &[received; 3], &[sent; 3], None).await;
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

    /// Sends so much one way that it is bulk, lets the sink do something to its socket first, and returns how many
    /// bytes were spliced.
    async fn bulk(prepare: impl FnOnce(&TcpStream)) -> u64 {
        const SIZE: usize = 20 << 20;
        let ((mut client, mut front), (mut back, mut server)) = (pair().await, pair().await);
        prepare(&back);
        let before = SPLICED.get();
        let counters: [AtomicU64; 2] = Default::default();
        let [received, sent] = &counters;
        let relayed = async {
            let (received, sent) = (&[received; 3], &[sent; 3]);
            let end = relay(&mut front, &mut back, received, sent, None).await;
            drop((front, back));
            end
        };
        let clients = async {
            let bytes: Vec<u8> = (0..SIZE).map(|index| (index / 7) as u8).collect();
            client.write_all(&bytes).await.expect("written");
            client.shutdown().await.expect("half closed");
            let mut rest = Vec::new();
            client.read_to_end(&mut rest).await.expect("read");
            (bytes, rest)
        };
        let servers = async {
            // Until it reads, what comes first fills everything on the way.
            server.readable().await.expect("bytes");
            let mut bytes = Vec::new();
            server.read_to_end(&mut bytes).await.expect("read");
            server.write_all(b"thanks").await.expect("written");
            drop(server);
            bytes
        };
        let (end, (bytes, rest), got) = tokio::join!(relayed, clients, servers);
        assert_eq!((end, rest), (End::Closed, b"thanks".to_vec()));
        assert!(bytes == got, "the bytes are others");
        let moved = [received, sent].map(|counter| counter.load(Relaxed));
        assert_eq!(moved, [3 * SIZE as u64, 18]);
        SPLICED.get() - before
    }

    #[tokio::test]
    async fn bulk_is_spliced_and_small_messages_are_not() {
        let spliced = bulk(|_| ()).await;
        assert!(spliced > 10 << 20, "{spliced}");
        assert_eq!(spares(), 1, "a quiet connection holds no pipe");

        let before = SPLICED.get();
        let ((mut client, mut front), (mut back, mut server)) = (pair().await, pair().await);
        let count = AtomicU64::new(0);
        let counters = [&count; 3];
        let relayed = relay(&mut front, &mut back, &counters, &counters, None);
        let talk = async {
            let mut message = [0; 64];
            for _ in 0..100 {
                client.write_all(&message).await.expect("written");
                server.read_exact(&mut message).await.expect("read");
            }
            drop((client, server));
        };
        assert_eq!(tokio::join!(relayed, talk).0, End::Closed);
        assert_eq!(SPLICED.get(), before);
    }

    #[tokio::test]
    async fn without_a_pipe_bytes_are_copied() {
        SHORTAGE.set(true);
        assert_eq!(bulk(|_| ()).await, 0);
    }

    #[tokio::test]
    async fn a_socket_that_cannot_be_spliced_to_is_copied_to() {
        // The kernel splices to no file that is in append mode (splice(2), EINVAL).
        let append = |to: &TcpStream| {
            let flags = fcntl_getfl(to).expect("flags");
            fcntl_setfl(to, flags | OFlags::APPEND).expect("flags");
        };
        let spliced = bulk(append).await;
        assert!(
            (1..1 << 20).contains(&spliced),
            "{spliced}: it was tried once"
        );
    }

    #[tokio::test]
    async fn silence_ends_a_spliced_connection_too() {
        let ((mut client, mut front), (mut back, server)) = (pair().await, pair().await);
        let count = AtomicU64::new(0);
        let idle = Some(Duration::from_millis(200));
        let counters = [&count; 3];
        let relayed = relay(&mut front, &mut back, &counters, &counters, idle);
        let bytes = vec![7; 1 << 20];
        // The server never reads: at last nothing on the way has room, and that is silence.
        let filled = async { while client.write_all(&bytes).await.is_ok() {} };
        tokio::select! {
            end = relayed => assert_eq!(end, End::Idle),
            () = filled => panic!("it never has room"),
        }
        assert!(SPLICED.get() > 0);
        drop(server);
    }

    #[tokio::test]
    async fn silence_ends_a_connection_only_when_asked() {
        let ((client, mut front), (mut back, server)) = (pair().await, pair().await);
        let count = AtomicU64::new(0);
        let idle = Some(Duration::from_millis(50));
        assert_eq!(
            relay(&mut front, &mut back, &[&count; 3], &[&count; 3], idle).await,
            End::Idle
        );
        drop((client, server));
        assert_eq!(
            relay(&mut front, &mut back, &[&count; 3], &[&count; 3], None).await,
            End::Closed
        );
    }

    #[tokio::test]
    async fn a_reset_breaks_the_connection() {
        let ((client, mut front), (mut back, _server)) = (pair().await, pair().await);
        let count = AtomicU64::new(0);
        client.set_zero_linger().expect("an option");
        drop(client);
        assert_eq!(
            relay(&mut front, &mut back, &[&count; 3], &[&count; 3], None).await,
            End::Broken
        );
    }

    #[tokio::test]
    async fn a_reset_breaks_a_spliced_connection() {
        for from_server in [false, true] {
            let ((mut client, mut front), (mut back, mut server)) = (pair().await, pair().await);
            let count = AtomicU64::new(0);
            let counters = [&count; 3];
            let relayed = relay(&mut front, &mut back, &counters, &counters, None);
            let before = SPLICED.get();
            let broken = async {
                let (bytes, mut got) = (vec![7; 1 << 20], vec![0; 1 << 20]);
                while SPLICED.get() == before {
                    let (written, read) =
                        tokio::join!(client.write_all(&bytes), server.read_exact(&mut got));
                    written.expect("written");
                    read.expect("read");
                }
                let reset = if from_server { server } else { client };
                reset.set_zero_linger().expect("an option");
            };
            assert_eq!(
                tokio::join!(relayed, broken).0,
                End::Broken,
                "{from_server}"
            );
        }
    }
}
