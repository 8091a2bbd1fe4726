use std::collections::BTreeMap;

use steadfast_domain::{InvalidField, RawJson};

use crate::payload::{Fields, pointer_token};
use crate::program::{INPUT, PROGRAM, Program};

/// Bytes of all arguments of one run together. What is longer belongs into `input`: the system itself takes no
/// more than 128 KiB as one argument.
const ARGUMENTS_BYTES_MAX: usize = 64 * 1024;

/// The programs that jobs may name.
#[derive(Debug)]
pub(super) struct Programs(BTreeMap<String, Program>);

impl Programs {
    pub(super) fn new(programs: Vec<Program>) -> Self {
        Self(programs.into_iter().map(|program| (program.name.to_string(), program)).collect())
    }
}

/// What a payload asks for: `{"program": NAME, "input": any JSON, ...}` with the fields that the program's
/// arguments take.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) program: &'a Program,
    pub(super) arguments: Vec<String>,
}

impl<'a> Request<'a> {
    /// Reads `payload`, or names every fault of it.
    pub(super) fn read(programs: &'a Programs, payload: &RawJson) -> Result<Self, Vec<InvalidField>> {
        let mut fields = Fields::of(payload)?;
        let name: Option<String> = fields.require(PROGRAM, "the name of a program");
        let Some(program) = name.as_ref().and_then(|name| programs.0.get(name)) else {
            if name.is_some() {
                fields.fault(PROGRAM, "is not a program of this server");
            }
            // Only the program would say which other fields there may be.
            return Err(fields.into_faults());
        };
        // Any value will do: the program gets it with the whole payload.
        fields.take_raw(INPUT);
        let arguments = arguments(program, &mut fields);
        fields.finish(Some(Self { program, arguments }))
    }
}

/// The program's arguments for this payload; what is at fault is noted and left empty.
fn arguments(program: &Program, fields: &mut Fields<'_>) -> Vec<String> {
    let mut values = BTreeMap::new();
    for name in program.arguments.iter().flat_map(|argument| argument.fields()) {
        values.entry(name).or_insert_with(|| value(name, fields));
    }
    let mut bytes = 0;
    let mut filled = Vec::with_capacity(program.arguments.len());
    for argument in &program.arguments {
        let text = argument.fill(&values).unwrap_or_else(|name| {
            fields.fault(pointer_token(name), "must not begin with '-', as options do");
            String::new()
        });
        bytes += text.len();
        filled.push(text);
    }
    if bytes > ARGUMENTS_BYTES_MAX {
        let detail = format!("its fields make arguments of {bytes} bytes: at most {ARGUMENTS_BYTES_MAX}");
        fields.fault_of_all(detail);
    }
    filled
}

/// The text of the field `name`, noting what is wrong with it.
fn value(name: &str, fields: &mut Fields<'_>) -> String {
    const EXPECTED: &str = "must be text without NUL, a number, true or false";
    let Some(value) = fields.take_raw(name) else {
        fields.fault(pointer_token(name), format_args!("is missing: {EXPECTED}"));
        return String::new();
    };
    let text = match value.get().as_bytes().first() {
        Some(b'"') => serde_json::from_str(value.get()).ok(),
        Some(b'[' | b'{') | None => None,
        // As the client wrote it: numbers that no machine has stay whole.
        Some(_) => Some(value.get().to_owned()),
    };
    text.filter(|text: &String| !text.contains('\0')).unwrap_or_else(|| {
        fields.fault(pointer_token(name), EXPECTED);
        String::new()
    })
}

#[cfg(test)]
mod tests {
    use steadfast_domain::ProgramName;

    use super::*;

    fn programs(arguments: &[&str]) -> Programs {
        let mut program = Program::new(ProgramName::new("resize").unwrap(), "/bin/true".into());
        program.arguments = arguments.iter().map(|argument| argument.parse().unwrap()).collect();
        Programs::new(vec![program])
    }

    fn read(arguments: &[&str], payload: &str) -> Result<Vec<String>, Vec<String>> {
        let (programs, payload) = (programs(arguments), RawJson::parse(payload).unwrap());
        let request = Request::read(&programs, &payload);
        request
            .map(|request| request.arguments)
            .map_err(|faults| faults.into_iter().map(|fault| fault.pointer).collect())
    }

    #[test]
    fn declared_fields_become_arguments() {
        let payload =
            r#"{"program":"resize","w":7,"name":"a b\"c","on":true,"n":-1.50e3,"input":{"any":[1]}}"#;
        let arguments = read(&["--w={w}", "{name}", "{on}", "x{n}"], payload).unwrap();
        assert_eq!(arguments, ["--w=7", "a b\"c", "true", "x-1.50e3"]);
        assert_eq!(read(&[], r#"{"program":"resize"}"#), Ok(Vec::new()));
    }

    #[test]
    fn each_fault_is_pointed_at() {
        let arguments = &["{w}", "--name={name}"];
        for (payload, pointers) in [
            (r#"7"#, vec!["#/payload"]),
            (r#"{}"#, vec!["#/payload/program"]),
            (r#"{"program":7}"#, vec!["#/payload/program"]),
            (r#"{"program":"rm","w":1}"#, vec!["#/payload/program"]),
            (r#"{"program":"resize"}"#, vec!["#/payload/w", "#/payload/name"]),
            (r#"{"program":"resize","w":null,"name":"x"}"#, vec!["#/payload/w"]),
            (r#"{"program":"resize","w":[1],"name":{}}"#, vec!["#/payload/w", "#/payload/name"]),
            (r#"{"program":"resize","w":"a\u0000b","name":"\ud800"}"#, vec!["#/payload/w", "#/payload/name"]),
            (r#"{"program":"resize","w":-1,"name":"-1"}"#, vec!["#/payload/w"]),
            (r#"{"program":"resize","w":"--x","name":"-1"}"#, vec!["#/payload/w"]),
            (r#"{"program":"resize","w":1,"name":"x","more":1}"#, vec!["#/payload/more"]),
        ] {
            let pointers = pointers.into_iter().map(str::to_owned).collect();
            assert_eq!(read(arguments, payload), Err(pointers), "{payload}");
        }
    }

    #[test]
    fn arguments_are_bounded_together() {
        let payload = |bytes: usize| format!(r#"{{"program":"resize","a":"{}"}}"#, "x".repeat(bytes));
        assert!(read(&["{a}", "{a}"], &payload(ARGUMENTS_BYTES_MAX / 2)).is_ok());
        let faults = read(&["{a}", "{a}"], &payload(ARGUMENTS_BYTES_MAX / 2 + 1));
        assert_eq!(faults, Err(vec!["#/payload".to_owned()]));
    }
}
