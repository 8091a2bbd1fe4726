//! A server that runs the kinds `invoice` and `import` beside the built-in ones, with all commands and settings of
//! `steadfast`: `IMPORTS=/var/lib/imports own-handlers --listen 127.0.0.1:8080`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use std::{env, fs};

use own_handlers::{Import, Invoice};
use steadfast::lifecycle::Hooks;

#[global_allocator]
static ALLOCATOR: steadfast::Allocator = steadfast::Allocator;

fn main() -> ExitCode {
    steadfast::main(|server| {
        let directory =
            env::var_os("IMPORTS").ok_or("IMPORTS must name the directory of the files to import")?;
        let directory = PathBuf::from(directory);
        fs::read_dir(&directory).map_err(|error| format!("IMPORTS={}: {error}", directory.display()))?;

        let import = Import::new(directory);
        Ok(server
            .handlers(|built_in| built_in.with_typed(Invoice).with_typed(import))
            .hooks(steps_of_the_drain()))
    })
}

/// What this program does around a drain: before the running jobs are waited for, and after the last of them.
fn steps_of_the_drain() -> Hooks {
    let limit = Duration::from_secs(1);
    let mut hooks = Hooks::new();
    hooks.pre.add("leave the registry", limit, async { Ok(()) });
    hooks.post.add("close the connections", limit, async { Ok(()) });
    hooks
}
