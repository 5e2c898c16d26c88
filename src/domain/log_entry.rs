//! Which entries of its database the service publishes: those that it has written itself. Each has a MAC with a key that comes
//! from the master secret, which the database never has, so a login of the database can add none. Entries that are older
//! than MACs are taken as they are, except where they would add another key.

use verifiable_draw::Hash;
use verifiable_draw::event::Event;

use super::id::DrawId;
use super::log_keys::{KeyChange, KeyGenerations, LogKeys};

/// Why the service does not publish an entry of its database.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ForeignEntry {
    #[error("does not have the MAC that only a service with this master secret can make")]
    Mac,
    #[error("is no event")]
    NoEvent,
    #[error("adds or retires a key of the log that this service has not")]
    Key,
}

/// An entry as its row has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredEntry {
    pub index: u64,
    pub draw: Option<DrawId>,
    pub bytes: Vec<u8>,
    pub mac: Option<Vec<u8>>,
}

impl StoredEntry {
    /// Whether this service has written the entry. Those before `first_mac` have no MAC.
    pub fn is_own(&self, keys: &LogKeys, first_mac: u64) -> bool {
        let is_own = |mac: &[u8]| keys.row_key().is_entry_mac(mac, self.index, number(self.draw), &self.bytes);
        self.index < first_mac || self.mac.as_deref().is_some_and(is_own)
    }
}

/// The MAC of an entry that is written to this index.
pub fn entry_mac(keys: &LogKeys, index: u64, draw: Option<DrawId>, entry: &[u8]) -> Hash {
    keys.row_key().entry_mac(index, number(draw), entry)
}

fn number(draw: Option<DrawId>) -> Option<u64> {
    draw.map(|draw| draw.0.cast_unsigned())
}

/// Checks the entries that follow the published ones, in their order.
#[derive(Debug)]
pub struct EntryCheck<'k> {
    pub keys: &'k LogKeys,
    /// The index of the first entry that needs a MAC.
    pub first_mac: u64,
    /// The keys that sign after the last entry.
    pub generations: KeyGenerations,
    /// Whether no entry is known to be published. Then those without MACs are taken as they are: whoever has an older head
    /// sees whether the log continues it.
    pub is_new: bool,
}

impl EntryCheck<'_> {
    /// Whether the service may sign a log that goes on with this entry.
    pub fn check(&mut self, entry: &StoredEntry) -> Result<(), ForeignEntry> {
        if !entry.is_own(self.keys, self.first_mac) {
            return Err(ForeignEntry::Mac);
        }
        let checked = self.check_key(&entry.bytes);
        if self.is_new && entry.index < self.first_mac { Ok(()) } else { checked }
    }

    /// A key that the log names is one that verifiers will trust.
    fn check_key(&mut self, entry: &[u8]) -> Result<(), ForeignEntry> {
        let (change, vkey) = match Event::parse(entry).map_err(|_| ForeignEntry::NoEvent)? {
            Event::KeyAdded { vkey, .. } => (KeyChange::Rotate, vkey),
            Event::KeyRetired { vkey, .. } => (KeyChange::Retire, vkey),
            _ => return Ok(()),
        };
        let (after, changed) = self.generations.changed(change).map_err(|_| ForeignEntry::Key)?;
        self.generations = after;
        let is_own = self.keys.public_log_key(changed).verifier().to_string() == vkey;
        if is_own { Ok(()) } else { Err(ForeignEntry::Key) }
    }
}

#[cfg(test)]
mod tests {
    use verifiable_draw::keys::MasterSecret;

    use super::*;
    use crate::domain::log_index::test_announcement;
    use crate::domain::log_keys::LogOrigin;

    /// The first entry that needs a MAC.
    const FIRST: u64 = 10;

    fn keys(secret: u8) -> LogKeys {
        LogKeys::new(MasterSecret::new([secret; 32]), LogOrigin::of_url("https://lottery.example").unwrap())
    }

    fn entry(index: u64, event: &Event) -> StoredEntry {
        let (draw, bytes) = (event.draw().map(|draw| DrawId(draw.cast_signed())), event.to_bytes().unwrap());
        let mac = (index >= FIRST).then(|| entry_mac(&keys(1), index, draw, &bytes).to_vec());
        StoredEntry { index, draw, bytes, mac }
    }

    fn check(is_new: bool, entry: &StoredEntry) -> Result<(), ForeignEntry> {
        let keys = keys(1);
        EntryCheck { keys: &keys, first_mac: FIRST, generations: KeyGenerations::default(), is_new }.check(entry)
    }

    #[test]
    fn an_entry_is_the_services_own_only_with_its_mac_at_its_index_for_its_draw() {
        let good = entry(12, &test_announcement(7));
        assert_eq!(check(false, &good), Ok(()));
        let mac = good.mac.clone().unwrap();
        let mut flipped = mac.clone();
        flipped[31] ^= 1;
        let of_another_secret = entry_mac(&keys(2), 12, good.draw, &good.bytes).to_vec();
        let forged = [
            StoredEntry { index: 13, ..good.clone() },
            StoredEntry { draw: None, ..good.clone() },
            StoredEntry { draw: Some(DrawId(8)), ..good.clone() },
            StoredEntry { bytes: test_announcement(8).to_bytes().unwrap(), ..good.clone() },
            StoredEntry { mac: None, ..good.clone() },
            StoredEntry { mac: Some(Vec::new()), ..good.clone() },
            StoredEntry { mac: Some(mac[..31].to_vec()), ..good.clone() },
            StoredEntry { mac: Some(flipped), ..good.clone() },
            StoredEntry { mac: Some(of_another_secret), ..good.clone() },
        ];
        for it in forged {
            assert_eq!([check(false, &it), check(true, &it)], [Err(ForeignEntry::Mac); 2], "{it:?}");
        }
    }

    #[test]
    fn only_entries_from_before_macs_need_none() {
        let old = |index| StoredEntry { mac: None, ..entry(index, &test_announcement(7)) };
        assert_eq!([check(false, &old(FIRST - 1)), check(true, &old(FIRST - 1))], [Ok(()); 2]);
        assert_eq!([check(false, &old(FIRST)), check(true, &old(FIRST))], [Err(ForeignEntry::Mac); 2]);
    }

    #[test]
    fn a_key_of_others_is_not_vouched_for() {
        let added = |generation| {
            let vkey = keys(generation).public_log_key(1).verifier().to_string();
            Event::KeyAdded { at: 1, vkey }
        };
        for index in [FIRST - 1, FIRST] {
            assert_eq!(check(false, &entry(index, &added(1))), Ok(()));
            assert_eq!(check(false, &entry(index, &added(2))), Err(ForeignEntry::Key));
        }
        // A lost copy is made anew as it is, but not with what has been written since.
        assert_eq!(check(true, &entry(FIRST - 1, &added(2))), Ok(()));
        assert_eq!(check(true, &entry(FIRST, &added(2))), Err(ForeignEntry::Key));
        let no_event = StoredEntry { bytes: b"{}".to_vec(), ..entry(1, &added(1)) };
        assert_eq!(check(false, &no_event), Err(ForeignEntry::NoEvent));
    }
}
