//! `lottery completions` and `lottery man`: what shells and `man` need to know of the command line. Both are made from
//! its definition, so they need no settings and no database.

use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;

use super::{Cli, CliError, print};

/// Prints the script that completes the command line in this shell.
pub fn completions(shell: Shell) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "lottery", &mut script);
    print(&String::from_utf8_lossy(&script))
}

/// Prints the manual: a page for the program, followed by one for each subcommand.
pub fn man() -> Result<(), CliError> {
    // A page of `help` would say nothing that the others do not say.
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    add_pages(&command, &mut pages)?;
    print(&String::from_utf8_lossy(&pages))
}

fn add_pages(command: &clap::Command, pages: &mut Vec<u8>) -> Result<(), CliError> {
    Man::new(command.clone()).render(pages).map_err(|error| CliError::Refused(format!("no manual: {error}")))?;
    command.get_subcommands().try_for_each(|subcommand| add_pages(subcommand, pages))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of the arguments and subcommands that have no help text.
    fn without_help(command: &clap::Command, path: &str) -> Vec<String> {
        let path = format!("{path} {}", command.get_name());
        let arguments = command.get_arguments().filter(|argument| argument.get_help().is_none());
        let mut names: Vec<String> = arguments.map(|argument| format!("{path} {}", argument.get_id())).collect();
        if command.get_about().is_none() {
            names.push(path.clone());
        }
        names.extend(command.get_subcommands().flat_map(|subcommand| without_help(subcommand, &path)));
        names
    }

    #[test]
    fn every_argument_and_subcommand_has_a_help_text() {
        let mut command = Cli::command();
        command.build();
        assert!(command.get_subcommands().count() > 8);
        assert_eq!(without_help(&command, ""), [""; 0]);
    }
}
