//! What an HTTP/2 client sends (RFC 9113), by hand: no library sends requests and then never reads. Used by the floods, too.

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const INITIAL_WINDOW_SIZE: u16 = 4;

/// The preface, and settings that leave each answer a window of so many bytes.
pub(crate) fn hello(window: u32) -> Vec<u8> {
    let setting = [&INITIAL_WINDOW_SIZE.to_be_bytes()[..], &window.to_be_bytes()].concat();
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(SETTINGS, 0, 0, &setting)].concat()
}

/// A whole request without a body.
pub(crate) fn get(stream: u32, path: &str) -> Vec<u8> {
    // Fields of the static table (RFC 7541, appendix A): `:method: GET`, `:scheme: http`.
    let head = [&[0x82, 0x86][..], &field(4, path), &field(1, "test")].concat();
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &head)
}

/// The head of a submit, and the first bytes of a body that does not end.
pub(crate) fn half_a_submit(stream: u32) -> Vec<u8> {
    // `:method: POST`, `:scheme: http`.
    let head = [&[0x83, 0x86][..], &field(4, "/v1/jobs"), &field(1, "test"), &field(31, "application/json")]
        .concat();
    [frame(HEADERS, END_HEADERS, stream, &head), frame(DATA, 0, stream, b"{\"kind\":")].concat()
}

/// A frame of any kind.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A field whose name is in the static table at `name`, not indexed, its value not compressed (RFC 7541,
/// section 6.2.2).
fn field(name: u8, value: &str) -> Vec<u8> {
    let name = if name < 15 { vec![name] } else { vec![15, name - 15] };
    let length = u8::try_from(value.len()).expect("a short value");
    assert!(length < 127, "a value whose length fits into one byte");
    [&name[..], &[length], value.as_bytes()].concat()
}
