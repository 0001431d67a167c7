//! As many bytes as go through, in one direction. Reads and Writes: loopback.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Instant,
};

use anyhow::{Context as _, Result, bail, ensure};

use super::{PATIENCE, Window, connect};
use crate::poll::{Poll, READ, WRITE};

/// What is read or written at once.
const BLOCK: usize = 256 * 1024;

/// Bytes per second from the source at `address` to this many connections.
///
/// # Errors
/// When a connection fails, or ends before its time.
pub fn download(address: SocketAddr, connections: usize, window: Window) -> Result<f64> {
    let mut poll = Poll::new()?;
    let mut streams = open(address, connections)?;
    for (token, stream) in streams.iter_mut().enumerate() {
        stream.write_all(b"x")?;
        poll.add(&*stream, token, READ)?;
    }
    let mut block = vec![0; BLOCK];
    let (begin, end) = window.starting_now();
    let mut counted = 0;
    let mut now = Instant::now();
    while now < end {
        let mut arrived = 0;
        let mut some = false;
        for (token, _) in poll.wait(PATIENCE)? {
            some = true;
            match streams[token].read(&mut block) {
                Ok(0) => bail!("{address} closed a connection that was being read"),
                Ok(length) => arrived += length as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).context("a connection broke while it was read"),
            }
        }
        ensure!(some, "nothing came from {address} for {PATIENCE:?}");
        now = Instant::now();
        if now >= begin {
            counted += arrived;
        }
    }
    Ok(counted as f64 / (now - begin).as_secs_f64())
}

/// Bytes per second from this many connections to the sink at `address`, until the last one is there.
///
/// # Errors
/// When a connection fails, or the sink got another number of bytes than were sent.
pub fn upload(address: SocketAddr, connections: usize, window: Window) -> Result<f64> {
    let mut poll = Poll::new()?;
    let mut streams = open(address, connections)?;
    for (token, stream) in streams.iter().enumerate() {
        poll.add(stream, token, WRITE)?;
    }
    let block = vec![0; BLOCK];
    let begin = Instant::now();
    let mut sent = 0;
    while begin.elapsed() < window.measured {
        let mut some = false;
        for (token, _) in poll.wait(PATIENCE)? {
            some = true;
            match streams[token].write(&block) {
                Ok(length) => sent += length as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).context("a connection broke while it was written"),
            }
        }
        ensure!(some, "{address} took nothing for {PATIENCE:?}");
    }
    for stream in &streams {
        stream.set_nonblocking(false)?;
        stream.shutdown(Shutdown::Write)?;
    }
    let mut received = 0;
    for stream in &mut streams {
        let mut count = [0; 8];
        stream
            .read_exact(&mut count)
            .context("the sink did not tell what it got")?;
        received += u64::from_be_bytes(count);
    }
    let took = begin.elapsed();
    ensure!(
        received == sent,
        "{sent} bytes were sent through {address} and {received} arrived"
    );
    Ok(received as f64 / took.as_secs_f64())
}

fn open(address: SocketAddr, connections: usize) -> Result<Vec<TcpStream>> {
    (0..connections)
        .map(|_| {
            let stream = connect(address)?;
            stream.set_nonblocking(true)?;
            Ok(stream)
        })
        .collect()
}
