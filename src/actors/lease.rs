//! The active node's right to serve, as all parts of the service see it: whether it holds now is a comparison of an
//! atomic with the clock. The lease counts the requests that are being handled, so that a node that stops can wait for
//! them. Another file renews it (`node.rs`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering, fence};
use std::time::Duration;

use jiff::SignedDuration;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::clock::machine_time;
use crate::domain::id::NodeId;
use crate::domain::node::lease_end;

/// The pause between two looks, of a task that waits.
const POLL: Duration = Duration::from_millis(10);
/// The end of a lease that is never renewed again.
const OVER: i64 = i64::MIN;

/// Clones share the same lease.
#[derive(Clone)]
pub struct Lease(Arc<Shared>);

struct Shared {
    node: NodeId,
    /// When it ends, in milliseconds of the machine's time.
    end: AtomicI64,
    /// The service stops: no new request is handled.
    draining: AtomicBool,
    /// Each request that is being handled has a reference.
    requests: Arc<()>,
    dead: watch::Sender<bool>,
}

impl Lease {
    /// The lease of a node that claimed its place with a statement sent at this time.
    pub fn claimed(node: NodeId, sent: SignedDuration) -> Lease {
        let (draining, requests, dead) = (AtomicBool::default(), Arc::default(), watch::Sender::default());
        let lease = Lease(Arc::new(Shared { node, end: AtomicI64::default(), draining, requests, dead }));
        lease.renewed(sent);
        lease
    }

    /// A lease that does not end: of a node that works alone on its database, without a task that renews it.
    pub fn endless(node: NodeId) -> Lease {
        let lease = Lease::claimed(node, SignedDuration::ZERO);
        lease.0.end.store(i64::MAX, Ordering::SeqCst);
        lease
    }

    pub fn node(&self) -> NodeId {
        self.0.node
    }

    /// Whether the node may write, call the payment provider and answer.
    pub fn is_held(&self) -> bool {
        milliseconds(machine_time()) < self.0.end.load(Ordering::Relaxed)
    }

    /// A renewal was committed that was sent at this time.
    pub fn renewed(&self, sent: SignedDuration) {
        let end = milliseconds(lease_end(sent));
        let longer = |before| (before != OVER).then_some(end);
        // It fails if the lease is over.
        let _ = self.0.end.fetch_update(Ordering::SeqCst, Ordering::SeqCst, longer);
    }

    /// Waits until the lease is held.
    pub async fn held(&self) {
        while !self.is_held() {
            sleep(POLL).await;
        }
    }

    /// Another node has declared this one dead, or it has given up its place: the lease is over for good.
    pub fn lost(&self) {
        self.0.dead.send_replace(true);
        self.0.end.store(OVER, Ordering::SeqCst);
    }

    pub fn is_dead(&self) -> bool {
        *self.0.dead.borrow()
    }

    /// Waits until another node has declared this one dead.
    pub async fn died(&self) {
        // This cannot fail: the lease holds the sender.
        let _ = self.0.dead.subscribe().wait_for(|dead| *dead).await;
    }

    /// Whether new requests are handled. `None`: the lease has run out, or the service stops. The request is being
    /// handled until the value is dropped.
    pub fn admit(&self) -> Option<Admitted> {
        // Counted first: a service that stops sees either this request, or this request sees that it stops.
        let admitted = Admitted(self.0.requests.clone());
        fence(Ordering::SeqCst);
        (!self.is_draining() && self.is_held()).then_some(admitted)
    }

    /// Whether the service has begun to stop.
    pub fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Relaxed)
    }

    /// Admits no more requests, and waits until those that it has are handled.
    pub async fn drain(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        while Arc::strong_count(&self.0.requests) > 1 {
            sleep(POLL).await;
        }
    }
}

/// A request that is being handled.
pub struct Admitted(#[expect(dead_code, reason = "it counts")] Arc<()>);

fn milliseconds(time: SignedDuration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::node::LEASE;

    const NODE: NodeId = NodeId(1);

    #[tokio::test]
    async fn a_lease_ends_by_itself_and_is_renewed_unless_the_node_is_dead() {
        let lease = Lease::claimed(NODE, machine_time() - LEASE);
        assert!(!lease.is_held() && lease.admit().is_none());
        lease.renewed(machine_time());
        assert!(lease.is_held() && lease.admit().is_some());
        lease.lost();
        lease.died().await;
        lease.renewed(machine_time());
        assert!(!lease.is_held() && lease.admit().is_none());
    }

    #[tokio::test]
    async fn a_drain_admits_nothing_more_and_waits_for_what_was_admitted() {
        let lease = Lease::endless(NODE);
        let admitted = lease.admit().unwrap();
        let draining = tokio::spawn({
            let lease = lease.clone();
            async move { lease.drain().await }
        });
        while !lease.is_draining() {
            tokio::task::yield_now().await;
        }
        assert!(lease.admit().is_none());
        assert!(!draining.is_finished());
        drop(admitted);
        draining.await.unwrap();
    }
}
