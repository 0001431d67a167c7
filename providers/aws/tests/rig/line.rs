//! The line between provider and emulator: counts the calls at the tap, and breaks those that it says, as AWS or a network breaks them.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use evenkeel_harness::aws::{self, Aws, Watcher, World as Place};
use evenkeel_laws::tap::{Call, Fault, Tap};
use futures::FutureExt as _;
use tokio::{net::TcpStream, sync::watch};

use super::sight;

/// For how long nobody listens where connections are refused.
const REFUSED: Duration = Duration::from_millis(10);

/// The line.
#[derive(Debug)]
pub(super) struct Line {
    tap: Tap,
    /// The emulator goes with the world.
    aws: Weak<Aws>,
    place: Arc<Place>,
    /// Which process may call: a call of one that was killed goes nowhere.
    process: AtomicUsize,
    /// How many calls were broken, to break the next one another way.
    broken: AtomicUsize,
    /// Calls that have an effect, and have not had it yet.
    under_way: watch::Sender<usize>,
}

impl Line {
    pub(super) fn new(aws: &Arc<Aws>, place: &Arc<Place>) -> Self {
        Self {
            tap: Tap::new(),
            aws: Arc::downgrade(aws),
            place: Arc::clone(place),
            process: AtomicUsize::new(0),
            broken: AtomicUsize::new(0),
            under_way: watch::Sender::new(0),
        }
    }

    pub(super) fn tap(&self) -> &Tap {
        &self.tap
    }

    /// Calls of the process before go nowhere any more.
    pub(super) fn next_process(&self) {
        self.process.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns once every call that was on its way has arrived.
    pub(super) async fn quiet(&self) {
        let mut under_way = self.under_way.subscribe();
        let quiet = under_way.wait_for(|count| *count == 0).await;
        quiet.expect("the line is there");
    }

    /// Returns once somebody listens.
    pub(super) async fn reachable(&self, address: SocketAddr) {
        while TcpStream::connect(address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// How AWS, or the network, does it.
    fn breaks(&self, call: &aws::Call, fault: Fault) -> aws::Fault {
        let turn = self.broken.fetch_add(1, Ordering::Relaxed);
        let one_of = |ways: &[aws::Fault]| ways[turn % ways.len()].clone();
        let ec2 = call.service == "ec2";
        match fault {
            Fault::Unreachable => one_of(&[
                aws::Fault::ErrorBefore,
                aws::Fault::Reset,
                aws::Fault::Refused(REFUSED),
            ]),
            Fault::Throttled => aws::Fault::Throttled,
            Fault::Conflict => aws::Fault::answer("RevisionIdNotFound", "it has changed"),
            Fault::Rejected if ec2 => aws::Fault::answer("InvalidParameterValue", "not so"),
            Fault::Rejected => aws::Fault::answer("InvalidConfigurationRequest", "not so"),
            // None is late here: the harness has an answer lost at once or not at all.
            Fault::LostAnswer | Fault::Late => {
                one_of(&[aws::Fault::ReplyLost, aws::Fault::ErrorAfter])
            }
            Fault::KilledBefore => aws::Fault::HoldBefore,
            Fault::KilledAfter => aws::Fault::HoldAfter,
            Fault::Expired if ec2 => aws::Fault::answer("RequestExpired", "expired"),
            Fault::Expired => aws::Fault::answer("ExpiredToken", "expired"),
        }
    }

    /// The process is dead.
    fn die(&self) {
        // It never ends; saying so takes no time.
        assert!(self.tap.die().now_or_never().is_none());
    }
}

fn counted(call: &aws::Call) -> Call {
    let target = call.parameters.to_string();
    if call.is_read() {
        Call::read(call.name(), target)
    } else {
        Call::write(call.name(), target)
    }
}

#[async_trait]
impl Watcher for Line {
    async fn arrived(&self, call: &aws::Call) -> Option<aws::Fault> {
        let process = self.process.load(Ordering::Relaxed);
        let fault = self.tap.arrive(counted(call)).await;
        if self.process.load(Ordering::Relaxed) != process {
            return Some(aws::Fault::HoldBefore);
        }
        if fault == Some(Fault::KilledBefore) {
            self.die();
        }
        let fault = fault.map(|fault| self.breaks(call, fault));
        if fault.as_ref().is_none_or(aws::Fault::takes_effect) {
            self.under_way.send_modify(|count| *count += 1);
        }
        fault
    }

    async fn took_effect(&self, call: &aws::Call) {
        if !call.is_read()
            && let Some(aws) = self.aws.upgrade()
        {
            let state = aws.quick_state().await.expect("the state");
            self.tap.saw(sight::picture(&state, &self.place));
        }
        if call.fault == Some(format!("{:?}", aws::Fault::HoldAfter)) {
            self.die();
        }
        self.under_way.send_modify(|count| *count -= 1);
    }
}
