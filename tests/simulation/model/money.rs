//! The money of the model: every transfer has a reason, every payment has its tickets or its money back, and no
//! wallet is ever below zero. The prizes are computed here, independently of the domain.

use std::collections::BTreeMap;

use super::{CLEARING, JACKPOT, Model, RESERVE, REVENUE, escrow, held, wallet};
use crate::facts::{Award, Id, Prizes, Transfer};

impl Model {
    /// Books a transfer, and asserts that it has a reason. Returns the payment that it is for.
    pub(super) fn transfer(&mut self, it: &Transfer) -> Option<Id> {
        assert!(it.amount > 0 && it.debit != it.credit, "an invalid transfer: {it:?}");
        for (account, change) in [(it.debit, -it.amount), (it.credit, it.amount)] {
            let balance = self.balances.get_mut(&account).expect("an account that was opened");
            *balance += change;
            let may_be_negative = account == CLEARING || account == RESERVE;
            assert!(may_be_negative || *balance >= 0, "account {account} is overdrawn: {it:?}");
            if let Some(wallet) = self.wallets.get_mut(&(account / 8)).filter(|_| account % 8 == 1) {
                wallet.push(*balance);
            }
        }
        if let Some((user, after)) = it.wallet {
            let own = wallet(user);
            assert!(it.debit == own || it.credit == own, "another's wallet: {it:?}");
            assert_eq!(after, self.balances[&own], "the balance after: {it:?}");
        }
        match it.kind {
            "purchase" => {
                let bill = self.bill_mut(it.reference.expect("a purchase names its payment"));
                assert_eq!(bill.purchase, None, "payment {} was taken twice", bill.row.id);
                bill.purchase = Some((it.debit, it.amount));
                assert_eq!(Some(it.credit), bill.row.draw.map(escrow), "into the draw's escrow");
            }
            "deposit" => {
                let bill = self.bill_mut(it.reference.expect("a deposit names its payment"));
                bill.deposits.push(it.amount);
                assert_eq!((it.debit, it.credit), (CLEARING, wallet(bill.row.user)), "into the payer's wallet");
            }
            "refund" => {
                let bill = self.bill_mut(it.reference.expect("a refund names its payment"));
                assert_eq!(bill.refund, None, "payment {} was refunded twice", bill.row.id);
                bill.refund = Some(it.amount);
                let (user, draw) = (bill.row.user, bill.row.draw.expect("only purchases are refunded"));
                assert_eq!((it.debit, it.credit), (escrow(draw), wallet(user)), "to the payer");
                assert_eq!(self.draws[&draw].status, "cancelling", "a refund of a draw that takes place");
            }
            "withdrawal" => {
                let bill = self.bill_mut(it.reference.expect("a withdrawal names its payment"));
                assert_eq!(bill.row.amount, it.amount, "all of it: {it:?}");
                bill.way.push((it.debit, it.credit));
            }
            "prize" => {
                let held = self.ticket_mut(it.reference.expect("a prize names its ticket"));
                assert_eq!(held.prize, None, "ticket {} was paid its prize twice", held.row.id);
                held.prize = Some(it.amount);
                let (user, draw) = (held.row.user, held.row.draw);
                assert_eq!((it.debit, it.credit), (escrow(draw), wallet(user)), "to the owner");
                assert_eq!(self.draws[&draw].status, "settling", "a prize of a draw that does not settle");
                return None;
            }
            kind => {
                self.with_house(kind, it);
                return None;
            }
        }
        it.reference
    }

    /// A transfer between a draw and the operator's accounts: each kind once.
    fn with_house(&mut self, kind: &'static str, it: &Transfer) {
        let (house, into) = match kind {
            "jackpot" => (JACKPOT, true),
            "reserve" => (RESERVE, true),
            "revenue" => (REVENUE, false),
            "rollover" => (JACKPOT, false),
            _ => panic!("a transfer of an unknown kind: {it:?}"),
        };
        let (from, to) = if into { (it.debit, it.credit) } else { (it.credit, it.debit) };
        assert_eq!((from, to % 8), (house, 3), "between the operator and a draw: {it:?}");
        let before = self.draw_mut(to / 8).house.insert(kind, it.amount);
        assert_eq!(before, None, "the {kind} of a draw moves once: {it:?}");
    }

