//! The tap in the line between a provider and its cloud: counts the calls, breaks the ones it is told to break, and
//! keeps what clients met after every effect (Writes nothing).
//!
//! Every call to the cloud passes [`Tap::call`], or, where the line is a real one with a proxy in it,
//! [`Tap::arrive`] before and [`Tap::saw`] after the effect. A process that is killed is a call that never returns:
//! the tap says so through [`Tap::killed`], holds every later call back, and whoever drives the provider drops it.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use crate::rig::Picture;

/// Whether a call can change the cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// It cannot.
    Read,
    /// It can.
    Write,
}

/// One call to the cloud.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Whether it can change the cloud.
    pub kind: Kind,
    /// The call, as the cloud names it: `PUT listener`.
    pub operation: String,
    /// What it is about: two calls with equal operation and target are the same call, made twice.
    pub target: String,
}

impl Call {
    /// A call that only reads.
    pub fn read(operation: impl Into<String>, target: impl Into<String>) -> Self {
        Self {
            kind: Kind::Read,
            operation: operation.into(),
            target: target.into(),
        }
    }

    /// A call that writes.
    pub fn write(operation: impl Into<String>, target: impl Into<String>) -> Self {
        Self {
            kind: Kind::Write,
            operation: operation.into(),
            target: target.into(),
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.operation, self.target)
    }
}

/// How a call is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// No effect, and the caller knows it: connection refused, an early 500. The provider's class: Transient.
    Unreachable,
    /// No effect: over the rate. Class: Throttled.
    Throttled,
    /// No effect: the version is not the one that was read. Class: Conflict.
    Conflict,
    /// No effect: refused for good. Class: Rejected.
    Rejected,
    /// The effect happens and the answer is lost: reset, timeout, a late 500. Class: Conflict for a write, Transient for
    /// a read.
    LostAnswer,
    /// The process is killed before the effect.
    KilledBefore,
    /// The process is killed after the effect.
    KilledAfter,
    /// No effect: the credentials have expired, which concerns every call and not this one. Class: Denied, of the provider.
    Expired,
    /// The caller waits in vain and gives up; the call goes on all the same and arrives when the next one has been carried
    /// out. Only a line with a proxy in it can do that. Class: as of [`Fault::LostAnswer`].
    Late,
}

impl Fault {
    /// All that happen to single calls on every line.
    pub const ALL: [Self; 7] = [
        Self::Unreachable,
        Self::Throttled,
        Self::Conflict,
        Self::Rejected,
        Self::LostAnswer,
        Self::KilledBefore,
        Self::KilledAfter,
    ];

    /// Whether the call has its effect all the same.
    pub fn after_effect(self) -> bool {
        matches!(self, Self::LostAnswer | Self::KilledAfter)
    }

    /// Whether the caller never hears of the call again.
    pub fn kills(self) -> bool {
        matches!(self, Self::KilledBefore | Self::KilledAfter)
    }
}

type Action = Box<dyn FnOnce() + Send>;

/// Which calls to break, and how.
type Rule = Box<dyn Fn(&Call) -> Option<Fault> + Send>;

/// Which calls to hold back.
type Hold = Arc<dyn Fn(&Call) -> bool + Send + Sync>;

#[derive(Default)]
struct State {
    calls: Vec<Call>,
    faults: BTreeMap<usize, Fault>,
    actions: BTreeMap<usize, Action>,
    /// Number of the call whose likes are refused for ever.
    reject_like: Option<usize>,
    rejected: Option<Call>,
    rule: Option<Rule>,
    pictures: Vec<Picture>,
}

#[derive(Clone, Default)]
struct Gate {
    dead: bool,
    writes_blocked: bool,
    hold: Option<Hold>,
}

impl Gate {
    fn lets(&self, call: &Call) -> bool {
        let blocked = self.writes_blocked && call.kind == Kind::Write;
        !self.dead && !blocked && !self.hold.as_ref().is_some_and(|hold| hold(call))
    }
}

struct Shared {
    state: Mutex<State>,
    gate: watch::Sender<Gate>,
}

/// The tap. Clones are the same tap.
#[derive(Clone)]
pub struct Tap(Arc<Shared>);

impl Default for Tap {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tap")
            .field("calls", &self.state().calls)
            .finish_non_exhaustive()
    }
}

impl Tap {
    /// A tap that lets everything pass.
    pub fn new() -> Self {
        Self(Arc::new(Shared {
            state: Mutex::default(),
            gate: watch::Sender::default(),
        }))
    }

