use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::failure::Failure;
use super::{CommandLine, output};

const EXAMPLES: &str = "\
Examples:
  steadfast completions bash > /usr/share/bash-completion/completions/steadfast
  steadfast completions zsh > /usr/share/zsh/site-functions/_steadfast";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CompletionsArgs {
    /// For which shell
    shell: Shell,
}

/// Prints a script that completes this program's command lines.
pub(crate) fn run(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut CommandLine::command(), "steadfast", &mut script);
    output::print(String::from_utf8_lossy(&script))
}
