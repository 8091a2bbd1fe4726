//! `deploy/docker/Dockerfile`, read as an engine does as far as it goes.

use std::collections::BTreeMap;

use super::{path, read};

/// The image that the file describes: its last stage, with the others.
pub(crate) struct Image {
    pub(crate) stages: Vec<Stage>,
}

/// From one `FROM` to the next.
pub(crate) struct Stage {
    pub(crate) base: String,
    pub(crate) name: String,
    pub(crate) steps: Vec<Step>,
}

/// One instruction: `RUN --mount=… cargo build`.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) instruction: String,
    pub(crate) flags: Vec<(String, String)>,
    pub(crate) rest: String,
}

impl Image {
    pub(crate) fn read() -> Self {
        let mut stages = Vec::new();
        for step in steps(&read(&path("deploy/docker/Dockerfile"))) {
            if step.instruction == "FROM" {
                let (base, name) = step.rest.split_once(" AS ").unwrap_or((&step.rest, ""));
                stages.push(Stage { base: base.to_owned(), name: name.to_owned(), steps: Vec::new() });
            } else {
                stages.last_mut().expect("a stage").steps.push(step);
            }
        }
        Self { stages }
    }

    /// What is shipped.
    pub(crate) fn last(&self) -> &Stage {
        self.stages.last().expect("a stage")
    }

    pub(crate) fn environment(&self) -> BTreeMap<String, String> {
        self.last().environment()
    }

    /// `UID:GID`.
    pub(crate) fn user(&self) -> String {
        self.last().the("USER")
    }

    pub(crate) fn entrypoint(&self) -> Vec<String> {
        exec_form(&self.last().the("ENTRYPOINT"))
    }

    pub(crate) fn cmd(&self) -> Vec<String> {
        exec_form(&self.last().the("CMD"))
    }
}

impl Stage {
    pub(crate) fn all_of<'a>(&'a self, instruction: &'a str) -> impl Iterator<Item = &'a Step> {
        self.steps.iter().filter(move |step| step.instruction == instruction)
    }

    /// What stands behind an instruction that is there once.
    pub(crate) fn the(&self, instruction: &str) -> String {
        let [step] = self.all_of(instruction).collect::<Vec<_>>()[..] else { panic!("one {instruction}") };
        step.rest.clone()
    }

    pub(crate) fn environment(&self) -> BTreeMap<String, String> {
        let words = self.all_of("ENV").flat_map(|step| step.rest.split_whitespace());
        let pairs = words.map(|word| word.split_once('=').unwrap_or_else(|| panic!("NAME=VALUE: {word}")));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }
}

impl Step {
    pub(crate) fn flag(&self, name: &str) -> Option<&str> {
        self.flags.iter().find(|(flag, _)| flag == name).map(|(_, value)| value.as_str())
    }

    /// The paths that a `COPY` names: where from, where to.
    pub(crate) fn source_and_target(&self) -> (&str, &str) {
        let words: Vec<_> = self.rest.split_whitespace().collect();
        let [source, target] = words[..] else { panic!("one source and its target: {}", self.rest) };
        (source, target)
    }
}

/// The program and its arguments, as no shell has to take them apart.
fn exec_form(text: &str) -> Vec<String> {
    serde_json::from_str(text)
        .unwrap_or_else(|_| panic!("not in exec form, so a shell would be PID 1: {text}"))
}

/// Every instruction of a file. Lines that end in a backslash go on; comments are between lines, too.
fn steps(text: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut whole = String::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
        match line.trim_end().strip_suffix('\\') {
            Some(part) => whole.push_str(part),
            None => {
                whole.push_str(line);
                steps.extend(step(&std::mem::take(&mut whole)));
            }
        }
    }
    steps
}

/// The instruction of a line, unless it is empty.
fn step(line: &str) -> Option<Step> {
    let (instruction, mut rest) = line.trim().split_once(' ')?;
    let mut flags = Vec::new();
    while let Some(flag) = rest.trim_start().strip_prefix("--") {
        let (flag, behind) = flag.split_once(' ').expect("something behind the flags");
        let (name, value) = flag.split_once('=').expect("a flag has a value");
        flags.push((name.to_owned(), value.to_owned()));
        rest = behind;
    }
    Some(Step { instruction: instruction.to_owned(), flags, rest: rest.trim().to_owned() })
}
