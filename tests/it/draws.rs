//! A draw's life over HTTP and by the clock.
