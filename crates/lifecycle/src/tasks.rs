use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::FutureExt;
use parking_lot::Mutex;
use pin_project_lite::pin_project;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::{DrainCause, DrainTrigger};

/// Spawns tasks and knows which of them still run. Nothing is aborted when it is dropped: what was begun
/// goes on, and whoever owns it waits with [`Tasks::join`].
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    running: Arc<Mutex<Running>>,
}

/// How many tasks of each name run. Names are few, and stay: most come again.
type Running = Vec<(&'static str, usize)>;

/// The task panicked, or its runtime is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the task {0} did not end by itself")]
pub struct TaskFailed(pub &'static str);

impl Tasks {
    /// No tasks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `future` as a task named `name` on the current runtime.
    pub fn spawn<F>(&self, name: &'static str, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let named = Named::begin(name, &self.running);
        self.tracker.spawn_on(NamedTask { future, _named: named }, &Handle::current())
    }

    /// Runs a task without which the server does not do what it promises: should it panic, a drain is asked
    /// for, so that the platform starts a whole server instead of a half one looking ready.
    pub fn spawn_essential<F>(
        &self,
        name: &'static str,
        drain: &DrainTrigger,
        future: F,
    ) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let alarm = Alarm { name, drain: drain.clone() };
        self.spawn(name, async move {
            let _alarm = alarm;
            future.await
        })
    }

    /// Runs `future` to its end and awaits its answer. When the returned future is dropped before that, what is
    /// left of it goes on as a task: the answer is abandoned, not the work.
    ///
    /// Until then it runs in the caller's task, since to hand each one to another thread and back costs more
    /// than most of them.
    pub fn run<'a, F>(
        &'a self,
        name: &'static str,
        future: F,
    ) -> impl Future<Output = Result<F::Output, TaskFailed>> + use<'a, F>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let mut unfinished = Unfinished {
            name,
            tasks: self,
            future: Some(Box::pin(AssertUnwindSafe(future).catch_unwind())),
            _counted: (self.tracker.token(), Named::begin(name, &self.running)),
        };
        async move {
            poll_fn(|cx| unfinished.poll(cx)).await.map_err(|_| {
                tracing::error!(task = name, "a task panicked");
                TaskFailed(name)
            })
        }
    }

    /// How many run.
    pub fn count(&self) -> usize {
        self.tracker.len()
    }

    /// Waits for a moment when none runs.
    pub async fn idle(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }

    /// Waits until none runs, at most until `deadline`; the names of those that still do.
    pub async fn join(&self, deadline: Instant) -> Vec<&'static str> {
        match tokio::time::timeout_at(deadline, self.idle()).await {
            Ok(()) => Vec::new(),
            Err(_) => {
                let running = self.running.lock();
                running.iter().filter(|(_, count)| *count > 0).map(|(name, _)| *name).collect()
            }
        }
    }
}

/// Work that its caller waits for. Dropped before its end, it goes on as a task.
struct Unfinished<'a, F: Future<Output: Send + 'static> + Send + 'static> {
    name: &'static str,
    tasks: &'a Tasks,
    future: Option<Pin<Box<F>>>,
    /// Given back once the drop has handed over what is left.
    _counted: (TaskTrackerToken, Named),
}

impl<F: Future<Output: Send + 'static> + Send + 'static> Unfinished<'_, F> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<F::Output> {
        let Some(future) = &mut self.future else { return Poll::Pending };
        let output = ready!(future.as_mut().poll(cx));
        self.future = None;
        Poll::Ready(output)
    }
}

impl<F: Future<Output: Send + 'static> + Send + 'static> Drop for Unfinished<'_, F> {
    fn drop(&mut self) {
        // Outside of a runtime nothing can go on: the process is ending.
        if let (Some(future), Ok(_)) = (self.future.take(), Handle::try_current()) {
            self.tasks.spawn(self.name, future);
        }
    }
}

/// Asks for a drain when it is dropped by a panic.
struct Alarm {
    name: &'static str,
    drain: DrainTrigger,
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(task = self.name, "an essential task panicked; the server drains");
            self.drain.request(DrainCause::TaskFailed(self.name));
        }
    }
}

pin_project! {
    /// A task's future. An async block that awaits it would hold it twice: thousands of connections are tasks.
    struct NamedTask<F> {
        #[pin]
        future: F,
        // Dropped last.
        _named: Named,
    }
}

impl<F: Future> Future for NamedTask<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.project().future.poll(cx)
    }
}

/// Keeps a task's name among the running ones while its future lives, through panic and abort.
struct Named {
    name: &'static str,
    running: Arc<Mutex<Running>>,
}

impl Named {
    fn begin(name: &'static str, running: &Arc<Mutex<Running>>) -> Self {
        let mut names = running.lock();
        match names.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += 1,
            None => names.push((name, 1)),
        }
        drop(names);
        Self { name, running: Arc::clone(running) }
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let mut running = self.running.lock();
        if let Some((_, count)) = running.iter_mut().find(|(known, _)| *known == self.name) {
            *count -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::drain_channel;
    use tokio::sync::oneshot;

    #[tokio::test(start_paused = true)]
    async fn join_names_what_overruns_and_then_waits_for_it() {
        let tasks = Tasks::new();
        let (release, held) = oneshot::channel::<()>();
        tasks.spawn("slow", async move { held.await.is_ok() });
        tasks.spawn("quick", async {});
        assert_eq!(tasks.join(Instant::now() + Duration::from_secs(1)).await, ["slow"]);
        release.send(()).unwrap();
        assert!(tasks.join(Instant::now() + Duration::from_secs(1)).await.is_empty());
    }

    #[tokio::test]
    async fn an_abandoned_answer_does_not_stop_the_task() {
        let tasks = Tasks::new();
        let (release, held) = oneshot::channel::<()>();
        let (done, finished) = oneshot::channel();
        {
            let run = tasks.run("work", async move {
                let _ = held.await;
                let _ = done.send(());
            });
            tokio::select! { biased; _ = run => panic!("held"), () = tokio::task::yield_now() => {} }
        }
        release.send(()).unwrap();
        finished.await.unwrap();
    }

    #[tokio::test]
    async fn an_essential_task_that_panics_asks_for_a_drain_and_one_that_ends_does_not() {
        let (drain, mut requests) = drain_channel();
        let tasks = Tasks::new();
        tasks.spawn_essential("quiet", &drain, async {}).await.unwrap();
        tasks.spawn_essential("loud", &drain, async { panic!("boom") }).await.unwrap_err();
        assert_eq!(requests.requested().await, DrainCause::TaskFailed("loud"));
    }

    #[tokio::test]
    async fn a_panic_is_an_answer() {
        assert_eq!(Tasks::new().run("boom", async { panic!("boom") }).await, Err(TaskFailed("boom")));
    }
}
