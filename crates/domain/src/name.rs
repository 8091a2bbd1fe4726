use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

use crate::{Invalid, limits};

/// Defines a shared, immutable string that only its checked constructor can make.
macro_rules! checked_string {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:expr, $allowed:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            #[doc = concat!("Checks that `text` is a valid ", $what, ".")]
            pub fn new(text: &str) -> Result<Self, Invalid> {
                let check: fn(&str) -> bool = $check;
                if check(text) { Ok(Self(text.into())) } else { Err(Invalid::value($what, text, $allowed)) }
            }

            #[doc = concat!("The ", $what, " as text.")]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                Self::new(text)
            }
        }
    };
}

const NAME_ALLOWED: &str = "1 to 64 characters of a-z, 0-9, '.', '_' and '-'";
const KEY_ALLOWED: &str = "1 to 255 visible ASCII characters";
const UNIQUE_KEY_ALLOWED: &str = "1 to 255 bytes without control characters";
const TENANT_ALLOWED: &str = "0 to 64 characters of a-z, 0-9, '.', '_' and '-'";
const TRACE_PARENT_ALLOWED: &str = "a W3C traceparent, 00-<32 hex>-<16 hex>-<2 hex>, with no all-zero id";

checked_string!(
    /// A queue's name: 1 to 64 bytes of `[a-z0-9._-]`.
    QueueName, "queue name", is_name, NAME_ALLOWED
);
checked_string!(
    /// A job kind: 1 to 64 bytes of `[a-z0-9._-]`.
    KindName, "kind", is_name, NAME_ALLOWED
);
checked_string!(
    /// A remote worker's own name for itself: 1 to 255 visible ASCII characters.
    WorkerName, "worker name", is_visible_ascii, KEY_ALLOWED
);
checked_string!(
    /// A program that the settings name and jobs may run: 1 to 64 bytes of `[a-z0-9._-]`.
    ProgramName, "program name", is_name, NAME_ALLOWED
);
checked_string!(
    /// What people call a token: 1 to 64 bytes of `[a-z0-9._-]`.
    TokenName, "token name", is_name, NAME_ALLOWED
);
checked_string!(
    /// At most one live job of a queue has this key: 1 to 255 bytes without control characters.
    UniqueKey, "unique_key",
    |text| (1..=limits::KEY_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control),
    UNIQUE_KEY_ALLOWED
);
checked_string!(
    /// The client's name for one submission: 1 to 255 visible ASCII characters.
    IdempotencyToken, "Idempotency-Key", is_visible_ascii, KEY_ALLOWED
);
checked_string!(
    /// Whose job it is; the empty name where a token names none, and where there are no tokens.
    Tenant, "tenant", |text| text.is_empty() || is_name(text), TENANT_ALLOWED
);
checked_string!(
    /// A W3C Trace Context `traceparent`, version 00, by which a trace goes through a job.
    TraceParent, "traceparent", is_trace_parent, TRACE_PARENT_ALLOWED
);

impl QueueName {
    /// The queue that always exists.
    pub fn default_queue() -> Self {
        static DEFAULT: LazyLock<QueueName> = LazyLock::new(|| QueueName("default".into()));
        DEFAULT.clone()
    }
}

impl KindName {
    /// Whether `text` is a valid kind, for names that are known when a program is compiled.
    pub const fn is_valid(text: &str) -> bool {
        is_name(text)
    }
}

impl Default for Tenant {
    fn default() -> Self {
        static NOBODY: LazyLock<Tenant> = LazyLock::new(|| Tenant("".into()));
        NOBODY.clone()
    }
}

impl TraceParent {
    /// The 32 hexadecimal digits that name the trace.
    pub fn trace_id(&self) -> &str {
        &self.0[3..35]
    }

