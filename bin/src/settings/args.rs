use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches, Args, Command, Error, FromArgMatches, value_parser};

use super::SETTINGS;

const CONFIG: &str = "config";

/// The settings given on the command line: one flag for each of [`SETTINGS`], and `--config FILE`. Values
/// are kept as text and judged where they are used, as those of every source are.
#[derive(Debug, Clone, Default)]
pub struct SettingsArgs {
    config: Option<PathBuf>,
    values: BTreeMap<&'static str, String>,
}

impl SettingsArgs {
    /// The settings file, if one is named.
    pub fn config(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    /// The flag of the setting with this key, if it is given.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }
}

impl Args for SettingsArgs {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new(CONFIG)
            .long(CONFIG)
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .help("A settings file in TOML");
        SETTINGS.iter().fold(command.arg(config), |command, setting| {
            let (env, default) = (setting.env(), setting.default());
            let arg = Arg::new(setting.key)
                .long(setting.flag_name())
                .value_name("VALUE")
                .allow_hyphen_values(true)
                .help(format!("{} [env: {env}] [default: {default}]", setting.help));
            // A switch may stand alone: `--allow-private-addresses` is `--allow-private-addresses=true`.
            command.arg(if setting.is_switch() {
                arg.num_args(0..=1).require_equals(true).default_missing_value("true")
            } else {
                arg
            })
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SettingsArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut args = Self::default();
        args.update_from_arg_matches(matches)?;
        Ok(args)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        if let Some(config) = matches.get_one::<PathBuf>(CONFIG) {
            self.config = Some(config.clone());
        }
        for setting in SETTINGS {
            if let Some(value) = matches.get_one::<String>(setting.key) {
                self.values.insert(setting.key, value.clone());
            }
        }
        Ok(())
    }
}
