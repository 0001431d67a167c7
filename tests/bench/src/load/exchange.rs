//! Small messages there and back on open connections. Reads and Writes: loopback.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::SocketAddr,
    time::Instant,
};

use anyhow::{Context as _, Result, bail, ensure};

use super::{MESSAGE, PATIENCE, Window, connect};
use crate::{
    poll::{Poll, READ},
    ratio::percentile,
};

/// What small messages measured.
#[derive(Clone, Copy, Debug)]
pub struct RoundTrips {
    /// How many were answered.
    pub count: usize,
    /// Per second, of all connections together.
    pub per_second: f64,
    /// Median time of one, in microseconds.
    pub p50: f64,
    /// The time within which 99 of 100 were answered, in microseconds.
    pub p99: f64,
}

/// Sends a message on each of this many connections, again as soon as its answer is there.
///
/// # Errors
/// When a connection fails, or an answer is not what was sent.
pub fn round_trips(address: SocketAddr, connections: usize, window: Window) -> Result<RoundTrips> {
    let mut poll = Poll::new()?;
    let mut streams = Vec::new();
    for token in 0..connections {
        let stream = connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        poll.add(&stream, token, READ)?;
        streams.push(stream);
    }
    let (begin, end) = window.starting_now();
    let message = [0x5a; MESSAGE];
    let mut answer = [0; MESSAGE];
    let mut sent = Vec::new();
    for stream in &mut streams {
        sent.push((Instant::now(), 0));
        stream.write_all(&message)?;
    }
    let mut nanoseconds = Vec::with_capacity(1 << 20);
    let mut last = begin;
    while last < end {
        let mut some = false;
        for (token, _) in poll.wait(PATIENCE)? {
            some = true;
            let (at, got) = &mut sent[token];
            match streams[token].read(&mut answer[*got..]) {
                Ok(0) => bail!("{address} closed a connection that waited for an answer"),
                Ok(length) => *got += length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => {
                    return Err(error).context("a connection broke that waited for an answer");
                }
            }
            if *got < MESSAGE {
                continue;
            }
            ensure!(answer == message, "{address} answered with other bytes");
            last = Instant::now();
            if last >= begin {
                nanoseconds.push(u32::try_from((last - *at).as_nanos()).unwrap_or(u32::MAX));
            }
            (*at, *got) = (last, 0);
            streams[token].write_all(&message)?;
        }
        ensure!(some, "{address} did not answer for {PATIENCE:?}");
    }
    nanoseconds.sort_unstable();
    let microseconds = |share| {
        percentile(&nanoseconds, share)
            .map(|nanoseconds| f64::from(nanoseconds) / 1e3)
            .context("no message was answered while it was measured")
    };
    Ok(RoundTrips {
        count: nanoseconds.len(),
        per_second: nanoseconds.len() as f64 / (last - begin).as_secs_f64(),
        p50: microseconds(0.5)?,
        p99: microseconds(0.99)?,
    })
}
