//! UDP requests on many flows. Reads and Writes: loopback.

use std::{
    collections::VecDeque,
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::{MESSAGE, PATIENCE, Window};
use crate::poll::{Poll, READ};

/// How many requests wait for an answer at once, over all flows: few enough to fit a socket's buffer.
const AT_ONCE: usize = 64;

/// Silence after which what waits is lost.
const LOST: Duration = Duration::from_millis(100);

/// What UDP requests measured.
#[derive(Clone, Copy, Debug)]
pub struct Datagrams {
    /// Answers per second.
    pub per_second: f64,
    /// Requests that were never answered.
    pub lost: usize,
}

/// Sends requests on this many flows in turn, a few at once.
///
/// # Errors
/// When nothing is answered at all.
pub fn datagrams(address: SocketAddr, flows: usize, window: Window) -> Result<Datagrams> {
    let mut poll = Poll::new()?;
    let mut sockets = Vec::new();
    for token in 0..flows {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect(address)?;
        socket.set_nonblocking(true)?;
        poll.add(&socket, token, READ)?;
        sockets.push(socket);
    }
    let message = [0x5a; MESSAGE];
    let mut answer = [0; MESSAGE + 1];
    let mut sent: Vec<Option<Instant>> = vec![None; flows];
    let mut resting: VecDeque<usize> = (0..flows).collect();
    let (mut done, mut lost) = (0_u64, 0);
    let (begin, end) = window.starting_now();
    let (mut heard, mut looked) = (begin, begin);
    loop {
        let now = Instant::now();
        if now >= end {
            return Ok(Datagrams {
                per_second: done as f64 / (now - begin).as_secs_f64(),
                lost,
            });
        }
        while flows - resting.len() < AT_ONCE
            && let Some(flow) = resting.pop_front()
        {
            let result = sockets[flow].send(&message);
            result.with_context(|| format!("cannot send to {address}"))?;
            sent[flow] = Some(now);
        }
        let ready: Vec<_> = poll.wait(LOST)?.map(|(token, _)| token).collect();
        for flow in ready {
            match sockets[flow].recv(&mut answer) {
                Ok(length) => ensure!(
                    answer[..length] == message,
                    "{address} answered with other bytes"
                ),
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => {
                    return Err(error).with_context(|| format!("{address} does not answer"));
                }
            }
            // An answer that was given up already is not counted.
            if sent[flow].take().is_some() {
                resting.push_back(flow);
                done += u64::from(now >= begin);
                heard = now;
            }
        }
        if looked.elapsed() < LOST {
            continue;
        }
        looked = Instant::now();
        ensure!(
            heard.elapsed() < PATIENCE,
            "{address} answered nothing for {PATIENCE:?}"
        );
        for (flow, at) in sent.iter_mut().enumerate() {
            if at.is_some_and(|at| at.elapsed() > LOST) {
                *at = None;
                resting.push_back(flow);
                lost += 1;
            }
        }
    }
}
