use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use steadfast_domain::QueueName;
use toml::{Table, Value};

use super::queues::{KINDS, QUEUES_MAX, QueueSettings};
use super::value::NotAllowed;
use super::{SETTINGS, SettingsError};

/// The table whose keys are queues.
const QUEUES: &str = "queues";

/// A settings file whose keys are all known. Values are kept as text and judged where they are used, as
/// those of every source are.
#[derive(Debug, Default)]
pub(super) struct File {
    path: PathBuf,
    values: BTreeMap<&'static str, String>,
    queues: Vec<QueueSettings>,
}

impl File {
    pub(super) fn read(path: &Path) -> Result<Self, SettingsError> {
        let text = std::fs::read_to_string(path)
            .map_err(|reason| SettingsError::Unreadable { path: path.to_owned(), reason })?;
        Self::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, SettingsError> {
        let table = text
            .parse::<Table>()
            .map_err(|reason| SettingsError::Syntax { path: path.to_owned(), reason: Box::new(reason) })?;
        let mut file = Self { path: path.to_owned(), ..Self::default() };
        for (key, value) in table {
            match value {
                Value::Table(queues) if key == QUEUES => file.add_queues(queues)?,
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

    pub(super) fn into_queues(self) -> Vec<QueueSettings> {
        self.queues
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
        if queues.len() > QUEUES_MAX {
            let allowed = format!("at most {QUEUES_MAX} queues");
            let not = NotAllowed { shown: queues.len().to_string(), allowed };
            return Err(SettingsError::not_allowed(self.name(QUEUES), not));
        }
        for (name, table) in queues {
            let key = format!("{QUEUES}.{name}");
            let queue = QueueName::new(&name)
                .map_err(|reason| SettingsError::QueueName { key: self.name(&key), reason })?;
            let Value::Table(table) = table else {
                let not = NotAllowed { shown: as_text(&table), allowed: "a table".to_owned() };
                return Err(SettingsError::not_allowed(self.name(&key), not));
            };
            let queue = self.queue(QueueSettings::new(queue), &key, &table)?;
            self.queues.push(queue);
        }
        Ok(())
    }

    fn queue(
        &self,
        mut queue: QueueSettings,
        table_key: &str,
        table: &Table,
    ) -> Result<QueueSettings, SettingsError> {
        for (key, value) in table {
            let name = self.name(&format!("{table_key}.{key}"));
            match queue.slot(key) {
                None => return Err(SettingsError::UnknownKey { key: name }),
                Some(mut slot) => {
                    slot.set(&as_text(value)).map_err(|not| SettingsError::not_allowed(name, not))?;
                }
            }
        }
        if let Some(not) = queue.misplaced_kinds() {
            return Err(SettingsError::not_allowed(self.name(&format!("{table_key}.{KINDS}")), not));
        }
        Ok(queue)
    }
}

/// A value as one would write it in a flag; what no flag could say stays TOML, and is refused there.
fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
