use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use steadfast_domain::{Invalid, ProgramName, QueueName};
use toml::{Table, Value};

use super::programs::{COMMAND, PROGRAMS_MAX, ProgramSettings};
use super::queues::{KINDS, QUEUES_MAX, QueueSettings};
use super::value::{NotAllowed, Slot};
use super::{SETTINGS, SettingsError};

/// The table whose keys are queues.
const QUEUES: &str = "queues";
/// The table whose keys are programs.
const EXEC: &str = "exec";

/// A settings file whose keys are all known. Values are kept as text and judged where they are used, as
/// those of every source are.
#[derive(Debug, Default)]
pub(super) struct File {
    path: PathBuf,
    values: BTreeMap<&'static str, String>,
    queues: Vec<QueueSettings>,
    programs: Vec<ProgramSettings>,
}

impl File {
    pub(super) fn read(path: &Path) -> Result<Self, SettingsError> {
        let text = std::fs::read_to_string(path)
            .map_err(|reason| SettingsError::Unreadable { path: path.to_owned(), reason })?;
        Self::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, SettingsError> {
        let table = text.parse::<Table>().map_err(|error| SettingsError::Syntax {
            path: path.to_owned(),
            line: line_at(text.as_bytes(), error.span().map_or(0, |span| span.start)),
            reason: error.message().to_owned(),
        })?;
        let mut file = Self { path: path.to_owned(), ..Self::default() };
        for (key, value) in table {
            match value {
                Value::Table(queues) if key == QUEUES => file.add_queues(queues)?,
                Value::Table(programs) if key == EXEC => file.add_programs(programs)?,
                Value::Table(section) => {
                    file.known_section(&key)?;
                    for (inner, value) in section {
                        file.add(&format!("{key}.{inner}"), &value)?;
                    }
                }
                value => file.add(&key, &value)?,
            }
        }
        Ok(file)
    }

    /// The value of a setting, as text.
    pub(super) fn value(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }

    /// A key as an error names it.
    pub(super) fn name(&self, key: &str) -> String {
        format!("{key} in {}", self.path.display())
    }

    pub(super) fn into_tables(self) -> (Vec<QueueSettings>, Vec<ProgramSettings>) {
        (self.queues, self.programs)
    }

    /// Even an empty table is an error when no setting could stand in it.
    fn known_section(&self, name: &str) -> Result<(), SettingsError> {
        let sections = || SETTINGS.iter().filter_map(|setting| setting.key.split_once('.'));
        if sections().any(|(section, _)| section == name) {
            return Ok(());
        }
        Err(SettingsError::UnknownKey { key: self.name(name) })
    }

    fn add(&mut self, key: &str, value: &Value) -> Result<(), SettingsError> {
        let Some(setting) = SETTINGS.iter().find(|setting| setting.key == key) else {
            return Err(SettingsError::UnknownKey { key: self.name(key) });
        };
        self.values.insert(setting.key, as_text(value));
        Ok(())
    }

    fn add_queues(&mut self, queues: Table) -> Result<(), SettingsError> {
        for (key, name, table) in self.named(QUEUES, queues, QUEUES_MAX, QueueName::new)? {
            let mut queue = QueueSettings::new(name);
            self.fill(&key, table, &mut queue, QueueSettings::slot)?;
            if let Some(not) = queue.misplaced_kinds() {
                return Err(SettingsError::not_allowed(self.name(&format!("{key}.{KINDS}")), not));
            }
            self.queues.push(queue);
        }
        Ok(())
    }

    fn add_programs(&mut self, programs: Table) -> Result<(), SettingsError> {
        for (key, name, table) in self.named(EXEC, programs, PROGRAMS_MAX, ProgramName::new)? {
            if !cfg!(target_os = "linux") {
                let not = NotAllowed {
                    shown: EXEC.to_owned(),
                    allowed: "no such table: programs as jobs need Linux".to_owned(),
                };
                return Err(SettingsError::not_allowed(self.name(&key), not));
            }
            let mut program = ProgramSettings::new(name);
            // A table without its command is refused as one with an empty one.
            let command = table.get(COMMAND).cloned().unwrap_or_else(|| Value::from(""));
            let table =
                table.into_iter().filter(|(key, _)| key != COMMAND).chain([(COMMAND.to_owned(), command)]);
            self.fill(&key, table, &mut program, ProgramSettings::slot)?;
            self.programs.push(program);
        }
        Ok(())
    }

    /// The tables in `section`, each with its key in the file and its name.
    fn named<N>(
        &self,
        section: &str,
        tables: Table,
        count_max: usize,
        name: impl Fn(&str) -> Result<N, Invalid>,
    ) -> Result<Vec<(String, N, Table)>, SettingsError> {
        if tables.len() > count_max {
            let not = NotAllowed {
                shown: tables.len().to_string(),
                allowed: format!("at most {count_max} tables"),
            };
            return Err(SettingsError::not_allowed(self.name(section), not));
        }
        let named = tables.into_iter().map(|(text, table)| {
            let key = format!("{section}.{text}");
            let name = name(&text).map_err(|reason| SettingsError::Name { key: self.name(&key), reason })?;
            let Value::Table(table) = table else {
                let not = NotAllowed { shown: as_text(&table), allowed: "a table".to_owned() };
                return Err(SettingsError::not_allowed(self.name(&key), not));
            };
            Ok((key, name, table))
        });
        named.collect()
    }

    /// Reads the values of a table into their places.
    fn fill<S>(
        &self,
        table_key: &str,
        table: impl IntoIterator<Item = (String, Value)>,
        settings: &mut S,
        slot: impl for<'a> Fn(&'a mut S, &str) -> Option<Slot<'a>>,
    ) -> Result<(), SettingsError> {
        for (key, value) in table {
            let name = self.name(&format!("{table_key}.{key}"));
            match slot(settings, &key) {
                None => return Err(SettingsError::UnknownKey { key: name }),
                Some(mut slot) => {
                    slot.set(&as_text(&value)).map_err(|not| SettingsError::not_allowed(name, not))?;
                }
            }
        }
        Ok(())
    }
}

/// A value as one would write it in a flag; what no flag could say stays TOML, and is refused there.
fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The line, from 1, that has the byte `at`: errors name it instead of what stands there, which may be a secret.
pub(super) fn line_at(text: &[u8], at: usize) -> usize {
    1 + text.iter().take(at).filter(|byte| **byte == b'\n').count()
}
