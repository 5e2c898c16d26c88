//! The clients of the model: their requests and answers. After a success the rows are committed. After a refusal
//! nothing is written, then or later. Each key has one effect and one answer.

use super::{Model, Try};
use crate::facts::{Id, Line, No, OrderRequest, Paid, PlacedOrder, Told, What};

impl Model {
    /// Adds a request of a player; returns its index.
    pub fn ask(&mut self, ask: OrderRequest) -> usize {
        if let What::GiveBack { payment, .. } = ask.what {
            self.given_back.insert(payment);
        }
        self.asks.push(ask);
        self.asks.len() - 1
    }

    pub fn asked(&self, ask: usize) -> &OrderRequest {
        &self.asks[ask]
    }

    pub fn asks(&self) -> usize {
        self.asks.len()
    }

    fn key_of(&self, ask: usize) -> Option<(i64, String)> {
        let ask = &self.asks[ask];
        ask.key.clone().map(|key| (ask.user, key))
    }

    /// The request is sent to a process; returns the index of this try.
    pub fn tries(&mut self, ask: usize, process: u64) -> usize {
        let place = self.tries.len();
        let moves = self.wallets[&self.asks[ask].user].len();
        self.tries.push(Try { ask, process, moves, told: false, refused: false, disowned: false, written: false });
        if let Some(key) = self.key_of(ask) {
            self.keys.entry(key).or_default().tries.push(place);
        }
        place
    }

    /// Whether this request has had its effect under its key.
    pub fn has_effect(&self, ask: usize) -> bool {
        let key = self.key_of(ask).and_then(|key| self.keys.get(&key));
        key.and_then(|key| key.effect).is_some_and(|(by, _)| by == ask)
    }

    /// "Processing" was committed. It is not the final result, and may be written again.
    pub fn noted(&mut self, place: usize, payment: Id) {
        if !self.tries[place].written {
            self.written(place, payment);
        }
    }

    /// The effect of this try was committed.
    pub fn written(&mut self, place: usize, payment: Id) {
        let tried = &mut self.tries[place];
        let ask = &self.asks[tried.ask];
        assert!(!tried.refused, "{ask:?} was refused, and then it was done");
        assert!(!tried.disowned, "{ask:?} was refused when it was asked again, and then it was done");
        assert!(!tried.written, "{ask:?} was done twice");
        tried.written = true;
        let place = tried.ask;
        if let Some(key) = self.key_of(place) {
            let key = self.keys.entry(key).or_default();
            assert_eq!(key.effect, None, "a second effect under the key of {:?}", self.asks[place]);
            key.effect = Some((place, payment));
        }
    }

    /// The player gets this answer.
    pub fn told(&mut self, place: usize, told: &Told) {
        let tried = &mut self.tries[place];
        assert!(!tried.told, "answered twice");
        tried.told = true;
        match told {
            Told::Unknown => {}
            Told::No(no) => self.told_no(place, *no),
            _ => self.told_yes(place, told),
        }
    }

    fn told_no(&mut self, place: usize, no: No) {
        let tried = &mut self.tries[place];
        let ask = tried.ask;
        assert!(!tried.written, "{:?} was done, and then refused: {no:?}", self.asks[ask]);
        tried.refused = true;
        let (user, moves) = (self.asks[ask].user, tried.moves);
        if let (No::InsufficientFunds, Some(amount)) = (no, self.price_of(ask)) {
            let had = &self.wallets[&user][moves - 1..];
            assert!(had.iter().any(|had| *had < amount), "{:?} had enough for {amount}: {had:?}", self.asks[ask]);
        }
        if no == No::TooManyReservations {
            let reserves = matches!(self.asks[ask].what, What::Order { reserve: true, .. });
            assert!(reserves, "only an order that reserves may exceed the limit: {:?}", self.asks[ask]);
        }
        let Some(key) = self.key_of(ask) else { return };
        let key = &self.keys[&key];
        let effect = key.effect.map(|(by, _)| by);
        match no {
            No::InProgress | No::Overloaded | No::Broken => {}
            No::KeyReused => assert!(effect.is_some_and(|by| by != ask), "its own key: {:?}", self.asks[ask]),
            _ => {
                assert_ne!(effect, Some(ask), "a replay was refused: {no:?} for {:?}", self.asks[ask]);
                // The player concludes that nothing was written. A payment that is being made may get such an
                // answer: "not payable" also means that it is paid or being paid. And a process that should have
                // ended does not know the requests of another process.
                if matches!(self.asks[ask].what, What::Order { .. }) {
                    let process = self.tries[place].process;
                    for earlier in key.tries.clone() {
                        let earlier = &mut self.tries[earlier];
                        earlier.disowned |= earlier.ask == ask && earlier.process == process && !earlier.written;
                    }
                }
            }
        }
    }

    /// The most that a request takes from its player's wallet.
    fn price_of(&self, ask: usize) -> Option<i64> {
        match &self.asks[ask].what {
            What::Order { draw, lines, .. } => Some(self.draws[draw].rules.price * lines.len() as i64),
            What::Wallet { payment } => Some(self.bills[payment].first.amount),
            What::Withdrawal { amount } => Some(*amount),
            What::Card { .. } | What::GiveBack { .. } | What::Deposit { .. } => None,
        }
    }

