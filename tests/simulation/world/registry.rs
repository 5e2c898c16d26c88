//! Processes and their draw registries: which actor gets a message, how a draw is loaded, and the events that end
//! actors and processes. It knows no rule of a draw.

use std::mem;

use lottery::domain::draw::{
    Draw, DrawAbsent, DrawAnswer, DrawLoad, NewPool, PoolError, SaleError, StepRefusal, WriteResult,
};
use lottery::domain::id::DrawId;
use lottery::domain::lottery::DrawStatus;

use super::World;
use crate::actor::Actor;
use crate::coverage::Seen;
use crate::faults::OfPool;
use crate::process::{Effect, Entry, Mail, Message, PoolJob, Process, Waiting, Word};

impl World {
    /// A process starts, and takes over every draw that is not over.
    pub fn start_process(&mut self) {
        self.generations += 1;
        let mut process = Process::new(self.generations);
        for (draw, row) in &self.store.draws {
            if !row.status.is_over() {
                process.draws.insert(*draw, Entry::Loading { load: DrawLoad::default(), messages: Vec::new() });
            }
        }
        self.say(|| format!("process {} starts", process.name));
        if !self.processes.is_empty() {
            self.coverage.saw(Seen::SecondProcess);
            self.model.rivals = true;
        }
        self.processes.push(process);
    }

    /// A process starts and takes the place of all others. They do not know it and go on for a while: nothing that
    /// they send is written.
    pub fn take_over(&mut self) {
        for process in &self.processes {
            self.store.declare_dead(process.name);
        }
        self.coverage.saw(Seen::DeclaredDead);
        self.start_process();
    }

    /// Whether another process has declared this one dead.
    pub fn is_dead(&self, p: usize) -> bool {
        self.store.is_dead(self.processes[p].name)
    }

    /// A process is killed: its clients get no answer.
    pub fn kill(&mut self, p: usize) {
        for draw in self.processes[p].live() {
            self.compare_with_reload(p, draw);
        }
        let process = self.processes.remove(p);
        self.say(|| format!("process {} is killed", process.name));
        for request in 0..self.requests.len() {
            if self.requests[request].is_open_at(process.name) {
                self.hears(request, crate::facts::Told::Unknown);
            }
        }
        for charge in 0..self.charges.len() {
            self.charge_dies(charge, process.name);
        }
        if (0..self.processes.len()).all(|p| self.is_dead(p)) {
            self.start_process();
        }
    }

    /// Sends a message to a draw. The draw is loaded if it has no actor.
    pub fn route(&mut self, p: usize, draw: DrawId, message: Message) {
        match self.processes[p].draws.get_mut(&draw) {
            Some(Entry::Live(_)) => self.with_actor(p, draw, |actor, around| actor.message(message, around)),
            Some(Entry::Loading { messages, .. }) => messages.push(message),
            None => {
                let entry = Entry::Loading { load: DrawLoad::default(), messages: vec![message] };
                self.processes[p].draws.insert(draw, entry);
            }
        }
    }

    /// Does the next step of the load of a draw, or fails and begins anew.
    pub fn load(&mut self, p: usize, draw: DrawId) {
        if !self.processes[p].loading().contains(&draw) {
            return;
        }
        // The database refuses a new session of a dead process.
        if self.store.is_dead(self.processes[p].name) || self.dice.chance(self.temper.load) {
            let Some(Entry::Loading { load, messages }) = self.processes[p].draws.get_mut(&draw) else { return };
            let messages = mem::take(messages);
            *load = DrawLoad::default();
            self.coverage.saw(Seen::Unreachable);
            self.answer_absent(p, messages, DrawAbsent::Unreachable);
            return;
        }
        let Some(Entry::Loading { load, .. }) = self.processes[p].draws.get_mut(&draw) else { return };
        let next = match mem::take(load) {
            DrawLoad::ReadStatus => DrawLoad::status_read(Some(self.store.draws[&draw].status)),
            DrawLoad::TakeOver => {
                let epoch = self.store.take_over(draw);
                self.committed(None);
                let name = self.processes[p].name;
                self.say(|| format!("process {name} takes draw {draw} over"));
                DrawLoad::taken_over(Some(epoch))
            }
            DrawLoad::ReadState { epoch } => {
                self.saw_read(draw, epoch);
                DrawLoad::state_read(epoch, Some(self.store.load(draw)))
            }
            ended => unreachable!("a load that has ended goes on: {ended:?}"),
        };
        let Some(Entry::Loading { load, messages }) = self.processes[p].draws.get_mut(&draw) else { return };
        match next {
            DrawLoad::Loaded(loaded) => {
                let messages = mem::take(messages);
                self.loaded(p, *loaded);
                for message in messages {
                    self.route(p, draw, message);
                }
            }
            DrawLoad::Absent(absent) => {
                let messages = mem::take(messages);
                self.processes[p].draws.remove(&draw);
                self.answer_absent(p, messages, absent);
            }
            next => *load = next,
        }
    }

    fn saw_read(&mut self, draw: DrawId, epoch: i64) {
        let row = &self.store.draws[&draw];
        if row.epoch != epoch {
            self.coverage.saw(Seen::TakeoverRace);
        }
        match row.status {
            DrawStatus::Settling => self.coverage.saw(Seen::ReloadSettling),
            DrawStatus::Cancelling => self.coverage.saw(Seen::ReloadCancelling),
            _ => {}
        }
    }

