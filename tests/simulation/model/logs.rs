//! The ticket logs of the model: the list of the committed orders of each draw, which only grows. Every stored edge and
//! every receipt that leaves a process must be of a beginning of that list, so no two of them contradict each other.

use verifiable_draw::Hash;
use verifiable_draw::keys::{MasterSecret, owner};
use verifiable_draw::merkle::edge::Edge;
use verifiable_draw::merkle::hash_leaf;
use verifiable_draw::proof::InclusionReceipt;

use super::Model;
use crate::facts::{Id, Ticket};

/// What all processes are configured with.
pub const MASTER_SECRET: [u8; 32] = [7; 32];
pub const PUBLIC_URL: &str = "https://lottery.example";

/// The log of one draw.
pub(super) struct TicketLog {
    edge: Edge,
    /// The entries, with their payments.
    entries: Vec<(Id, String)>,
    /// The root after so many entries.
    roots: Vec<Hash>,
}

impl Default for TicketLog {
    fn default() -> TicketLog {
        TicketLog { edge: Edge::new(), entries: Vec::new(), roots: vec![Edge::new().root()] }
    }
}

impl TicketLog {
    fn append(&mut self, tickets: &[&Ticket], first: i64) {
        let it = tickets[0];
        let (draw, payment) = (it.draw as u64, u128::from(it.payment).to_be_bytes());
        let salt = MasterSecret::new(MASTER_SECRET).salt_key(draw).salt(draw, &payment);
        let owner = base64(&owner(&salt, it.user as u64));
        let picks: Vec<Vec<u32>> =
            tickets.iter().map(|it| (1..=64).filter(|n| it.mask >> (n - 1) & 1 == 1).collect()).collect();
        let entry = serde_json::json!({"first": first, "owner": owner, "picks": picks}).to_string();
        self.edge.append(hash_leaf(entry.as_bytes())).unwrap();
        self.roots.push(self.edge.root());
        self.entries.push((it.payment, entry));
    }
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

impl Model {
    /// Appends the orders of these tickets, which are numbered from `first` on.
    pub(super) fn log_orders(&mut self, draw: i64, first: i64, tickets: &[Id]) {
        let rows: Vec<Ticket> = tickets.iter().map(|ticket| self.tickets[ticket].row.clone()).collect();
        let rows: Vec<&Ticket> = rows.iter().collect();
        let mut first = first;
        for order in rows.chunk_by(|one, next| one.payment == next.payment) {
            let known = self.draws[&draw].log.entries.iter().any(|(payment, _)| *payment == order[0].payment);
            assert!(!known, "an order is one leaf: {:?}", order[0]);
            self.draw_mut(draw).log.append(order, first);
            first += order.len() as i64;
        }
    }

    /// The draw's row has this edge.
    pub(super) fn check_edges(&self) {
        for (id, draw) in &self.draws {
            let Some(edge) = &draw.edge else {
                assert!(draw.log.entries.is_empty() && draw.status != "open", "draw {id} has no ticket log");
                continue;
            };
            assert_eq!(*edge, draw.log.edge.to_bytes(), "the ticket log of draw {id} has its committed orders");
        }
    }

    pub(super) fn check_sealed_log(&self, draw: i64, orders: i64, root: Hash) {
        let head = self.draws[&draw].log.edge.head();
        assert_eq!((orders as u64, root), (head.size, head.root), "the sealed list of draw {draw}");
    }

    /// A receipt left a process.
    pub fn receipt(&self, draw: i64, payment: Id, text: &str) {
        let log = &self.draws[&draw].log;
        let origin = format!("{}/api/v1/draws/{draw}/log", PUBLIC_URL.strip_prefix("https://").unwrap());
        let signer = MasterSecret::new(MASTER_SECRET).ticket_log_signer(draw as u64, &origin).unwrap();
        let receipt = InclusionReceipt::parse(text.as_bytes()).unwrap();
        let (entry, checkpoint) = receipt.verify_extra([signer.verifier()]).unwrap();
        let (owner, expected) = &log.entries[receipt.index as usize];
        assert_eq!((*owner, expected.as_bytes()), (payment, entry), "the receipt is of its order");
        let root = log.roots.get(checkpoint.head.size as usize);
        assert_eq!(root, Some(&checkpoint.head.root), "a signed head is one of the committed list of draw {draw}");
    }
}
