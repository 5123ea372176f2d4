//! Virtual time for tasks that wait.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use waypost::core::{Clock, ManualClock, Timestamp};
use waypost::failover::Timer;

/// Something that runs.
pub(super) type Task<'w> = Pin<Box<dyn Future<Output = ()> + 'w>>;

/// Virtual time: tasks are polled when what they wait for is due, and at no other time.
#[derive(Debug, Clone)]
pub(super) struct World(Rc<WorldState>);

#[derive(Debug)]
struct WorldState {
    clock: Arc<ManualClock>,
    due: RefCell<BinaryHeap<Reverse<(Timestamp, u64, usize)>>>,
    scheduled: Cell<u64>,
    /// The task that runs.
    running: Cell<usize>,
}

/// A wait of the task that made it.
#[derive(Debug)]
pub(super) struct Wait(World, Timestamp);

impl Timer for World {
    type Sleep = Wait;

    fn sleep(&self, time: Duration) -> Wait {
        let until = self.now() + time;
        self.wake(self.0.running.get(), until);
        Wait(self.clone(), until)
    }
}

impl World {
    pub(super) fn new(clock: Arc<ManualClock>) -> Self {
        Self(Rc::new(WorldState {
            clock,
            due: RefCell::default(),
            scheduled: Cell::new(0),
            running: Cell::new(0),
        }))
    }

    pub(super) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// The second that it is.
    pub(super) fn second(&self) -> u64 {
        self.now().since(Timestamp::ORIGIN).as_secs()
    }

    fn wake(&self, task: usize, at: Timestamp) {
        let number = self.0.scheduled.replace(self.0.scheduled.get() + 1);
        self.0.due.borrow_mut().push(Reverse((at, number, task)));
    }

    /// Runs tasks, each from its time on, until all have ended.
    pub(super) fn run<'w>(&self, tasks: impl IntoIterator<Item = (Timestamp, Task<'w>)>) {
        let mut running: Vec<Option<Task<'w>>> = Vec::new();
        for (at, task) in tasks {
            self.wake(running.len(), at);
            running.push(Some(task));
        }
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            let Some(Reverse((at, _, task))) = self.0.due.borrow_mut().pop() else { return };
            self.0.clock.set(at.max(self.now()));
            self.0.running.set(task);
            // Waits of before that nobody waits for any more come up too.
            let ended = running[task].as_mut().is_some_and(|task| task.as_mut().poll(&mut cx).is_ready());
            if ended {
                running[task] = None;
            }
        }
    }
}

impl Future for Wait {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if self.0.now() >= self.1 { Poll::Ready(()) } else { Poll::Pending }
    }
}