    fn loaded(&mut self, p: usize, loaded: Draw) {
        self.coverage.saw(Seen::Reloaded);
        self.generations += 1;
        let (draw, name) = (loaded.id(), self.processes[p].name);
        self.say(|| format!("process {name} has loaded draw {draw}"));
        let actor = Actor::new(loaded.counted_in(&self.processes[p].reservations), self.generations);
        self.processes[p].draws.insert(draw, Entry::Live(Box::new(actor)));
        self.with_actor(p, draw, |actor, around| actor.start(around));
    }

    /// Answers for a draw that has no actor.
    fn answer_absent(&mut self, p: usize, messages: Vec<Message>, absent: DrawAbsent) {
        for Message { request, waiter } in messages {
            self.answer(p, waiter.who, request.answer_absent(absent));
        }
    }

    /// An actor panics, or gives up: the messages in its mailbox are lost, and the records that it submitted are
    /// not.
    pub fn lose_actor(&mut self, p: usize, draw: DrawId) {
        let process = &mut self.processes[p];
        let Some(Entry::Live(actor)) = process.draws.get(&draw) else { return };
        let (gone, waiting) = ((draw, actor.generation), actor.waiting.clone());
        process.draws.insert(draw, Entry::Loading { load: DrawLoad::default(), messages: Vec::new() });
        let name = process.name;
        let (lost, kept): (Vec<Mail>, Vec<Mail>) =
            mem::take(&mut process.inbox).into_iter().partition(|mail| mail.to == gone);
        process.inbox.extend(kept);
        self.say(|| format!("process {name} loses its actor of draw {draw}"));
        for waiter in waiting.into_iter().filter(|waiter| matches!(waiter.who, Waiting::Charge(_))) {
            self.coverage.saw(Seen::AnswersLost);
            self.answer(p, waiter.who, DrawAnswer::Sale(Err(SaleError::OutcomeUnknown)));
        }
        for mail in lost {
            let Word::Results(results) = mail.what else { continue };
            for waiter in results.into_iter().filter_map(|result| result.waiter) {
                self.coverage.saw(Seen::AnswersLost);
                self.answer(p, waiter.who, DrawAnswer::Sale(Err(SaleError::OutcomeUnknown)));
            }
        }
    }

    /// Lets an actor handle the next message. False if there is none.
    pub fn deliver(&mut self, p: usize) -> bool {
        let process = &self.processes[p];
        if process.inbox.is_empty() {
            return false;
        }
        let to = process.inbox[self.dice.below(process.inbox.len())].to;
        let first = process.inbox.iter().position(|mail| mail.to == to).expect("at least this message");
        let mail = self.processes[p].inbox.remove(first).expect("found above");
        if self.processes[p].is_live(to) {
            self.say(|| format!("the actor of draw {} reads a message", to.0));
            self.with_actor(p, to.0, |actor, around| actor.mail(mail.what, around));
        } else {
            // The draw is over, and its actor was stopped after all messages before.
            self.post(p, to, mail.what);
        }
        true
    }

    /// Delivers results of records: to the draw's actor if it is live, otherwise to the waiters.
    pub(super) fn post(&mut self, p: usize, to: (DrawId, u64), what: Word) {
        if self.processes[p].is_live(to) {
            self.processes[p].inbox.push_back(Mail { to, what });
        } else if let Word::Results(results) = what {
            let answers = results.into_iter().filter_map(WriteResult::into_answer);
            let effects = answers.map(|(waiter, answer)| Effect::Answer(waiter.who, Box::new(answer))).collect();
            self.take_effect(p, effects);
        }
    }

    /// Writes pool tickets that are being made, outside the batches.
    pub fn write_pool(&mut self, p: usize) {
        let Some(place) =
            (!self.processes[p].pools.is_empty()).then(|| self.dice.below(self.processes[p].pools.len()))
        else {
            return;
        };
        let PoolJob { actor, order, waiter } = self.processes[p].pools.swap_remove(place);
        if !self.processes[p].is_live(actor) && self.dice.chance(500) {
            return; // It went with its actor.
        }
        let tickets = self.new_pool(actor.0, order.count);
        let fault = if self.is_dead(p) { OfPool::Lost } else { self.temper.of_pool(&mut self.dice) };
        let sent = !matches!(fault, OfPool::Lost | OfPool::Unknown { committed: false });
        let written = sent && self.store.add_to_pool(order.fence, &tickets);
        self.say(|| format!("a pool of {} for draw {}: {fault:?}, {written}", tickets.len(), actor.0));
        self.committed(Some(p));
        let (seen, result) = match fault {
            OfPool::Lost => (Seen::PoolLost, Err(StepRefusal::Unavailable.into())),
            OfPool::Unknown { .. } => (Seen::PoolUnknown, Err(PoolError::OutcomeUnknown)),
            OfPool::Nothing if written => (Seen::PoolMade, Ok(NewPool { tickets, available: None })),
            OfPool::Nothing => (Seen::PoolStale, Err(StepRefusal::InvalidTransition(DrawStatus::Closed).into())),
        };
        self.coverage.saw(seen);
        self.post(p, actor, Word::Pool(result, waiter));
    }

    /// Answers the records whose deadline has passed in the queue.
    pub fn sweep(&mut self, p: usize) {
        let late = self.processes[p].queue.drop_late(self.step);
        self.deliver_outcomes(p, late);
    }
}
