use std::fs::File;
use std::io::{self, Read};

use steadfast_domain::RawJson;

use super::Failure;

/// Bytes of a payload that are read at most: far more than any server takes unless told to.
const PAYLOAD_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The payload as the command line gives it: JSON, `@FILE` or `-`.
pub(super) fn read(argument: &str) -> Result<RawJson, Failure> {
    let text = match (argument, argument.strip_prefix('@')) {
        ("-", _) => read_all(io::stdin().lock(), "standard input")?,
        (_, Some(path)) => {
            let file = File::open(path)
                .map_err(|error| Failure::usage(format_args!("cannot open {path}: {error}")))?;
            read_all(file, path)?
        }
        (text, None) => text.to_owned(),
    };
    RawJson::parse(&text).map_err(|error| Failure::usage(format_args!("the payload is {error}")))
}

fn read_all(source: impl Read, name: &str) -> Result<String, Failure> {
    let mut text = String::new();
    let read = source.take(PAYLOAD_BYTES_MAX + 1).read_to_string(&mut text);
    let read = read.map_err(|error| Failure::usage(format_args!("cannot read {name}: {error}")))?;
    if read as u64 > PAYLOAD_BYTES_MAX {
        return Err(Failure::usage(format_args!("{name} has more than {PAYLOAD_BYTES_MAX} bytes")));
    }
    Ok(text)
}
