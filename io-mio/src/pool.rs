//! A bounded pool of worker threads.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use mio::Waker;

use crate::session::Execute;

/// The result of a job.
#[derive(Debug)]
pub(crate) enum Outcome<O> {
    Done(O),
    /// It panicked; the message is the panic's.
    Panicked(String),
}

/// Runs jobs on worker threads; `K` identifies a job. Jobs start in the order of submission.
///
/// Invariant: every submitted job yields exactly one outcome, and at most `limit` jobs are queued,
/// running, or have an outcome that was not taken, so the channel of outcomes is bounded too.
pub(crate) struct Pool<K, J, O> {
    shared: Arc<Shared<K, J>>,
    outcomes: Receiver<(K, Outcome<O>)>,
    workers: Vec<JoinHandle<()>>,
    outstanding: usize,
    limit: usize,
}

struct Shared<K, J> {
    queue: Mutex<Queue<K, J>>,
    filled: Condvar,
}

struct Queue<K, J> {
    jobs: VecDeque<(K, J)>,
    closed: bool,
}

impl<K, J> Shared<K, J> {
    fn lock(&self) -> MutexGuard<'_, Queue<K, J>> {
        // Nothing panics while the lock is held; and if it did, the queue would still be
        // consistent.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Send + 'static, J: Send + 'static, O: Send + 'static> Pool<K, J, O> {
    /// Starts `workers` threads; `limit` bounds the jobs that are waiting or running.
    pub(crate) fn new<E>(
        workers: usize,
        limit: usize,
        executor: Arc<E>,
        waker: Arc<Waker>,
    ) -> io::Result<Self>
    where
        E: Execute<Job = J, Output = O>,
    {
        let queue = Mutex::new(Queue {
            jobs: VecDeque::with_capacity(limit),
            closed: false,
        });
        let shared = Arc::new(Shared {
            queue,
            filled: Condvar::new(),
        });
        let (sender, outcomes) = mpsc::channel();
        let mut pool = Self {
            shared,
            outcomes,
            workers: Vec::new(),
            outstanding: 0,
            limit: limit.max(1),
        };
        for index in 0..workers.max(1) {
            let (shared, executor) = (pool.shared.clone(), executor.clone());
            let (sender, waker) = (sender.clone(), waker.clone());
            let worker = thread::Builder::new()
                .name(format!("towpath-worker-{index}"))
                .spawn(move || work(&shared, &*executor, &sender, &waker))?;
            pool.workers.push(worker);
        }
        Ok(pool)
    }

    /// Whether another job may be submitted.
    pub(crate) fn has_room(&self) -> bool {
        self.outstanding < self.limit
    }

    /// Jobs whose outcome has not been taken yet.
    pub(crate) fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// Queues a job; the caller has seen [`has_room`](Self::has_room).
    pub(crate) fn submit(&mut self, key: K, job: J) {
        self.outstanding += 1;
        self.shared.lock().jobs.push_back((key, job));
        self.shared.filled.notify_one();
    }

    /// Makes the drop of the pool return without waiting for the jobs that run.
    pub(crate) fn detach(&mut self) {
        self.workers.clear();
    }

    /// Takes the next outcome, if one is there.
    pub(crate) fn poll(&mut self) -> Option<(K, Outcome<O>)> {
        let outcome = self.outcomes.try_recv().ok()?;
        self.outstanding -= 1;
        Some(outcome)
    }
}

impl<K, J, O> Drop for Pool<K, J, O> {
    /// Drops the queued jobs and waits for those that run.
    fn drop(&mut self) {
        {
            let mut queue = self.shared.lock();
            queue.closed = true;
            queue.jobs.clear();
        }
        self.shared.filled.notify_all();
        for worker in self.workers.drain(..) {
            if worker.join().is_err() {
                tracing::error!("a worker thread panicked outside a job");
            }
        }
    }
}

fn work<K, J, O, E: Execute<Job = J, Output = O>>(
    shared: &Shared<K, J>,
    executor: &E,
    outcomes: &Sender<(K, Outcome<O>)>,
    waker: &Waker,
) {
    while let Some((key, job)) = next(shared) {
        // A job that panicked is dropped with all that it owned. What the executor shares is behind
        // its own locks, and the session of the job is aborted.
        let outcome = match catch_unwind(AssertUnwindSafe(|| executor.execute(job))) {
            Ok(output) => Outcome::Done(output),
            Err(panic) => Outcome::Panicked(message(&*panic)),
        };
        if outcomes.send((key, outcome)).is_err() {
            return; // the loop is gone
        }
        if let Err(error) = waker.wake() {
            tracing::error!(%error, "cannot wake the loop");
        }
    }
}

fn next<K, J>(shared: &Shared<K, J>) -> Option<(K, J)> {
    let mut queue = shared.lock();
    loop {
        if let Some(job) = queue.jobs.pop_front() {
            return Some(job);
        }
        if queue.closed {
            return None;
        }
        queue = shared
            .filled
            .wait(queue)
            .unwrap_or_else(PoisonError::into_inner);
    }
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::carrier::WAKER;

    struct Doubler(Mutex<Vec<u32>>);

    impl Execute for Doubler {
        type Job = u32;
        type Output = u32;

        fn execute(&self, job: u32) -> u32 {
            self.0.lock().unwrap().push(job);
            assert!(job != 13, "unlucky");
            job * 2
        }
    }

    fn pool(workers: usize, limit: usize) -> (Pool<u32, u32, u32>, Arc<Doubler>, mio::Poll) {
        let poll = mio::Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), WAKER).unwrap());
        let executor = Arc::new(Doubler(Mutex::default()));
        (
            Pool::new(workers, limit, executor.clone(), waker).unwrap(),
            executor,
            poll,
        )
    }

    fn next_outcome(pool: &mut Pool<u32, u32, u32>, poll: &mut mio::Poll) -> (u32, Outcome<u32>) {
        loop {
            if let Some(outcome) = pool.poll() {
                return outcome;
            }
            let mut events = mio::Events::with_capacity(8);
            poll.poll(&mut events, Some(Duration::from_secs(10)))
                .unwrap();
            assert!(!events.is_empty(), "the loop was not woken");
        }
    }

    #[test]
    fn jobs_start_in_order_and_room_returns_with_their_outcome() {
        let (mut pool, executor, mut poll) = pool(1, 4);
        for job in 0..4 {
            assert!(pool.has_room());
            pool.submit(job, job);
        }
        assert!(!pool.has_room());
        for job in 0..4 {
            let (key, outcome) = next_outcome(&mut pool, &mut poll);
            assert!(matches!(outcome, Outcome::Done(output) if output == key * 2 && key == job));
            assert!(pool.has_room());
        }
        assert_eq!(pool.outstanding(), 0);
        assert_eq!(*executor.0.lock().unwrap(), [0, 1, 2, 3]);
    }

    #[test]
    fn a_panic_is_reported_and_the_worker_goes_on() {
        let (mut pool, _, mut poll) = pool(1, 4);
        pool.submit(1, 13);
        pool.submit(2, 5);
        let (key, outcome) = next_outcome(&mut pool, &mut poll);
        assert!(key == 1 && matches!(outcome, Outcome::Panicked(text) if text == "unlucky"));
        let (key, outcome) = next_outcome(&mut pool, &mut poll);
        assert!(key == 2 && matches!(outcome, Outcome::Done(10)));
    }
}
