//! Counts the sold tickets of a draw before its prizes are fixed, and again when they are paid. The rows that are counted
//! are hashed into the leaves of the ticket log, whose root must be the sealed one. For each piece of the list the count
//! keeps a hash of its winning tickets: the payout reads only these, and pays them only if their hash is the same. So what
//! is paid is what was counted, and what was counted is what was sealed. This file reads nothing.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use uuid::Uuid;
use verifiable_draw::Hash;
use verifiable_draw::merkle::edge::Edge;
use verifiable_draw::merkle::tiles::TILE_WIDTH;
use verifiable_draw::merkle::{Head, hash_leaf};

use super::game::{Game, Pick};
use super::id::{PaymentId, UserId};
use super::lottery::Rules;
use super::money::Money;
use super::payout::Credit;
use super::ticket_log::{PaidOrder, PaidOrders, TicketLogKeys};

/// The tickets of a draw with a number above the first value and not above the second.
pub type TicketRange = (i64, i64);

/// Why the sold tickets are not those that were sealed, or the winners not those that were counted.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ListFault {
    #[error("ticket {0} is missing")]
    Number(i64),
    #[error("ticket {0} has numbers that are not legal")]
    Pick(i64),
    #[error("the tickets of payment {payment} are no order: {why}")]
    Order { payment: PaymentId, why: String },
    #[error("{sealed} tickets were sealed, and {sold} are sold")]
    Tickets { sealed: i64, sold: i64 },
    #[error("{sealed} orders were sealed, and {counted} are paid")]
    Orders { sealed: u64, counted: u64 },
    #[error("the root of the paid orders is not the sealed one")]
    Root,
    #[error("the seal is not the one that was published")]
    Seal,
    #[error("the rules of the draw, with its prizes, are not those that it was announced with")]
    Rules,
    #[error("the winning numbers do not follow from what was published")]
    Numbers,
    #[error("the winning tickets among {} to {} are not those that were counted", .0.0 + 1, .0.1)]
    Winners(TicketRange),
    #[error("the stored prizes are not those that follow from the counted tickets")]
    Prizes,
    #[error("a ticket of payment {0} has another owner than the payer, so it is not known whom to refund")]
    Payer(PaymentId),
    #[error("the result is not the one that was published before a backup was restored")]
    Published,
}

/// The row of a sold ticket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SoldTicket {
    pub number: i64,
    pub id: Uuid,
    pub payment: PaymentId,
    pub user: UserId,
    /// The mask of its numbers, which may be illegal.
    pub pick: i64,
}

/// What was sealed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SealedTickets {
    pub tickets: i64,
    /// `None`: the draw was opened before draws had ticket logs.
    pub log: Option<Head>,
}

/// The settings of one count. Its pieces may be counted at the same time.
#[derive(Debug)]
pub struct Recount {
    game: Game,
    winning: Pick,
    /// The matches that win.
    tiers: Vec<u8>,
    /// `None`: the draw has no ticket log, and nothing is hashed.
    log: Option<TicketLogKeys>,
}

/// The result of one piece.
#[derive(Debug)]
pub struct CountedPiece {
    tickets: TicketRange,
    hits: BTreeMap<i64, i64>,
    winners: Hash,
    /// The orders at both ends, which may go on in the pieces beside this one, and the leaves between them.
    first: Option<PaidOrder>,
    leaves: Vec<Hash>,
    last: Option<PaidOrder>,
}

impl Recount {
    pub fn new(rules: &Rules, winning: Pick, log: Option<TicketLogKeys>) -> Recount {
        let tiers = rules.prizes.tiers().iter().map(|tier| tier.matches).collect();
        Recount { game: rules.game, winning, tiers, log }
    }

    pub fn winning(&self) -> Pick {
        self.winning
    }

    /// The matches that win.
    pub fn tiers(&self) -> &[u8] {
        &self.tiers
    }