    /// Carries out one call: counted, and broken where it shall be. `effect` does the work in the cloud and ends with
    /// [`Tap::saw`] if it wrote. [`Fault::Late`] has no effect here.
    ///
    /// # Errors
    /// The effect's own, or the fault's.
    pub async fn call<T, E: From<Fault>>(
        &self,
        call: Call,
        effect: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let fault = self.arrive(call).await;
        match fault {
            Some(fault) if fault.after_effect() => {}
            Some(fault) if fault.kills() => match self.die().await {},
            Some(fault) => return Err(fault.into()),
            None => {}
        }
        let result = effect.await;
        match fault {
            Some(fault) if fault.kills() => match self.die().await {},
            Some(fault) => Err(fault.into()),
            None => result,
        }
    }

    /// A call has arrived: counts it, holds it back while writes are blocked, and says how to break it. For a fault that
    /// kills, go on to [`Tap::die`] before or after the effect.
    pub async fn arrive(&self, call: Call) -> Option<Fault> {
        let (fault, action) = {
            let mut state = self.state();
            let number = state.calls.len();
            state.calls.push(call.clone());
            if state.reject_like == Some(number) {
                state.rejected = Some(call.clone());
            }
            let refused = (state.rejected.as_ref() == Some(&call)).then_some(Fault::Rejected);
            let ruled = state.rule.as_ref().and_then(|rule| rule(&call));
            (
                state.faults.remove(&number).or(refused).or(ruled),
                state.actions.remove(&number),
            )
        };
        if let Some(action) = action {
            action();
        }
        let mut gate = self.0.gate.subscribe();
        // The sender lives as long as this tap, so waiting cannot fail.
        let _ = gate.wait_for(|gate| gate.lets(&call)).await;
        fault
    }

    /// The process is dead: says so, and never returns.
    pub async fn die(&self) -> Infallible {
        self.0.gate.send_modify(|gate| gate.dead = true);
        std::future::pending().await
    }

    /// What clients meet now. To be called after every effect, and after everything that happens in the cloud by itself.
    pub fn saw(&self, picture: Picture) {
        self.state().pictures.push(picture);
    }

    /// Returns once the process has been killed.
    pub async fn killed(&self) {
        let _ = self.0.gate.subscribe().wait_for(|gate| gate.dead).await;
    }

    /// Lets calls through again, for the next process.
    pub fn revive(&self) {
        self.0.gate.send_modify(|gate| gate.dead = false);
    }

    /// Forgets calls, faults, rules and pictures. What is held back stays so.
    pub fn reset(&self) {
        *self.state() = State::default();
    }

    /// Forgets the calls alone: numbers count from 0 again.
    pub fn reset_calls(&self) {
        self.state().calls.clear();
    }

    /// Breaks the call of this number, counted from 0 since the last reset.
    pub fn fail(&self, number: usize, fault: Fault) {
        self.state().faults.insert(number, fault);
    }

    /// Refuses the call of this number, and every later one with the same operation and target.
    pub fn reject_like(&self, number: usize) {
        self.state().reject_like = Some(number);
    }

    /// Breaks every call as the rule says, until the next rule or reset.
    pub fn fail_where(&self, rule: impl Fn(&Call) -> Option<Fault> + Send + 'static) {
        self.state().rule = Some(Box::new(rule));
    }

    /// Breaks no call by a rule any more.
    pub fn fail_none(&self) {
        self.state().rule = None;
    }

    /// Holds the calls back that `hold` names, until [`Tap::hold_none`].
    pub fn hold_where(&self, hold: impl Fn(&Call) -> bool + Send + Sync + 'static) {
        self.0
            .gate
            .send_modify(|gate| gate.hold = Some(Arc::new(hold)));
    }

    /// Lets the calls go on that [`Tap::hold_where`] holds back.
    pub fn hold_none(&self) {
        self.0.gate.send_modify(|gate| gate.hold = None);
    }

    /// Does something when the call of this number arrives, before its effect.
    pub fn at(&self, number: usize, action: impl FnOnce() + Send + 'static) {
        self.state().actions.insert(number, Box::new(action));
    }

    /// Holds every write back until this is called with false.
    pub fn block_writes(&self, blocked: bool) {
        self.0
            .gate
            .send_modify(|gate| gate.writes_blocked = blocked);
    }

    /// The calls since the last reset.
    pub fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    /// The writes since the last reset.
    pub fn writes(&self) -> Vec<Call> {
        self.calls()
            .into_iter()
            .filter(|call| call.kind == Kind::Write)
            .collect()
    }

    /// What clients met after every effect since the last reset.
    pub fn pictures(&self) -> Vec<Picture> {
        self.state().pictures.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