    fn told_yes(&mut self, place: usize, told: &Told) {
        let (ask, written) = (self.tries[place].ask, self.tries[place].written);
        let key = self.key_of(ask);
        let effect = key.as_ref().and_then(|key| self.keys[key].effect);
        let replayed = effect.is_some_and(|(by, _)| by == ask);
        assert!(written || replayed, "no success is answered before the commit: {:?}", self.asks[ask]);
        match told {
            Told::PlacedOrder(ordered) => self.check_ordered(ask, ordered),
            Told::Payment(paid) => self.check_paid(ask, paid),
            _ => {
                let What::GiveBack { ticket, .. } = self.asks[ask].what else { panic!("no ticket was returned") };
                let status = self.tickets[&ticket].row.status;
                assert!(matches!(status, "returned" | "expired"), "returned, but its status is {status}");
            }
        }
        let Some(key) = key else { return };
        let (_, payment) = effect.expect("a success with a key has an effect");
        let named = match told {
            Told::PlacedOrder(ordered) => ordered.payment,
            Told::Payment(paid) => paid.payment,
            _ => panic!("the return of a ticket has no key"),
        };
        assert_eq!(named, payment, "the payment of the effect");
        let deposit = matches!(self.asks[ask].what, What::Deposit { .. });
        let key = self.keys.get_mut(&key).expect("found above");
        match &key.first {
            // The first answer again, or a later state of the deposit.
            Some(Told::Payment(first)) if deposit && is_processing(first) => {}
            Some(_) if matches!(told, Told::Payment(paid) if deposit && is_processing(paid)) => {}
            Some(first) => assert_eq!(first, told, "a replay is the first answer again"),
            None => {}
        }
        key.first = Some(told.clone());
    }

    fn check_ordered(&self, ask: usize, it: &PlacedOrder) {
        let OrderRequest { user, what, .. } = &self.asks[ask];
        let What::Order { draw, lines, reserve } = what else { panic!("no order: {what:?}") };
        let bill = &self.bills[&it.payment];
        assert_eq!((bill.first.user, bill.first.draw), (*user, Some(*draw)), "another's order");
        assert_eq!((it.amount, it.until, it.created), (bill.first.amount, bill.first.until, bill.first.created));
        assert_eq!(it.until.is_some(), *reserve, "reserved as it was asked");
        let ids: Vec<Id> = it.tickets.iter().map(|ticket| ticket.id).collect();
        assert_eq!(ids, bill.tickets, "the tickets of the payment");
        assert_eq!(lines.len(), ids.len(), "a ticket for each line");
        for (line, told) in lines.iter().zip(&it.tickets) {
            let row = &self.tickets[&told.id].first;
            assert_eq!((told.mask, told.pool, told.number), (row.mask, row.pool, row.number));
            match line {
                Line::Numbers(mask) => assert_eq!((Some(told.mask), told.pool), (*mask, None)),
                Line::QuickPick => assert_eq!(told.pool, None),
                Line::PoolTicket(id) => assert_eq!(told.pool, Some(*id)),
                Line::FromPool => assert!(told.pool.is_some()),
            }
        }
    }

    fn check_paid(&self, ask: usize, it: &Paid) {
        let OrderRequest { user, what, .. } = &self.asks[ask];
        let bill = &self.bills[&it.payment];
        assert_eq!(bill.row.user, *user, "another's payment");
        match what {
            What::Wallet { payment } => {
                assert_eq!((it.payment, it.status.as_str()), (*payment, "paid"));
                assert_eq!(it.method.as_deref(), Some("wallet"));
            }
            // While its card was charged, an admin may have ended the charge, and the payment was paid in another
            // way. Then the card's money is in the wallet, and the answer is the payment without its tickets.
            What::Card { payment } => assert!(it.payment == *payment && it.method.is_some(), "{it:?}"),
            What::Deposit { amount } => assert_eq!((it.amount, bill.row.draw), (*amount, None)),
            What::Withdrawal { amount } => {
                let told = (it.amount, it.status.as_str(), bill.row.kind);
                assert_eq!(told, (*amount, "processing", "withdrawal"), "as it was held");
            }
            _ => panic!("no payment: {what:?}"),
        }
        if matches!(it.status.as_str(), "paid" | "refunded") {
            assert_eq!((it.status.as_str(), it.amount), (bill.row.status, bill.row.amount), "as it is written");
        }
        if it.status == "paid" && bill.row.kind == "purchase" {
            let paid = bill.tickets.iter().filter(|ticket| self.tickets[ticket].row.status == "paid");
            let late = matches!(what, What::Card { .. }) && it.tickets.is_empty();
            assert!(late || it.tickets.iter().eq(paid), "the tickets it paid for");
        }
        assert!(it.failure.is_none() || it.status != "paid", "paid and failed: {it:?}");
    }
}

fn is_processing(paid: &Paid) -> bool {
    paid.status == "processing"
}
