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
use crate::actors::messages::{Ping, ReplyTo, WriteRequest, WriteResults};
use crate::domain::draw::{StepError, WriteResult};
use crate::domain::record::{Outcome, Record, Refusal};
use crate::domain::writer::{Answers, BatchRecord, Work, WriteQueue, group_by_draw};

/// How often the actor checks the queue for records whose deadline has passed, while a transaction takes long.
const SWEEP: Duration = Duration::from_millis(100);
/// How often the actor checks whether the writer must ping the database. It is also the time without a transaction after
/// which the writer does, and the pause between two tries to connect while nothing is to be written.
const PING_INTERVAL: Duration = Duration::from_secs(1);

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

    /// Pings the database if the writer has nothing to do. Nothing else would notice that its connection is lost, or
    /// that the database is back.
    fn ping(&mut self, ctx: &mut Context<Self>) {
        let is_due = |writer: &mut Writer| writer.health.silence() >= PING_INTERVAL;
        let Some(mut writer) = self.writer.take_if(is_due) else { return };
        let run = async move {
            writer.ping().await;
            writer
        };
        ctx.spawn(run.into_actor(self).map(PersistenceActor::ran));
    }

    /// Answers the records in the queue whose deadline has passed. Nothing of them was written.
    fn sweep(&mut self, now: Instant) {
        deliver(self.queue.drop_late(now));
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
        meters.count(&answers);
        deliver(answers);
    }
    writer
}

impl WriterMetrics {
    fn count(&self, answers: &Answers<WriteRequest>) {
        let sold = |(request, result): &(WriteRequest, Result<Outcome, Refusal>)| {
            result.as_ref().map_or(0, |accepted| request.record.sells(accepted))
        };
        self.sold.increment(answers.iter().map(sold).sum::<usize>() as u64);
        let late = answers.iter().filter(|(_, result)| matches!(result, Ok(Outcome::LateCredit(_)))).count();
        self.late.increment(late as u64);
    }
}

/// Sends each result to its receiver. Each draw actor gets one message with all of its results.
fn deliver(answers: Answers<WriteRequest>) {
    let of_draws =
        answers.into_iter().filter_map(|(WriteRequest { record, reply_to, .. }, result)| match reply_to {
            ReplyTo::One(reply) => {
                // The caller may have stopped waiting.
                let _ = reply.send(result);
                None
            }
            ReplyTo::Draw(draw, waiter) => Some((draw, WriteResult { record, result, waiter })),
        });
    for (draw, results) in group_by_draw(of_draws) {
        if draw.connected() {
            draw.do_send(WriteResults(results));
        } else {
            let answers = results.into_iter().filter_map(WriteResult::into_answer);
            answers.for_each(|(reply, answer)| reply.send(answer));
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
        ctx.run_interval(PING_INTERVAL, PersistenceActor::ping);
    }
}

impl Handler<WriteRequest> for PersistenceActor {
    type Result = ();

    fn handle(&mut self, request: WriteRequest, ctx: &mut Context<Self>) {
        deliver(self.queue.push(request));
        self.pump(ctx);
    }
}

impl Handler<Ping> for PersistenceActor {
    type Result = ();

    fn handle(&mut self, Ping: Ping, _: &mut Context<Self>) {}
}

impl Handler<StepJob> for PersistenceActor {
    type Result = ();

    fn handle(&mut self, job: StepJob, ctx: &mut Context<Self>) {
        self.queue.push_step(job.0);
        self.pump(ctx);
    }
}
