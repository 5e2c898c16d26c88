//! The program itself, as a process: the command line and the configuration.
