//! Checks receipts: each is verified with the log's key, and its checkpoint must be of a beginning of the one list that the
//! tickets in the database make. So no two receipts contradict each other.

use serde_json::Value;
use tokio_postgres::Client;
use uuid::Uuid;
use verifiable_draw::Hash;
use verifiable_draw::keys::{MasterSecret, owner};
use verifiable_draw::merkle::Head;
use verifiable_draw::merkle::edge::Edge;
use verifiable_draw::merkle::hash_leaf;
use verifiable_draw::order::{OrderEntry, write_order};
use verifiable_draw::proof::InclusionReceipt;
use verifiable_draw::vkey::VerifierKey;

/// The ticket log of a draw, made from its tickets.
pub struct DrawLog {
    verifier: VerifierKey,
    entries: Vec<Vec<u8>>,
    salts: Vec<[u8; 16]>,
    /// The root after so many entries.
    roots: Vec<Hash>,
}

/// What a receipt proves.
#[derive(Debug)]
pub struct Proved {
    pub entry: OrderEntry,
    pub index: u64,
    pub head: Head,
}

impl DrawLog {
    /// The log that the services with the tests' master secret have.
    pub async fn read(sql: &Client, draw: i64) -> DrawLog {
        let secret = MasterSecret::new(std::array::from_fn(|i| i as u8));
        let origin: String = sql.query_one("SELECT origin FROM log_identity", &[]).await.unwrap().get(0);
        let origin = format!("{}draws/{draw}/log", origin.strip_suffix("log").unwrap());
        let verifier = secret.ticket_log_signer(draw as u64, &origin).unwrap().verifier().clone();
        let rows = "SELECT min(number), array_agg(pick ORDER BY number), user_id, payment_id FROM tickets
            WHERE draw_id = $1 AND number IS NOT NULL GROUP BY user_id, payment_id ORDER BY 1";
        let (mut edge, mut entries, mut salts) = (Edge::new(), Vec::new(), Vec::new());
        let mut roots = vec![edge.root()];
        for row in sql.query(rows, &[&draw]).await.unwrap() {
            let (first, picks, user): (i64, Vec<i64>, i64) = (row.get(0), row.get(1), row.get(2));
            let payment: Uuid = row.get(3);
            let salt = secret.salt_key(draw as u64).salt(draw as u64, payment.as_bytes());
            let numbers = |pick: &i64| (1..=64).filter(|n| pick >> (n - 1) & 1 == 1).collect::<Vec<u8>>();
            let entry = write_order(first as u64, &owner(&salt, user as u64), picks.iter().map(numbers)).unwrap();
            edge.append(hash_leaf(&entry)).unwrap();
            roots.push(edge.root());
            entries.push(entry);
            salts.push(salt);
        }
        DrawLog { verifier, entries, salts, roots }
    }

    pub fn orders(&self) -> usize {
        self.entries.len()
    }

    /// As the database stores it.
    #[allow(dead_code, reason = "one of the test binaries needs it")]
    pub fn edge(&self) -> Vec<u8> {
        let mut edge = Edge::new();
        self.entries.iter().for_each(|entry| edge.append(hash_leaf(entry)).unwrap());
        edge.to_bytes()
    }

    pub fn head(&self) -> Head {
        Head { size: self.orders() as u64, root: self.roots[self.orders()] }
    }

    /// What a receipt, as the API shows it, proves of this log; or what is wrong with it.
    pub fn check(&self, receipt: &Value) -> Result<Proved, String> {
        let proved = self.check_text(receipt["proof"].as_str().ok_or("a receipt without its proof")?)?;
        let salt = base64(&self.salts[proved.index as usize]);
        if receipt["salt"] == salt { Ok(proved) } else { Err(format!("the salt is {salt}: {receipt}")) }
    }

    pub fn check_text(&self, proof: &str) -> Result<Proved, String> {
        let wrong = |what: &str| format!("{what}: {proof}");
        let receipt = InclusionReceipt::parse(proof.as_bytes()).map_err(|error| wrong(&error.to_string()))?;
        let (entry, checkpoint) =
            receipt.verify_extra([&self.verifier]).map_err(|error| wrong(&error.to_string()))?;
        let head = checkpoint.head;
        if self.roots.get(head.size as usize) != Some(&head.root) {
            return Err(wrong("the checkpoint is of another list"));
        }
        if self.entries.get(receipt.index as usize).map(Vec::as_slice) != Some(entry) {
            return Err(wrong("the list has another order there"));
        }
        let entry = OrderEntry::parse(entry).map_err(|error| wrong(&error.to_string()))?;
        Ok(Proved { entry, index: receipt.index, head })
    }
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