    /// Asserts that a payment's status, its tickets and its money agree.
    pub(super) fn check_bill(&self, payment: Id) {
        let bill = &self.bills[&payment];
        let row = &bill.row;
        self.check_charges(payment);
        if row.kind == "deposit" {
            return;
        }
        if row.kind == "withdrawal" {
            let (aside, wallet) = (held(row.user), wallet(row.user));
            let on = match row.status {
                "processing" => None,
                "paid" => Some((aside, CLEARING)),
                "failed" => Some((aside, wallet)),
                _ => panic!("not a status of a withdrawal: {row:?}"),
            };
            let way: Vec<(i64, i64)> = [(wallet, aside)].into_iter().chain(on).collect();
            assert_eq!(bill.way, way, "held once, and then moved as its status says: {row:?}");
            return;
        }
        assert!(bill.way.is_empty(), "no withdrawal: {row:?}");
        let price = self.draws[&row.draw.expect("a purchase has a draw")].rules.price;
        let of = |status: &str| {
            bill.tickets.iter().filter(|ticket| self.tickets[ticket].row.status == status).count() as i64
        };
        let (reserved, paid) = (of("reserved"), of("paid"));
        match row.status {
            "paid" => {
                assert!(paid > 0 && reserved == 0, "the payment is paid, but not all of its tickets: {row:?}");
                assert_eq!(row.amount, price * paid, "paid for what was bought: {row:?}");
                let by_card = row.method == Some("card");
                let from = if by_card { CLEARING } else { wallet(row.user) };
                assert_eq!(bill.purchase, Some((from, row.amount)), "taken once: {row:?}");
                let first = self.tickets[&bill.tickets[0]].row.draw;
                let numbers = bill.tickets.iter().filter_map(|ticket| self.tickets[ticket].row.number);
                let numbers: Vec<i64> = numbers.collect();
                let together = numbers.windows(2).all(|pair| pair[1] == pair[0] + 1);
                assert!(together, "the numbers of a payment are consecutive in draw {first}: {numbers:?}");
                if let Some(refund) = bill.refund {
                    assert_eq!(refund, row.amount, "all of it is refunded: {row:?}");
                }
            }
            _ => {
                assert_eq!((paid, bill.purchase, bill.refund), (0, None, None), "not paid: {row:?}");
                if matches!(row.status, "pending" | "processing") && reserved > 0 {
                    assert_eq!(row.amount, price * reserved, "what there is to pay: {row:?}");
                }
                assert!(row.status != "pending" || reserved > 0, "nothing to pay: {row:?}");
                if row.status == "expired" && reserved == 0 {
                    self.check_expiry(payment);
                }
            }
        }
    }

    /// Each charge that ended as paid was booked once: it paid its payment, or its money is in the wallet. An open
    /// charge is the one that its payment waits for.
    fn check_charges(&self, payment: Id) {
        let bill = &self.bills[&payment];
        let row = &bill.row;
        let charges = || self.charges.range((payment, i64::MIN)..=(payment, i64::MAX)).map(|(_, charge)| charge);
        let paid = |late: bool| {
            let mut amounts: Vec<i64> = charges()
                .filter(|charge| charge.outcome == Some("paid") && charge.late == late)
                .map(|charge| charge.amount)
                .collect();
            amounts.sort_unstable();
            amounts
        };
        let is_paid_by_card = row.method == Some("card") && row.status == "paid";
        let due = if is_paid_by_card { vec![row.amount] } else { Vec::new() };
        assert_eq!(paid(false), due, "the charge that paid: {row:?}");
        assert!(row.status != "refunded" || !paid(true).is_empty(), "no money came too late: {row:?}");
        let mut credited = paid(true);
        if row.kind == "deposit" {
            assert!(row.status == "failed" || credited.is_empty(), "late, but not called failed: {row:?}");
            credited.extend(paid(false));
        }
        let mut deposits = bill.deposits.clone();
        deposits.sort_unstable();
        credited.sort_unstable();
        assert_eq!(deposits, credited, "each charge's money is in the wallet once: {row:?}");
        let open = charges().filter(|charge| charge.outcome.is_none()).count();
        let is_open = row.method == Some("card") && row.status == "processing";
        assert_eq!(open, usize::from(is_open), "the open charge: {row:?}");
        assert!(charges().all(|charge| charge.user == row.user), "another's charge: {row:?}");
    }