    /// Counts the tickets of this piece, which come in the order of their numbers.
    ///
    /// # Errors
    /// [`ListFault`] if one is missing, or is no ticket of a sale.
    pub fn count(
        &self,
        range: TicketRange,
        tickets: impl IntoIterator<Item = SoldTicket>,
    ) -> Result<CountedPiece, ListFault> {
        let (mut hits, mut winners, mut groups) = ([0_i64; 65], WinnersHash::default(), PaidOrders::default());
        let (mut first, mut leaves, mut number) = (None, Vec::new(), range.0);
        for ticket in tickets {
            number += 1;
            if ticket.number != number {
                return Err(ListFault::Number(number));
            }
            let pick = self.game.pick_from_mask(ticket.pick).map_err(|_| ListFault::Pick(number))?;
            let matches = pick.matches(self.winning);
            hits[usize::from(matches)] += 1;
            if self.tiers.contains(&matches) {
                winners.add(&ticket);
            }
            if self.log.is_none() {
                continue;
            }
            let Some(order) = groups.push(number, ticket.payment, ticket.user, pick) else { continue };
            match first {
                None => first = Some(order),
                Some(_) => leaves.push(self.leaf(&order)?),
            }
        }
        if number != range.1 {
            return Err(ListFault::Number(number + 1));
        }
        let last = groups.end();
        let (first, last) = if first.is_none() { (last, None) } else { (first, last) };
        let hits = (0..).zip(hits).filter(|(_, tickets)| *tickets > 0).collect();
        Ok(CountedPiece { tickets: range, hits, winners: winners.finish(), first, leaves, last })
    }

    fn leaf(&self, order: &PaidOrder) -> Result<Hash, ListFault> {
        let PaidOrder { payment, user, first, ref picks } = *order;
        let fault = |why: String| ListFault::Order { payment, why };
        let log = self.log.as_ref().ok_or_else(|| fault("the draw has no ticket log".to_owned()))?;
        let entry = log.entry(first, user, &log.salt(payment), picks.iter().copied());
        entry.map(|entry| hash_leaf(&entry)).map_err(|error| fault(error.to_string()))
    }
}

/// The hash of winning tickets, in the order of their numbers.
#[derive(Default)]
struct WinnersHash(Sha256);

impl WinnersHash {
    fn add(&mut self, ticket: &SoldTicket) {
        self.0.update(ticket.number.to_be_bytes());
        self.0.update(ticket.id.as_bytes());
        self.0.update(ticket.payment.0.as_bytes());
        self.0.update(ticket.user.0.to_be_bytes());
        self.0.update(ticket.pick.to_be_bytes());
    }

    fn finish(self) -> Hash {
        self.0.finalize().into()
    }
}

/// The count of a whole list, piece by piece.
#[derive(Debug)]
pub struct RunningCount {
    recount: Arc<Recount>,
    hits: BTreeMap<i64, i64>,
    /// By the number of the piece's last ticket: a hash for thousands of tickets.
    winners: HashMap<i64, (i64, Hash)>,
    edge: Edge,
    /// The last order, which may go on in the next piece.
    open: Option<PaidOrder>,
    /// The roots of the complete tiles: a hash for 256 orders.
    tiles: Vec<Hash>,
}

impl RunningCount {
    pub fn new(recount: Arc<Recount>) -> RunningCount {
        let (hits, winners, tiles) = (BTreeMap::new(), HashMap::new(), Vec::new());
        RunningCount { recount, hits, winners, edge: Edge::new(), open: None, tiles }
    }

