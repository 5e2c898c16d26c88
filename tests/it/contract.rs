//! The contract of the REST interface: errors, bodies, pages.
