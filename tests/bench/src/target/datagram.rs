//! UDP targets. Reads and Writes: loopback.

use std::{
    io::ErrorKind,
    net::UdpSocket,
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::Result;

use super::LOOK;
use crate::poll::{Poll, READ};

pub(super) fn serve(sockets: &[UdpSocket], stop: &AtomicBool) -> Result<()> {
    let mut poll = Poll::new()?;
    for (token, socket) in sockets.iter().enumerate() {
        poll.add(socket, token, READ)?;
    }
    let mut buffer = [0; 2048];
    while !stop.load(Ordering::Relaxed) {
        for (token, _) in poll.wait(LOOK)? {
            answer_all(&sockets[token], &mut buffer)?;
        }
    }
    Ok(())
}

fn answer_all(socket: &UdpSocket, buffer: &mut [u8]) -> Result<()> {
    loop {
        match socket.recv_from(buffer) {
            // Whoever asked may be gone: an answer that cannot be sent is his loss.
            Ok((length, from)) => drop(socket.send_to(&buffer[..length], from)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
            Err(error) => return Err(error.into()),
        }
    }
}
