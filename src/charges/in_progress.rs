//! The payments that this process charges cards for at the moment. A webhook for one of them waits until the
//! request that charges it has written its result.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::domain::id::PaymentId;

/// The payments, and how many requests charge each. Bounded by the requests in flight.
#[derive(Clone, Default)]
pub struct ChargesInProgress(Arc<Inner>);

#[derive(Default)]
struct Inner {
    payments: Mutex<HashMap<PaymentId, usize>>,
    left: Notify,
}

/// Keeps a payment in progress until it is dropped.
pub struct ChargeGuard {
    in_progress: ChargesInProgress,
    payment: PaymentId,
}

impl ChargesInProgress {
    pub fn enter(&self, payment: PaymentId) -> ChargeGuard {
        *self.payments().entry(payment).or_default() += 1;
        ChargeGuard { in_progress: self.clone(), payment }
    }

    pub fn has(&self, payment: PaymentId) -> bool {
        self.payments().contains_key(&payment)
    }

    /// Waits until no request charges this payment.
    pub async fn left(&self, payment: PaymentId) {
        loop {
            // Created before the check, so that a request that ends after the check is noticed.
            let left = self.0.left.notified();
            if !self.has(payment) {
                return;
            }
            left.await;
        }
    }

    fn payments(&self) -> std::sync::MutexGuard<'_, HashMap<PaymentId, usize>> {
        // A panic under the lock leaves the map consistent.
        self.0.payments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ChargeGuard {
    fn drop(&mut self) {
        let mut payments = self.in_progress.payments();
        if let Some(count) = payments.get_mut(&self.payment) {
            *count -= 1;
            if *count == 0 {
                payments.remove(&self.payment);
            }
        }
        drop(payments);
        self.in_progress.0.left.notify_waiters();
    }
}
