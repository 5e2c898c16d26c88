//! The world of a history: a clock, the database, the processes of the service, the players, the card provider,
//! and the model that checks all of them. It defines what can happen; `history` decides when it happens.

mod cards;
mod players;
mod registry;
mod wallets;
mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use jiff::{SignedDuration, Timestamp};
use lottery::domain::audit::AuditActor;
use lottery::domain::draw::{Draw, DrawState, Times};
use lottery::domain::game::Game;
use lottery::domain::id::{DrawId, LotteryId, PaymentId, PoolTicketId, UserId};
use lottery::domain::ledger::AccountId;
use lottery::domain::lottery::{DrawStatus, Rules};
use lottery::domain::money::{Money, Share};
use lottery::domain::payment::PaymentStatus;
use lottery::domain::prize::{Award, PrizeTable, Tier};
use uuid::Uuid;

use crate::coverage::{Coverage, Seen};
use crate::dice::Dice;
use crate::facts;
use crate::faults::Temper;
use crate::model::Model;
use crate::process::{Around, Effect, Entry, Process};
use crate::store::{self, DrawRow, JACKPOT_ACCOUNT, Store};

use cards::Verdict;
pub use cards::{Charge, Stage};
pub use players::Request;
pub use writer::Late;

pub const PLAYERS: i64 = 3;
/// The admin who requests and decides everything that only an admin may.
pub const ADMIN: AuditActor =
    AuditActor { user: UserId(0), address: IpAddr::V4(Ipv4Addr::LOCALHOST), request: Uuid::nil() };
/// The money of each player at the beginning, in minor units.
const FUNDS: i64 = 400;
/// The probability, in thousandths, that a timer fires late.
const LATE: usize = 300;
/// The time at which a history begins.
const BEGINNING: i64 = 1_900_000_000;

pub struct World {
    pub dice: Dice,
    pub now: Timestamp,
    /// The number of events so far.
    pub step: u64,
    pub temper: Temper,
    pub store: Store,
    pub model: Model,
    pub coverage: Coverage,
    /// The processes. The newest is the last; there is always one.
    pub processes: Vec<Process>,
    pub requests: Vec<Request>,
    pub charges: Vec<Charge>,
    /// The charges whose result the provider will report later.
    pub notices: Vec<usize>,
    /// The calls of the provider that a killed process had not sent, or whose answer it did not hear. They may still
    /// arrive.
    pub late_calls: Vec<usize>,
    /// What the provider knows of each charge.
    provider: BTreeMap<facts::Name, Verdict>,
    /// The late transactions in the sockets of lost connections.
    pub late: Vec<Late>,
    /// The steps that admins requested: the draw, the least status that it must have when the admin gets the
    /// answer "done", and the model's number of the new times, if the admin requested some.
    pub admins: Vec<(DrawId, DrawStatus, Option<usize>)>,
    /// The requests whose record the database was made to refuse.
    broken: BTreeSet<usize>,
    /// Payments that could not be paid because their time was over.
    refused_pays: BTreeSet<PaymentId>,
    ids: u64,
    generations: u64,
    /// The log of the events, if it is wanted.
    pub log: Option<Vec<String>>,
}

impl World {
    pub fn new(seed: u64, logged: bool) -> World {
        let mut dice = Dice::new(seed);
        let temper = Temper::roll(&mut dice);
        let mut world = World {
            dice,
            now: Timestamp::from_second(BEGINNING).unwrap(),
            step: 0,
            temper,
            store: Store::default(),
            model: Model::default(),
            coverage: Coverage::new(),
            processes: Vec::new(),
            requests: Vec::new(),
            charges: Vec::new(),
            notices: Vec::new(),
            late_calls: Vec::new(),
            provider: BTreeMap::new(),
            late: Vec::new(),
            admins: Vec::new(),
            broken: BTreeSet::new(),
            refused_pays: BTreeSet::new(),
            ids: 0,
            generations: 0,
            log: logged.then(Vec::new),
        };
        world.open_accounts();
        let game = world.game();
        for draw in 1..=world.dice.between(1, 3) {
            let rules = world.rules(game);
            world.make_draw(DrawId(draw), rules);
        }
        world.start_process();
        world
    }

    pub fn say(&mut self, what: impl FnOnce() -> String) {
        if let Some(log) = &mut self.log {
            let at = store::second(self.now) - BEGINNING;
            log.push(format!("{:>4} {at:>5}s  {}", self.step, what()));
        }
    }

    fn open_accounts(&mut self) {
        let accounts = &mut self.store.accounts;
        for account in [AccountId::RESERVE, AccountId::REVENUE, JACKPOT_ACCOUNT] {
            accounts.insert(account, Money::ZERO);
        }
        accounts.insert(AccountId::CLEARING, Money::new(-FUNDS * PLAYERS));
        for user in 1..=PLAYERS {
            accounts.insert(AccountId::wallet(UserId(user)), Money::new(FUNDS));
            accounts.insert(AccountId::held(UserId(user)), Money::ZERO);
        }
        self.model.open(accounts.iter().map(|(id, balance)| (id.0, balance.minor())));
    }