    /// Adds the next piece. The pieces come in the order of their tickets.
    ///
    /// # Errors
    /// [`ListFault::Order`] if an order that two pieces share is none.
    pub fn add(&mut self, piece: CountedPiece) -> Result<(), ListFault> {
        let CountedPiece { tickets: (after, to), hits, winners, first, leaves, last } = piece;
        for (matches, tickets) in hits {
            *self.hits.entry(matches).or_default() += tickets;
        }
        self.winners.insert(to, (after, winners));
        let Some(mut first) = first else { return Ok(()) };
        let mut all = Vec::with_capacity(leaves.len() + 2);
        match self.open.take() {
            Some(mut open) if open.is_of(first.payment, first.user) => {
                open.picks.append(&mut first.picks);
                first = open;
            }
            Some(open) => all.push(self.recount.leaf(&open)?),
            None => {}
        }
        if last.is_none() {
            self.open = Some(first);
        } else {
            all.push(self.recount.leaf(&first)?);
            all.extend(leaves);
            self.open = last;
        }
        self.append(all);
        Ok(())
    }

    fn append(&mut self, leaves: Vec<Hash>) {
        let appended = self.edge.append_batch(leaves).expect("no draw has 2^64 orders");
        self.tiles.extend(appended.completed(TILE_WIDTH.ilog2()).map(|(_, root)| root));
        self.edge = appended.into_edge();
    }

    /// Ends the count, and compares the root with the sealed one.
    ///
    /// # Errors
    /// The [`ListFault`], and the roots of the complete tiles that were counted.
    pub fn finish(mut self, sealed: &SealedTickets) -> Result<CountedList, (ListFault, Vec<Hash>)> {
        if let Some(open) = self.open.take() {
            match self.recount.leaf(&open) {
                Ok(leaf) => self.append(vec![leaf]),
                Err(fault) => return Err((fault, self.tiles)),
            }
        }
        match self.fault(sealed) {
            Some(fault) => Err((fault, self.tiles)),
            None => Ok(CountedList { recount: self.recount, hits: self.hits, winners: self.winners }),
        }
    }

    fn fault(&self, sealed: &SealedTickets) -> Option<ListFault> {
        let sold = self.hits.values().sum();
        if sold != sealed.tickets {
            return Some(ListFault::Tickets { sealed: sealed.tickets, sold });
        }
        let (sealed, counted) = (sealed.log?, self.edge.head());
        if sealed.size != counted.size {
            return Some(ListFault::Orders { sealed: sealed.size, counted: counted.size });
        }
        (sealed.root != counted.root).then_some(ListFault::Root)
    }
}

/// A list that was counted, and is the sealed one.
#[derive(Debug)]
pub struct CountedList {
    recount: Arc<Recount>,
    hits: BTreeMap<i64, i64>,
    winners: HashMap<i64, (i64, Hash)>,
}

impl CountedList {
    /// The number of tickets for each number of matches.
    pub fn hits(&self) -> &BTreeMap<i64, i64> {
        &self.hits
    }

    pub fn recount(&self) -> &Recount {
        &self.recount
    }

    /// What the winning tickets of a piece are paid, by their matches. `winners` were read again, in the order of their
    /// numbers.
    ///
    /// # Errors
    /// [`ListFault::Winners`] if they are not those that were counted, or the piece is none that was counted.
    pub fn credits(
        &self,
        range: TicketRange,
        winners: &[SoldTicket],
        prizes: &[(i64, Money)],
    ) -> Result<Vec<Credit>, ListFault> {
        let mut hash = WinnersHash::default();
        winners.iter().for_each(|ticket| hash.add(ticket));
        if self.winners.get(&range.1) != Some(&(range.0, hash.finish())) {
            return Err(ListFault::Winners(range));
        }
        let Recount { game, winning, .. } = *self.recount;
        let credit = |ticket: &SoldTicket| {
            // It is one of those that were counted, so its numbers are legal.
            let matches = i64::from(game.pick_from_mask(ticket.pick).ok()?.matches(winning));
            let (_, amount) = *prizes.iter().find(|(tier, _)| *tier == matches)?;
            Some(Credit { user: ticket.user, reference: ticket.id, amount })
        };
        Ok(winners.iter().filter_map(credit).collect())
    }
}

#[cfg(test)]
mod tests;
