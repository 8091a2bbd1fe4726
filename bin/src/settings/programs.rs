use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use steadfast_domain::{ProgramName, limits};
use steadfast_handlers::{Argument, Program};
use toml::Value;

use super::value::Slot;

/// Programs one file may declare.
pub(super) const PROGRAMS_MAX: usize = 1_000;
/// Arguments of one program, and variables that it is given or inherits.
pub(super) const TEXTS_MAX: usize = 100;
/// Bytes of one of them.
pub(super) const TEXT_BYTES_MAX: usize = 16 * 1024;

/// The key that every program must have.
pub(super) const COMMAND: &str = "command";

/// What a program's table may hold.
const PROGRAM_KEYS: [&str; 8] = [
    COMMAND,
    "arguments",
    "environment",
    "inherit",
    "directory",
    "output_bytes_max",
    "completed_codes",
    "permanent_codes",
];

/// Variables with this beginning are the server's own word to the program.
const RESERVED: &str = "STEADFAST_";

/// An `[exec.NAME]` table: a program that jobs of kind `exec` may name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramSettings(pub Program);

impl ProgramSettings {
    /// A program whose command is not known yet.
    pub(super) fn new(name: ProgramName) -> Self {
        Self(Program::new(name, PathBuf::new()))
    }

    /// Its keys and values, as one may write them.
    pub fn shown(&self) -> impl Iterator<Item = (&'static str, String)> {
        let mut program = self.clone();
        PROGRAM_KEYS.iter().filter_map(move |key| Some((*key, program.slot(key)?.show())))
    }

    /// The place of the value under `key`; `None` for a key a program does not have.
    pub(super) fn slot(&mut self, key: &str) -> Option<Slot<'_>> {
        let program = &mut self.0;
        Some(match key {
            COMMAND => Slot::Command(&mut program.command),
            "arguments" => Slot::Arguments(&mut program.arguments),
            "environment" => Slot::Variables(&mut program.environment),
            "inherit" => Slot::Inherited(&mut program.inherit),
            "directory" => Slot::Directory(&mut program.directory),
            "output_bytes_max" => {
                Slot::Size(&mut program.output_bytes_max, 0..=limits::RESULT_BYTES_MAX as u64)
            }
            "completed_codes" => Slot::ExitCodes(&mut program.completed_codes),
            "permanent_codes" => Slot::ExitCodes(&mut program.permanent_codes),
            _ => return None,
        })
    }
}

/// A path that leads to the same file from everywhere.
pub(super) fn parse_directory(text: &str) -> Option<PathBuf> {
    let path = Path::new(text);
    (text.len() <= TEXT_BYTES_MAX && path.is_absolute() && path.is_dir()).then(|| path.to_owned())
}

pub(super) fn parse_command(text: &str) -> Option<PathBuf> {
    let path = Path::new(text);
    let is_one = text.len() <= TEXT_BYTES_MAX && path.is_absolute() && path.is_file() && may_be_run(path);
    is_one.then(|| path.to_owned())
}

#[cfg(unix)]
fn may_be_run(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

#[cfg(not(unix))]
fn may_be_run(_path: &Path) -> bool {
    false
}

pub(super) fn parse_arguments(text: &str) -> Option<Vec<Argument>> {
    texts(text)?.iter().map(|text| text.parse().ok()).collect()
}

/// The names of variables, without their values.
pub(super) fn parse_inherited(text: &str) -> Option<Vec<String>> {
    texts(text).filter(|names| names.iter().all(|name| is_variable(name)))
}

pub(super) fn parse_variables(text: &str) -> Option<BTreeMap<String, String>> {
    let Ok(Value::Table(table)) = text.parse() else { return None };
    if table.len() > TEXTS_MAX {
        return None;
    }
    let variable = |(name, value): (String, Value)| match value {
        Value::String(value) if is_variable(&name) && is_text(&value) => Some((name, value)),
        _ => None,
    };
    table.into_iter().map(variable).collect()
}

pub(super) fn parse_exit_codes(text: &str) -> Option<Vec<u8>> {
    let Ok(Value::Array(codes)) = text.parse() else { return None };
    codes.iter().map(|code| u8::try_from(code.as_integer()?).ok()).collect()
}

/// A list of values as TOML has it.
pub(super) fn show_list<V: Into<Value>>(values: impl IntoIterator<Item = V>) -> String {
    Value::Array(values.into_iter().map(Into::into).collect()).to_string()
}

pub(super) fn show_variables(variables: &BTreeMap<String, String>) -> String {
    let table = variables.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str())));
    Value::Table(table.collect()).to_string()
}