    /// Nothing expires early, except at the end of the sale and when the owner returned a ticket.
    fn check_expiry(&self, payment: Id) {
        let bill = &self.bills[&payment];
        let draw = &self.draws[&bill.row.draw.expect("a purchase has a draw")];
        let in_time = bill.row.until.is_some_and(|until| until <= bill.row.updated);
        let by_owner = self.given_back.contains(&payment);
        let was_charged = bill.row.method == Some("card");
        assert!(
            in_time || by_owner || was_charged || draw.end_asked || draw.cut_off_passed(self.now),
            "expired before its time: {:?}",
            bill.row
        );
    }

    /// The balances of the store equal the sums of the transfers, and their sum is zero.
    pub(super) fn check_balances(&self, accounts: impl Iterator<Item = (i64, i64)>) {
        let theirs: BTreeMap<i64, i64> = accounts.collect();
        assert_eq!(theirs, self.balances, "every balance equals its transfers");
        assert_eq!(theirs.values().sum::<i64>(), 0, "the ledger sums to zero");
    }

    /// The prizes that a draw must have, computed from its tickets.
    pub(super) fn expected_prizes(&self, draw: i64) -> Prizes {
        let it = &self.draws[&draw];
        let (winning, jackpot) = it.numbers.expect("a draw is settled by its numbers");
        let hits = |ticket: &Id| (self.tickets[ticket].row.mask & winning).count_ones();
        let sales = i128::from(it.rules.price) * it.numbered.len() as i128;
        let fund = sales * i128::from(it.rules.fund_share) / 10_000 + i128::from(jackpot);
        let mut tiers = it.rules.tiers.clone();
        tiers.sort_unstable_by_key(|(matches, _)| std::cmp::Reverse(*matches));
        let winners: Vec<i128> = tiers
            .iter()
            .map(|(matches, _)| it.numbered.iter().filter(|id| hits(id) == u32::from(*matches)).count() as i128)
            .collect();
        let prizes = |minimums: u32| prizes(&tiers, &winners, fund, minimums);
        // Every choice of tiers that pay their minimum is tried; of those that fit, the one with the fewest counts.
        let fitting = (0..1_u32 << tiers.len()).filter_map(prizes);
        let prizes = fitting.min_by_key(|(minimums, _)| *minimums).expect("prizes that fit their rules").1;
        let paid: i128 = prizes.iter().zip(&winners).map(|(prize, won)| prize * won).sum();
        let rollover = (fund - paid).max(0) as i64;
        let rows =
            tiers.iter().zip(&winners).zip(prizes).map(|((tier, won), prize)| (tier.0, *won as i64, prize as i64));
        Prizes { draw, fund: fund as i64, rollover, tiers: rows.collect() }
    }
}

/// The prize of one winner for each tier, if these tiers (a bit each) are those that pay their minimum; and how many
/// they are. `None`: some of them could pay more by their share, or another one must pay its minimum too.
fn prizes(tiers: &[(u8, Award)], winners: &[i128], fund: i128, minimums: u32) -> Option<(u32, Vec<i128>)> {
    let is_chosen = |place: usize| minimums & 1 << place != 0;
    let guaranteed = |place: usize| match tiers[place].1 {
        Award::Fixed(amount) => i128::from(amount),
        Award::Share { minimum, .. } => minimum.filter(|_| is_chosen(place)).map_or(0, i128::from),
    };
    let left = fund - (0..tiers.len()).map(|place| guaranteed(place) * winners[place]).sum::<i128>();
    let prize = |place: usize| {
        let Award::Share { basis_points, minimum } = tiers[place].1 else {
            return (!is_chosen(place)).then(|| guaranteed(place));
        };
        let won = winners[place];
        let share = if won > 0 { left.max(0) * i128::from(basis_points) / 10_000 / won } else { 0 };
        let too_little = won > 0 && minimum.is_some_and(|minimum| share < i128::from(minimum));
        let prize = if is_chosen(place) { guaranteed(place) } else { share };
        (too_little == is_chosen(place)).then_some(prize)
    };
    Some((minimums.count_ones(), (0..tiers.len()).map(prize).collect::<Option<_>>()?))
}