    fn game(&mut self) -> Game {
        let (pick, of) = [(2, 5), (2, 6), (3, 6), (2, 64)][self.dice.weighted(&[3, 3, 3, 1])];
        Game::new(pick, of).unwrap()
    }

    /// Rules with odd prices and odd shares, so that wrong rounding is found.
    fn rules(&mut self, game: Game) -> Rules {
        let price = self.dice.between(7, 120);
        let fund_share = self.dice.one_of(&[0, 3_333, 5_000, 7_777, 10_000]).unwrap();
        let mut left = 10_000;
        let mut tiers = Vec::new();
        for matches in (1..=game.pick_size()).rev().filter(|matches| game.ways(*matches) > 0) {
            let award = match self.dice.below(3) {
                0 => Award::Fixed(Money::new(self.dice.between(1, 3 * price))),
                1 if left > 0 => {
                    let share = self.dice.between(1, left);
                    left -= share;
                    let minimum = self.dice.chance(500).then(|| Money::new(self.dice.between(1, 5 * price)));
                    Award::Shared { share: Share::new(share as u16).unwrap(), minimum }
                }
                _ => continue,
            };
            tiers.push(Tier { matches, award });
        }
        if tiers.is_empty() {
            let share = Share::new(9_999).unwrap();
            tiers.push(Tier { matches: game.pick_size(), award: Award::Shared { share, minimum: None } });
        }
        Rules {
            lottery: LotteryId("l".to_owned()),
            game,
            price: Money::new(price),
            fund_share: Share::new(fund_share).unwrap(),
            prizes: PrizeTable::new(game, tiers).unwrap(),
        }
    }

    fn make_draw(&mut self, id: DrawId, rules: Rules) {
        let close = self.dice.between(120, 900);
        let opens = if self.dice.chance(700) { Some(self.dice.between(0, 60)) } else { None };
        let at = |seconds: i64| self.now + SignedDuration::from_secs(seconds);
        let draw_at = at(close + self.dice.between(0, 300));
        let times = Times { sales_open_at: opens.map(at), sales_close_at: at(close), draw_at };
        let award = |tier: &Tier| match tier.award {
            Award::Fixed(amount) => facts::Award::Fixed(amount.minor()),
            Award::Shared { share, minimum } => facts::Award::Share {
                basis_points: share.basis_points().into(),
                minimum: minimum.map(Money::minor),
            },
        };
        let plain = facts::Rules {
            pick: rules.game.pick_size(),
            of: rules.game.of(),
            price: rules.price.minor(),
            fund_share: rules.fund_share.basis_points().into(),
            tiers: rules.prizes.tiers().iter().map(|tier| (tier.matches, award(tier))).collect(),
        };
        self.model.draw(id.0, plain, store::plain(&times));
        self.store.accounts.insert(AccountId::escrow(id), Money::ZERO);
        let row = DrawRow {
            number: id.0 as i32,
            rules,
            times,
            status: DrawStatus::Scheduled,
            epoch: 1,
            sold: 0,
            edge: None,
            pool: BTreeMap::new(),
            cancellation: None,
            result: None,
        };
        let fence = lottery::domain::record::Fence { draw: id, epoch: 1 };
        self.store.draws.insert(id, row);
        let count = self.dice.below(7);
        let tickets = self.new_pool(id, count);
        assert!(self.store.add_to_pool(fence, &tickets), "a new draw has its first epoch");
        self.committed(None);
    }

    /// New pool tickets with combinations that the draw's pool does not have.
    fn new_pool(&mut self, draw: DrawId, count: usize) -> Vec<(PoolTicketId, lottery::domain::game::Pick)> {
        let row = &self.store.draws[&draw];
        let held = row.pool.values().copied().collect();
        let picks = row.rules.game.distinct_picks(count, &held, self.dice.rng()).unwrap_or_default();
        picks.into_iter().map(|pick| (PoolTicketId(self.id()), pick)).collect()
    }

    fn id(&mut self) -> Uuid {
        self.ids += 1;
        Uuid::from_u128(self.ids.into())
    }

    /// A commit by the writer of this process or by another program. The model checks every row of it.
    fn committed(&mut self, by: Option<usize>) {
        self.coverage.commits += 1;
        for (p, process) in self.processes.iter_mut().enumerate() {
            process.disturbed |= by != Some(p);
        }
        let facts = self.store.take_facts();
        self.model.now = store::second(self.now);
        if self.log.is_some() {
            for fact in &facts {
                self.say(|| format!("       {fact:?}"));
            }
        }
        let balances = self.store.accounts.iter().map(|(id, balance)| (id.0, balance.minor()));
        self.model.commit(&facts, balances);
    }