fn texts(text: &str) -> Option<Vec<String>> {
    let Ok(Value::Array(values)) = text.parse() else { return None };
    if values.len() > TEXTS_MAX {
        return None;
    }
    values.iter().map(|value| value.as_str().filter(|text| is_text(text)).map(str::to_owned)).collect()
}

/// What the system takes as an argument, or as the value of a variable.
fn is_text(text: &str) -> bool {
    text.len() <= TEXT_BYTES_MAX && !text.contains('\0')
}

fn is_variable(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let begins = name.bytes().next().is_some_and(|first| !first.is_ascii_digit());
    begins && is_text(name) && name.bytes().all(plain) && !name.starts_with(RESERVED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_tables_are_shown_as_they_are_read() {
        for text in [r#"["--w={w}", "a\"b\\c\n{{", ""]"#, "[]"] {
            let arguments = parse_arguments(text).unwrap();
            let shown = show_list(arguments.iter().map(Argument::to_string));
            assert_eq!(parse_arguments(&shown).unwrap(), arguments, "{shown}");
        }
        let variables = parse_variables(r#"{ LANG = "C.UTF-8", _A9 = "a 'b' \"c\"" }"#).unwrap();
        assert_eq!(parse_variables(&show_variables(&variables)).unwrap(), variables);
        assert_eq!(parse_variables(&show_variables(&BTreeMap::new())), Some(BTreeMap::new()));
        assert_eq!(parse_exit_codes("[0, 255]"), Some(vec![0, 255]));
        assert_eq!(show_list([0, 255]), "[0, 255]");
    }

    #[test]
    fn what_is_no_list_of_texts_is_refused() {
        for text in ["", "a", "[7]", r#"["{"]"#, r#"["--{a}"]"#, r#"["a\u0000"]"#, r#"[["a"]]"#] {
            assert_eq!(parse_arguments(text), None, "{text}");
        }
        let long = |bytes: usize| format!("[\"{}\"]", "x".repeat(bytes));
        assert!(parse_arguments(&long(TEXT_BYTES_MAX)).is_some());
        assert_eq!(parse_arguments(&long(TEXT_BYTES_MAX + 1)), None);
        assert_eq!(parse_arguments(&format!("[{}]", "\"\",".repeat(TEXTS_MAX + 1))), None);
        for text in ["{ A = 7 }", "{ 9A = \"\" }", "{ A-B = \"\" }", "{ STEADFAST_A = \"\" }", "[]"] {
            assert_eq!(parse_variables(text), None, "{text}");
        }
        assert_eq!(parse_inherited(r#"["A=b"]"#), None);
        for text in ["0", "[256]", "[-1]", "[0.5]", r#"["0"]"#] {
            assert_eq!(parse_exit_codes(text), None, "{text}");
        }
    }

    #[test]
    fn paths_are_absolute_and_there() {
        assert_eq!(parse_command("/bin/sh"), Some("/bin/sh".into()));
        for text in ["", "sh", "./sh", "/bin", "/etc/passwd", "/bin/no-such-program", "/bin/sh\0"] {
            assert_eq!(parse_command(text), None, "{text}");
        }
        assert_eq!(parse_directory("/tmp"), Some("/tmp".into()));
        for text in ["", "tmp", "/bin/sh", "/no-such-directory"] {
            assert_eq!(parse_directory(text), None, "{text}");
        }
    }
}