    /// The trace context of a span just begun inside this one: the same trace and flags. A zero id becomes
    /// 1, since the standard forbids it.
    pub fn child(&self, span: u64) -> Self {
        let (trace, flags) = (self.trace_id(), &self.0[53..55]);
        Self(format!("00-{trace}-{:016x}-{flags}", span.max(1)).into())
    }

    /// The trace context of a span just begun: version 00, sampled. Zero ids become 1, since the
    /// standard forbids them.
    pub fn from_ids(trace: u128, span: u64) -> Self {
        Self::from_parts(trace, span, 1)
    }

    /// The same with flags of one's own.
    pub fn from_parts(trace: u128, span: u64, flags: u8) -> Self {
        Self(format!("00-{:032x}-{:016x}-{flags:02x}", trace.max(1), span.max(1)).into())
    }

    /// The trace's id, the span's, and the flags.
    pub fn parts(&self) -> (u128, u64, u8) {
        let hex = |from, to| u128::from_str_radix(&self.0[from..to], 16).unwrap_or_default();
        (hex(3, 35), hex(36, 52) as u64, hex(53, 55) as u8)
    }
}

const fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    if bytes.is_empty() || bytes.len() > limits::NAME_BYTES_MAX {
        return false;
    }
    // What a constant is made by has no iterators.
    let mut at = 0;
    while at < bytes.len() {
        if !matches!(bytes[at], b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-') {
            return false;
        }
        at += 1;
    }
    true
}

fn is_visible_ascii(text: &str) -> bool {
    (1..=limits::KEY_BYTES_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

fn is_trace_parent(text: &str) -> bool {
    let hex = |part: &str, digits: usize| {
        part.len() == digits && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let zero = |part: &str| part.bytes().all(|b| b == b'0');
    let parts: Vec<&str> = text.split('-').collect();
    matches!(parts[..], ["00", trace, span, flags]
        if hex(trace, 32) && !zero(trace) && hex(span, 16) && !zero(span) && hex(flags, 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_to_their_alphabet_and_length() {
        assert!(QueueName::new("mail.out_2-x").is_ok());
        assert!(QueueName::new(&"a".repeat(64)).is_ok());
        for bad in ["", "Mail", "a b", "é", "a/b", &"a".repeat(65)] {
            assert!(QueueName::new(bad).is_err(), "{bad}");
        }
        assert!(Tenant::new("").is_ok());
    }

    #[test]
    fn keys_refuse_what_a_header_or_a_store_could_not_carry() {
        assert!(IdempotencyToken::new(&"k".repeat(255)).is_ok());
        for bad in ["", "a b", "a\0b", "é", &"k".repeat(256)] {
            assert!(IdempotencyToken::new(bad).is_err(), "{bad}");
        }
        assert!(UniqueKey::new("order é 7").is_ok());
        assert!(UniqueKey::new("a\0b").is_err());
    }

    #[test]
    fn an_error_names_the_value_and_what_is_allowed() {
        let error = KindName::new("Send Mail").unwrap_err().to_string();
        assert_eq!(error, format!("kind \"Send Mail\" is not allowed: {NAME_ALLOWED}"));
    }

    #[test]
    fn a_trace_parent_is_the_standards_form() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(
            TraceParent::new(good).map(|t| t.trace_id().to_owned()),
            Ok("4bf92f3577b34da6a3ce929d0e0e4736".to_owned())
        );
        let child = TraceParent::new(&good.replace("-01", "-00")).map(|parent| parent.child(7));
        assert_eq!(
            child.map(|t| t.to_string()),
            Ok("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000007-00".to_owned())
        );
        assert!(TraceParent::new("00-00000000000000000000000000000000-00f067aa0ba902b7-01").is_err());
        assert!(TraceParent::new(TraceParent::from_ids(0, 0).as_str()).is_ok());
        let (trace, span, flags) = TraceParent::new(good).unwrap().parts();
        assert_eq!(TraceParent::from_parts(trace, span, flags).as_str(), good);
    }
}
