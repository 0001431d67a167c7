//! Connections that are open and do nothing. Reads and Writes: loopback.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use anyhow::{Context as _, Result, ensure};

use super::{MESSAGE, connect, has_ended};

/// Connections that were used once and now wait.
#[derive(Debug)]
pub struct Idle {
    streams: Vec<TcpStream>,
}

impl Idle {
    /// Opens this many, to the addresses in turn, with one message there and back on each.
    ///
    /// # Errors
    /// When one fails.
    pub fn open(addresses: &[SocketAddr], count: usize) -> Result<Self> {
        let message = [0x5a; MESSAGE];
        let streams = addresses
            .iter()
            .cycle()
            .take(count)
            .enumerate()
            .map(|(n, address)| {
                let one = || {
                    let mut stream = connect(*address)?;
                    stream.write_all(&message)?;
                    let mut answer = [0; MESSAGE];
                    stream.read_exact(&mut answer)?;
                    ensure!(answer == message, "{address} answered with other bytes");
                    anyhow::Ok(stream)
                };
                one().with_context(|| format!("idle connection {} of {count}", n + 1))
            });
        Ok(Self {
            streams: streams.collect::<Result<_>>()?,
        })
    }

    /// Fails when one is no longer open.
    ///
    /// # Errors
    /// As said.
    pub fn check(&self) -> Result<()> {
        let mut ended = 0;
        for stream in &self.streams {
            ended += usize::from(has_ended(stream)?);
        }
        let count = self.streams.len();
        ensure!(
            ended == 0,
            "{ended} of {count} idle connections did not stay open"
        );
        Ok(())
    }
}
