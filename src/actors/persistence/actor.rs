//! The persistence actor's queue: what waits for the next transaction, in order and within its limits.
//! Knows no SQL.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use actix::prelude::*;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use tracing::Instrument;

use super::transaction::{StepTransaction, Writer};
use super::{WriteLimits, WriterMetrics};
use crate::actors::messages::{DrawAnswer, ReplyTo, WriteRequest, WriteResults};
use crate::domain::draw::{StepError, WriteResult};
use crate::domain::record::{Outcome, Refusal};

/// How often the queue is searched for records whose deadline has passed while a transaction hangs.
const SWEEP: Duration = Duration::from_millis(100);

/// Records, and what became of each.
pub type BatchResults = Vec<(WriteRequest, Result<Outcome, Refusal>)>;

type Job = Box<dyn for<'w> FnOnce(&'w mut Writer) -> BoxFuture<'w, ()> + Send>;

/// A step to take alone.
#[derive(Message)]
#[rtype(result = "()")]
pub struct StepJob(Job);

impl StepJob {
    /// Only tells when its turn has come.
    pub fn nothing(reply: oneshot::Sender<()>) -> StepJob {
        StepJob(Box::new(move |_| {
            // The one who waited may have gone.
            let _ = reply.send(());
            async {}.boxed()
        }))
    }

    pub fn new<S: StepTransaction + 'static>(
        step: S,
        reply: oneshot::Sender<Result<(S::Output, Duration), StepError>>,
    ) -> StepJob {
        StepJob(Box::new(move |writer| {
            async move {
                #[allow(clippy::disallowed_methods, reason = "the pace of our own work, not the draw's time")]
                let started = Instant::now();
                let result = writer.step(&step).await;
                // The one who waited may have gone; the step is taken all the same.
                let _ = reply.send(result.map(|output| (output, started.elapsed())));
            }
            .boxed()
        }))
    }
}

#[allow(clippy::large_enum_variant, reason = "nearly all are records: a box would cost each an allocation")]
enum Queued {
    Record(WriteRequest),
    StepTransaction(Job),
}

/// The actor.
pub struct PersistenceActor {
    /// Away while a transaction runs.
    writer: Option<Writer>,
    queue: VecDeque<Queued>,
    limits: WriteLimits,
    meters: WriterMetrics,
}

impl PersistenceActor {
    pub fn new(writer: Writer, limits: WriteLimits, meters: WriterMetrics) -> PersistenceActor {
        PersistenceActor { writer: Some(writer), queue: VecDeque::new(), limits, meters }
    }

    /// Starts the next transaction if none runs and anything waits.
    fn pump(&mut self, ctx: &mut Context<Self>) {
        if self.queue.is_empty() {
            return;
        }
        let Some(mut writer) = self.writer.take() else { return };
        match self.queue.pop_front() {
            Some(Queued::StepTransaction(job)) => {
                let run = async move {
                    job(&mut writer).await;
                    (writer, Vec::new())
                };
                ctx.spawn(run.into_actor(self).map(PersistenceActor::ran));
            }
            Some(Queued::Record(first)) => {
                let batch = self.gather(first);
                let span = tracing::debug_span!("batch", records = batch.len());
                let meters = self.meters.clone();
                let run = async move {
                    #[allow(clippy::disallowed_methods, reason = "how long it takes, not the draw's time")]
                    let started = Instant::now();
                    let answers = writer.batch(batch).await;
                    meters.commit.record(started.elapsed());
                    meters.measure(&answers);
                    (writer, answers)
                };
                ctx.spawn(run.instrument(span).into_actor(self).map(PersistenceActor::ran));
            }
            None => self.writer = Some(writer),
        }
    }

    /// The records that wait before the next step, up to the batch's limit.
    fn gather(&mut self, first: WriteRequest) -> Vec<WriteRequest> {
        let mut batch = vec![first];
        while batch.len() < self.limits.batch {
            match self.queue.pop_front() {
                Some(Queued::Record(request)) => batch.push(request),
                Some(step @ Queued::StepTransaction(_)) => {
                    self.queue.push_front(step);
                    break;
                }
                None => break,
            }
        }
        batch
    }

    fn ran(
        (writer, answers): (Writer, BatchResults),
        actor: &mut PersistenceActor,
        ctx: &mut Context<PersistenceActor>,
    ) {
        actor.writer = Some(writer);
        deliver(answers);
        actor.pump(ctx);
    }

    /// Answers the records whose deadline has passed in the queue: nothing of them was taken.
    fn sweep(&mut self, now: Instant) {
        let late = |queued: &Queued| matches!(queued, Queued::Record(request) if request.is_late(now));
        if !self.queue.iter().any(late) {
            return;
        }
        let mut answers = Vec::new();
        for queued in std::mem::take(&mut self.queue) {
            match queued {
                Queued::Record(request) if request.is_late(now) => {
                    answers.push((request, Err(Refusal::Overloaded)))
                }
                other => self.queue.push_back(other),
            }
        }
        deliver(answers);
    }
}

impl WriterMetrics {
    fn measure(&self, batch: &BatchResults) {
        let accepted = |(request, result): &(WriteRequest, Result<Outcome, Refusal>)| {
            result.as_ref().map_or(0, |accepted| request.record.sells(accepted))
        };
        self.batch.record(batch.len() as f64);
        self.sold.increment(batch.iter().map(accepted).sum::<usize>() as u64);
    }
}

/// Sends each result to its receiver: to each draw's actor one message with all of its results.
fn deliver(answers: BatchResults) {
    let mut by_draw: Vec<(Recipient<WriteResults>, WriteResults)> = Vec::new();
    for (request, result) in answers {
        match request.reply_to {
            ReplyTo::One(reply) => drop(reply.send(result)),
            ReplyTo::Draw(draw, waiter) => {
                let result = WriteResult { record: request.record, result, waiter };
                match by_draw.iter_mut().find(|(actor, _)| *actor == draw) {
                    Some((_, results)) => results.0.push(result),
                    None => by_draw.push((draw, WriteResults(vec![result]))),
                }
            }
        }
    }
    for (draw, results) in by_draw {
        if draw.connected() {
            draw.do_send(results);
            continue;
        }
        // The draw's actor is gone, and its successor reads the truth from the database: the clients are
        // answered from here.
        for WriteResult { record, result, waiter } in results.0 {
            if let Some(reply) = waiter {
                reply.send(DrawAnswer::of_record(record, result));
            }
        }
    }
}

impl Actor for PersistenceActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        // Bounded by the orders in flight and by the queue's limit below; the mailbox itself only passes on.
        ctx.set_mailbox_capacity(self.limits.queue);
        ctx.run_interval(SWEEP, |actor, _| {
            #[allow(clippy::disallowed_methods, reason = "a wait of ours, not the draw's time")]
            actor.sweep(Instant::now());
            actor.meters.queue.set(actor.queue.len() as f64);
        });
    }
}

impl Handler<WriteRequest> for PersistenceActor {
    type Result = ();

    fn handle(&mut self, request: WriteRequest, ctx: &mut Context<Self>) {
        // What has no deadline must become true and is bounded by what it came from.
        if self.queue.len() >= self.limits.queue && request.deadline.is_some() {
            deliver(vec![(request, Err(Refusal::Overloaded))]);
            return;
        }
        self.queue.push_back(Queued::Record(request));
        self.pump(ctx);
    }
}

impl Handler<StepJob> for PersistenceActor {
    type Result = ();

    fn handle(&mut self, job: StepJob, ctx: &mut Context<Self>) {
        self.queue.push_back(Queued::StepTransaction(job.0));
        self.pump(ctx);
    }
}
