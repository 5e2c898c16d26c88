//! The persistence actor's queue: what waits for the next transaction, in order and within its limits.
//! Knows no SQL.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use actix::prelude::*;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use tracing::Instrument;

use super::transaction::{Step, StepError, Writer};
use super::{Limits, Meters};
use crate::actors::draws::Waiting;
use crate::domain::record::{Accepted, Record, Refused};

/// How often the queue is searched for records whose deadline has passed while a transaction hangs.
const SWEEP: Duration = Duration::from_millis(100);

/// What became of a record.
#[derive(Debug)]
pub struct Answer {
    pub record: Record,
    pub result: Result<Accepted, Refused>,
    pub waiting: Waiting,
}

/// What became of a draw's records, in the order they were handed on.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct Answered(pub Vec<Answer>);

/// Who is to be told. The draw hears it first, and then tells the one who waits.
pub enum ReplyTo {
    Draw(Recipient<Answered>, Waiting),
    One(oneshot::Sender<Result<Accepted, Refused>>),
}

/// A record to write.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Submit {
    pub record: Record,
    pub deadline: Option<Instant>,
    pub reply: ReplyTo,
}

impl Submit {
    /// Whether it is too late to take it up.
    pub fn is_late(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }
}

/// Records, and what became of each.
pub type Outcomes = Vec<(Submit, Result<Accepted, Refused>)>;

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

    pub fn new<S: Step + 'static>(
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
    Record(Submit),
    Step(Job),
}

/// The actor.
pub struct Mailbox {
    /// Away while a transaction runs.
    writer: Option<Writer>,
    queue: VecDeque<Queued>,
    limits: Limits,
    meters: Meters,
}

impl Mailbox {
    pub fn new(writer: Writer, limits: Limits, meters: Meters) -> Mailbox {
        Mailbox { writer: Some(writer), queue: VecDeque::new(), limits, meters }
    }

    /// Starts the next transaction if none runs and anything waits.
    fn pump(&mut self, ctx: &mut Context<Self>) {
        if self.queue.is_empty() {
            return;
        }
        let Some(mut writer) = self.writer.take() else { return };
        match self.queue.pop_front() {
            Some(Queued::Step(job)) => {
                let run = async move {
                    job(&mut writer).await;
                    (writer, Vec::new())
                };
                ctx.spawn(run.into_actor(self).map(Mailbox::ran));
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
                ctx.spawn(run.instrument(span).into_actor(self).map(Mailbox::ran));
            }
            None => self.writer = Some(writer),
        }
    }

    /// The records that wait before the next step, up to the batch's limit.
    fn gather(&mut self, first: Submit) -> Vec<Submit> {
        let mut batch = vec![first];
        while batch.len() < self.limits.batch {
            match self.queue.pop_front() {
                Some(Queued::Record(submit)) => batch.push(submit),
                Some(step @ Queued::Step(_)) => {
                    self.queue.push_front(step);
                    break;
                }
                None => break,
            }
        }
        batch
    }

    fn ran((writer, answers): (Writer, Outcomes), actor: &mut Mailbox, ctx: &mut Context<Mailbox>) {
        actor.writer = Some(writer);
        deliver(answers);
        actor.pump(ctx);
    }

    /// Answers the records whose deadline has passed in the queue: nothing of them was taken.
    fn sweep(&mut self, now: Instant) {
        let late = |queued: &Queued| matches!(queued, Queued::Record(submit) if submit.is_late(now));
        if !self.queue.iter().any(late) {
            return;
        }
        let mut answers = Vec::new();
        for queued in std::mem::take(&mut self.queue) {
            match queued {
                Queued::Record(submit) if submit.is_late(now) => answers.push((submit, Err(Refused::Overloaded))),
                other => self.queue.push_back(other),
            }
        }
        deliver(answers);
    }
}

impl Meters {
    fn measure(&self, batch: &Outcomes) {
        let accepted = |(submit, result): &(Submit, Result<Accepted, Refused>)| {
            result.as_ref().map_or(0, |accepted| submit.record.sells(accepted))
        };
        self.batch.record(batch.len() as f64);
        self.sold.increment(batch.iter().map(accepted).sum::<usize>() as u64);
    }
}

/// Tells everybody, draw by draw in one message each.
fn deliver(answers: Outcomes) {
    let mut by_draw: Vec<(Recipient<Answered>, Vec<Answer>)> = Vec::new();
    for (submit, result) in answers {
        match submit.reply {
            ReplyTo::One(reply) => drop(reply.send(result)),
            ReplyTo::Draw(draw, waiting) => {
                let answer = Answer { record: submit.record, result, waiting };
                match by_draw.iter_mut().find(|(known, _)| *known == draw) {
                    Some((_, answers)) => answers.push(answer),
                    None => by_draw.push((draw, vec![answer])),
                }
            }
        }
    }
    for (draw, answers) in by_draw {
        if draw.connected() {
            draw.do_send(Answered(answers));
        } else {
            // The draw's actor is gone and its successor reads the truth from the database; those who
            // wait are told it from here.
            for Answer { record, result, waiting } in answers {
                waiting.answer(record, result);
            }
        }
    }
}

impl Actor for Mailbox {
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

impl Handler<Submit> for Mailbox {
    type Result = ();

    fn handle(&mut self, submit: Submit, ctx: &mut Context<Self>) {
        // What has no deadline must become true and is bounded by what it came from.
        if self.queue.len() >= self.limits.queue && submit.deadline.is_some() {
            deliver(vec![(submit, Err(Refused::Overloaded))]);
            return;
        }
        self.queue.push_back(Queued::Record(submit));
        self.pump(ctx);
    }
}

impl Handler<StepJob> for Mailbox {
    type Result = ();

    fn handle(&mut self, job: StepJob, ctx: &mut Context<Self>) {
        self.queue.push_back(Queued::Step(job.0));
        self.pump(ctx);
    }
}
