//! TCP targets. Reads and Writes: loopback.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::Result;
use rustix::net::{SocketFlags, accept_with};

use super::{LOOK, Role};
use crate::poll::{EventFlags, Poll, READ, WRITE};

/// What is read or written at once.
const BLOCK: usize = 256 * 1024;

/// One accepted connection.
struct Connection {
    stream: TcpStream,
    role: Role,
    /// What is to be echoed and did not fit.
    pending: Vec<u8>,
    received: u64,
}

/// What becomes of a connection after an event.
enum Next {
    Wait(EventFlags),
    Close,
}

pub(super) fn serve(listeners: &[(TcpListener, Role)], stop: &AtomicBool) -> Result<()> {
    let mut poll = Poll::new()?;
    for (token, (listener, _)) in listeners.iter().enumerate() {
        poll.add(listener, token, READ)?;
    }
    let mut connections: Vec<Option<(Connection, EventFlags)>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let mut block = vec![0; BLOCK];
    let mut ready = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        ready.clear();
        ready.extend(poll.wait(LOOK)?);
        for (token, flags) in &ready {
            let Some(slot) = token.checked_sub(listeners.len()) else {
                let (listener, role) = &listeners[*token];
                while let Some(stream) = accept(listener)? {
                    let slot = free.pop().unwrap_or_else(|| {
                        connections.push(None);
                        connections.len() - 1
                    });
                    poll.add(&stream, listeners.len() + slot, READ)?;
                    let connection = Connection {
                        stream,
                        role: *role,
                        pending: Vec::new(),
                        received: 0,
                    };
                    connections[slot] = Some((connection, READ));
                }
                continue;
            };
            let Some((connection, waits)) = &mut connections[slot] else {
                continue;
            };
            match connection.go_on(*flags, &mut block) {
                Ok(Next::Wait(next)) if next == *waits => {}
                Ok(Next::Wait(next)) => {
                    poll.modify(&connection.stream, *token, next)?;
                    *waits = next;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // A connection that broke is over, whatever it was for.
                Ok(Next::Close) | Err(_) => {
                    connections[slot] = None;
                    free.push(slot);
                }
            }
        }
    }
    Ok(())
}

fn accept(listener: &TcpListener) -> io::Result<Option<TcpStream>> {
    match accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
        Ok(socket) => Ok(Some(socket.into())),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::CONNABORTED) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Connection {
    fn go_on(&mut self, flags: EventFlags, block: &mut [u8]) -> io::Result<Next> {
        match self.role {
            Role::Echo => self.echo(block),
            Role::Source if flags.intersects(WRITE) => {
                self.stream.write(block).map(|_| Next::Wait(WRITE))
            }
            Role::Source => match self.stream.read(&mut block[..1])? {
                0 => Ok(Next::Close),
                _ => Ok(Next::Wait(WRITE)),
            },
            Role::Sink => self.count(block),
        }
    }

    fn echo(&mut self, block: &mut [u8]) -> io::Result<Next> {
        if self.pending.is_empty() {
            let length = self.stream.read(block)?;
            if length == 0 {
                return Ok(Next::Close);
            }
            let sent = written(self.stream.write(&block[..length]))?;
            self.pending.extend_from_slice(&block[sent..length]);
        } else {
            let sent = written(self.stream.write(&self.pending))?;
            self.pending.drain(..sent);
        }
        Ok(Next::Wait(match self.pending.is_empty() {
            true => READ,
            false => WRITE,
        }))
    }

    fn count(&mut self, block: &mut [u8]) -> io::Result<Next> {
        match self.stream.read(block)? {
            0 => {
                // Eight bytes always fit. A health check sent nothing and wants to hear nothing.
                if self.received > 0 {
                    self.stream.write_all(&self.received.to_be_bytes())?;
                }
                Ok(Next::Close)
            }
            length => {
                self.received += length as u64;
                Ok(Next::Wait(READ))
            }
        }
    }
}

/// How much was written, which is nothing when there was no room.
fn written(result: io::Result<usize>) -> io::Result<usize> {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        other => other,
    }
}
