//! The persistence actor: it queues records and steps, runs one transaction after the other on the writer, and
//! delivers the results. It contains no SQL.

use std::time::{Duration, Instant};

use actix::prelude::*;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use tracing::Instrument;

use super::step::StepTransaction;
use super::writer::Writer;
use super::{WriteLimits, WriterMetrics};
use crate::actors::messages::{DrawAnswer, ReplyTo, WriteRequest, WriteResults};
use crate::domain::draw::{StepError, WriteResult};
use crate::domain::record::{Outcome, Record, Refusal};
use crate::domain::writer::{Answers, BatchRecord, Work, WriteQueue};

/// How often the actor checks the queue for records whose deadline has passed, while a transaction takes long.
const SWEEP: Duration = Duration::from_millis(100);

impl BatchRecord for WriteRequest {
    type Time = Instant;

    fn record(&self) -> &Record {
        &self.record
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}

type Job = Box<dyn for<'w> FnOnce(&'w mut Writer) -> BoxFuture<'w, ()> + Send>;

/// A step, as a job in the queue. It runs in a transaction of its own.
#[derive(Message)]
#[rtype(result = "()")]
pub struct StepJob(Job);

impl StepJob {
    /// A job that does nothing but reply when it reaches the front of the queue.
    pub fn nothing(reply: oneshot::Sender<()>) -> StepJob {
        StepJob(Box::new(move |_| {
            // The caller may have stopped waiting.
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
                // The caller may have stopped waiting; the step is taken all the same.
                let _ = reply.send(result.map(|output| (output, started.elapsed())));
            }
            .boxed()
        }))
    }
}

/// The actor.
pub struct PersistenceActor {
    /// `None` while a transaction runs.
    writer: Option<Writer>,
    queue: WriteQueue<WriteRequest, Job>,
    limits: WriteLimits,
    meters: WriterMetrics,
}

impl PersistenceActor {
    pub fn new(writer: Writer, limits: WriteLimits, meters: WriterMetrics) -> PersistenceActor {
        PersistenceActor { writer: Some(writer), queue: WriteQueue::new(limits.queue), limits, meters }
    }

    /// Starts the next transaction, if none runs and the queue is not empty.
    fn pump(&mut self, ctx: &mut Context<Self>) {
        let Some(mut writer) = self.writer.take() else { return };
        match self.queue.pop(self.limits.batch) {
            Some(Work::Step(job)) => {
                let run = async move {
                    job(&mut writer).await;
                    writer
                };
                ctx.spawn(run.into_actor(self).map(PersistenceActor::ran));
            }
            Some(Work::Batch(batch)) => {
                let span = tracing::debug_span!("batch", records = batch.len());
                let run = write(writer, batch, self.meters.clone());
                ctx.spawn(run.instrument(span).into_actor(self).map(PersistenceActor::ran));
            }
            None => self.writer = Some(writer),
        }
    }

    fn ran(writer: Writer, actor: &mut PersistenceActor, ctx: &mut Context<PersistenceActor>) {
        actor.writer = Some(writer);
        actor.pump(ctx);
    }

    /// Answers the records in the queue whose deadline has passed. Nothing of them was written.
    fn sweep(&mut self, now: Instant) {
        let late = self.queue.drop_late(now);
        deliver(late.into_iter().map(|request| (request, Err(Refusal::Overloaded))).collect());
    }
}

/// Writes a batch and delivers the results. Late records get their results first.
async fn write(mut writer: Writer, batch: Vec<WriteRequest>, meters: WriterMetrics) -> Writer {
    #[allow(clippy::disallowed_methods, reason = "how long it takes, not the draw's time")]
    let started = Instant::now();
    meters.batch.record(batch.len() as f64);
    let mut run = writer.begin_batch(batch);
    while let Some(answers) = writer.next_answers(&mut run).await {
        if run.unanswered().next().is_none() {
            meters.commit.record(started.elapsed());
        }
        meters.count_sold(&answers);
        deliver(answers);
    }
    writer
}

impl WriterMetrics {
    fn count_sold(&self, answers: &Answers<WriteRequest>) {
        let sold = |(request, result): &(WriteRequest, Result<Outcome, Refusal>)| {
            result.as_ref().map_or(0, |accepted| request.record.sells(accepted))
        };
        self.sold.increment(answers.iter().map(sold).sum::<usize>() as u64);
    }
}

/// Sends each result to its receiver. Each draw actor gets one message with all of its results.
fn deliver(answers: Answers<WriteRequest>) {
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
        // The draw's actor is gone, and the next one loads the draw from the database. So the clients are
        // answered here.
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
        // The mailbox is limited by the orders in flight and by the limit of the queue. The actor moves its
        // messages to the queue at once.
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
        match self.queue.push(request) {
            Ok(()) => self.pump(ctx),
            Err(request) => deliver(vec![(request, Err(Refusal::Overloaded))]),
        }
    }
}

impl Handler<StepJob> for PersistenceActor {
    type Result = ();

    fn handle(&mut self, job: StepJob, ctx: &mut Context<Self>) {
        self.queue.push_step(job.0);
        self.pump(ctx);
    }
}
