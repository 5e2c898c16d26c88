//! The database and the actors fail; nothing is lost, nothing is double.
