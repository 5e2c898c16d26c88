//! Registration, log-in, refresh and log-out over HTTP.