    /// Moves the clock. Timers that are due fire at once or late.
    pub fn pass(&mut self, seconds: i64) {
        self.say(|| format!("{seconds} s pass"));
        self.now += SignedDuration::from_secs(seconds);
        for p in 0..self.processes.len() {
            for draw in self.processes[p].live() {
                if !self.dice.chance(LATE) {
                    self.wake(p, draw);
                }
            }
        }
    }

    /// Fires the timer of an actor. False if its time has not come.
    pub fn wake(&mut self, p: usize, draw: DrawId) -> bool {
        let mut due = false;
        self.with_actor(p, draw, |actor, around| {
            due = actor.timer.is_some_and(|at| at <= around.now);
            if due {
                actor.wake(around);
            }
        });
        due
    }

    /// Runs a live actor, and carries out its effects.
    fn with_actor(&mut self, p: usize, draw: DrawId, act: impl FnOnce(&mut crate::actor::Actor, &mut Around<'_>)) {
        let mut effects = Vec::new();
        let process = &mut self.processes[p];
        let Some(Entry::Live(actor)) = process.draws.get_mut(&draw) else { return };
        let mut around = Around {
            now: self.now,
            store: &self.store,
            dice: &mut self.dice,
            ids: &mut self.ids,
            queue: &mut process.queue,
            inbox: &mut process.inbox,
            pools: &mut process.pools,
            effects: &mut effects,
            coverage: &mut self.coverage,
        };
        act(actor, &mut around);
        let lost = actor.lost;
        self.model.in_flight(draw.0, actor.orders_in_flight);
        if lost {
            self.coverage.saw(Seen::Contradiction);
            self.lose_actor(p, draw);
        }
        self.take_effect(p, effects);
    }

    fn take_effect(&mut self, p: usize, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Answer(waiting, answer) => self.answer(p, waiting, *answer),
                Effect::Over(draw) => drop(self.processes[p].draws.remove(&draw)),
            }
        }
    }

    fn admin_hears(&mut self, admin: usize, taken: bool) {
        let (draw, least, times) = self.admins[admin];
        self.say(|| format!("admin {admin} gets {taken}"));
        if !taken {
            self.coverage.saw(Seen::StepRefused);
            return;
        }
        let status = self.store.draws[&draw].status;
        assert!(status >= least, "the answer to an admin was that draw {draw} is {least:?}, but it is {status:?}");
        if let Some(times) = times {
            self.model.times_answered(draw.0, times);
        }
        if least == DrawStatus::Completed {
            self.coverage.saw(Seen::ConductAgain);
        }
    }

    /// If nothing of an actor is in flight, its memory must equal what a reload would read from the database.
    pub fn compare_with_reload(&mut self, p: usize, draw: DrawId) {
        let process = &self.processes[p];
        let Some(Entry::Live(actor)) = process.draws.get(&draw) else { return };
        let owns = actor.draw().fence().epoch == self.store.draws[&draw].epoch;
        if !owns || !actor.is_idle() || !process.at_rest((draw, actor.generation)) {
            return;
        }
        let (memory, loaded) = (actor.draw().parts(), self.store.load(draw));
        let mut memory = memory.clone();
        let reloaded = Draw::new(loaded.clone());
        assert_eq!(actor.published, Some(reloaded.view()), "the snapshot of draw {draw} equals the database");
        let next = (actor.draw().next_due(), reloaded.next_due());
        let plain = self.even_out(&mut memory, &loaded);
        assert_eq!(memory, loaded, "a reload gives the same memory of draw {draw}");
        assert!(!plain || next.0 == next.1, "a reload sets another timer: {next:?}");
        let counted = (actor.draw().open_reservations(), reloaded.open_reservations());
        assert_eq!(counted.0, counted.1, "a reload counts the same open reservations of draw {draw}");
        self.coverage.saw(Seen::ReloadCompared);
    }

    /// Removes a permitted difference: if another process has ended a charge, one memory holds the tickets until
    /// the cut-off and the other until their expiry. Returns whether there was no difference.
    fn even_out(&self, memory: &mut DrawState, loaded: &DrawState) -> bool {
        let mut plain = true;
        for (payment, held) in &mut memory.reservations {
            let open = [PaymentStatus::Pending, PaymentStatus::Processing];
            if held.state.is_charging() && !open.contains(&self.store.payments[payment].status) {
                plain = false;
                held.state = loaded.reservations.get(payment).map_or(held.state, |it| it.state);
            }
        }
        if loaded.status > DrawStatus::Open {
            // These pool tickets were written before the seal and reported after it. They cannot be sold any
            // more.
            memory.pool = loaded.pool.clone();
        }
        plain
    }
}
