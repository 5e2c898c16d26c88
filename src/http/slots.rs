//! How many long answers and connections there may be at the same time, in total or for each address. A request that
//! finds no free slot is refused. Knows nothing of what the answers hold.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::address;
use super::error::Problem;

/// Event streams at the same time, over all draws.
const MAX_WATCHERS: usize = 10_000;
/// Exports at the same time: each keeps a snapshot and a connection of its own.
const MAX_EXPORTS: usize = 4;
/// After how many seconds an address that has too many event streams may ask again.
const RETRY_AFTER: u64 = 10;

/// The slots for event streams.
pub struct Watchers {
    slots: Arc<Semaphore>,
    by_address: AddressSlots,
}

/// The slot of an event stream. It is free again when this is dropped.
pub struct WatcherSlot {
    _slot: OwnedSemaphorePermit,
    _of_address: AddressSlot,
}

impl Watchers {
    /// `None`: no limit for each address.
    pub fn new(per_address: Option<usize>) -> Watchers {
        Watchers { slots: Arc::new(Semaphore::new(MAX_WATCHERS)), by_address: AddressSlots::new(per_address) }
    }

    /// Takes a slot for a client at this address.
    pub fn acquire(&self, address: IpAddr) -> Result<WatcherSlot, Problem> {
        let of_address = self.by_address.acquire(address).ok_or_else(|| {
            Problem::rate_limited(RETRY_AFTER).with_detail(format!(
                "your network watches too many draws at the same time (limits.watchers_per_address); close one, or try \
                 again in {RETRY_AFTER} s"
            ))
        })?;
        Ok(WatcherSlot { _slot: acquire(&self.slots)?, _of_address: of_address })
    }

    /// Ends all event streams, because the service stops: each checks [`Watchers::are_closed`].
    pub fn close(&self) {
        self.slots.close();
    }

    pub fn are_closed(&self) -> bool {
        self.slots.is_closed()
    }
}

/// The slots for exports.
pub struct Exports(Arc<Semaphore>);

impl Default for Exports {
    fn default() -> Exports {
        Exports(Arc::new(Semaphore::new(MAX_EXPORTS)))
    }
}

impl Exports {
    /// Takes a slot. It is free again when the permit is dropped.
    pub fn acquire(&self) -> Result<OwnedSemaphorePermit, Problem> {
        acquire(&self.0)
    }
}

fn acquire(slots: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Problem> {
    slots.clone().try_acquire_owned().map_err(|_| Problem::overloaded())
}

/// So many slots for each address. An IPv6 network of 64 bits counts as one address: it belongs to one customer.
pub struct AddressSlots {
    /// `None`: no limit, and nothing is counted.
    per_address: Option<usize>,
    /// Only addresses that have a slot, so it never has more entries than there are slots.
    taken: Arc<Taken>,
}

/// How many slots each address has.
type Taken = Mutex<HashMap<IpAddr, usize>>;

/// A slot of an address. It is free again when this is dropped.
pub struct AddressSlot(Option<(Arc<Taken>, IpAddr)>);

impl AddressSlots {
    pub fn new(per_address: Option<usize>) -> AddressSlots {
        AddressSlots { per_address, taken: Arc::default() }
    }

    /// Takes a slot, if the address has a free one.
    pub fn acquire(&self, address: IpAddr) -> Option<AddressSlot> {
        let Some(most) = self.per_address else { return Some(AddressSlot(None)) };
        let network = address::network(address);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(network).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(AddressSlot(Some((self.taken.clone(), network))))
    }
}

impl Drop for AddressSlot {
    fn drop(&mut self) {
        let Some((taken, network)) = &self.0 else { return };
        let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
        match taken.get_mut(network) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(taken.remove(network)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_own_slots() {
        let slots = AddressSlots::new(Some(2));
        let take = |address: &str| slots.acquire(address.parse().unwrap());
        let (one, _two) = (take("10.0.0.1").unwrap(), take("10.0.0.1").unwrap());
        assert!(take("10.0.0.1").is_none() && take("10.0.0.2").is_some());
        drop(one);
        assert!(take("10.0.0.1").is_some());
        let _customer = ["2001:db8::1", "2001:db8::2"].map(|address| take(address).unwrap());
        assert!(take("2001:db8::3").is_none(), "an IPv6 customer has a network of addresses");
        assert!(take("2001:db8:0:1::3").is_some());
        assert_eq!(slots.taken.lock().unwrap().len(), 2, "an address without a slot is forgotten");
    }

    #[test]
    fn without_a_limit_nothing_is_counted() {
        let slots = AddressSlots::new(None);
        let taken: Vec<_> = (0..1000).map(|_| slots.acquire(IpAddr::from([10, 0, 0, 1]))).collect();
        assert!(taken.iter().all(Option::is_some) && slots.taken.lock().unwrap().is_empty());
    }
}
