use std::io;

use clap::{Args, Command, CommandFactory};
use clap_mangen::Man;

use super::failure::Failure;
use super::{CommandLine, output};

const EXAMPLES: &str = "\
Examples:
  steadfast man > /usr/share/man/man1/steadfast.1
  steadfast man submit > /usr/share/man/man1/steadfast-submit.1";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ManArgs {
    /// The page of this command instead of the program's
    #[arg(num_args = 0..)]
    command: Vec<String>,
}

/// Prints a manual page, in roff.
pub(crate) fn run(args: &ManArgs) -> Result<(), Failure> {
    let mut command = CommandLine::command().disable_help_subcommand(true);
    command.build();
    let mut name = command.get_name().to_owned();
    for part in &args.command {
        let found = command.find_subcommand(part).cloned();
        command = found.ok_or_else(|| Failure::usage(format_args!("there is no command {part:?}")))?;
        name = format!("{name}-{}", command.get_name());
    }
    let page = page(command.name(name)).map_err(|error| Failure::output(&error))?;
    output::print(String::from_utf8_lossy(&page))
}

fn page(command: Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    Man::new(command).render(&mut page)?;
    Ok(page)
}
