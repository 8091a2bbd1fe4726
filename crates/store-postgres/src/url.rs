use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use tokio_postgres::Config;
use tokio_postgres::config::SslMode;
use url::Url;

/// A database's URL: libpq's, and the parameters `schema` and `prepare` of our own. Shown without a password.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl(Arc<Parts>);

/// What a [`PostgresUrl`] says.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Parts {
    /// The URL without what only we understand.
    text: String,
    shown: String,
    pub(crate) schema: String,
    pub(crate) prepare: Prepare,
    pub(crate) tls: TlsMode,
    pub(crate) root_certificates: Option<PathBuf>,
}

/// How statements reach the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prepare {
    /// Prepared once for each connection, under names. A pooler in transaction mode must know how to carry
    /// them: pgbouncer does since 1.21.
    Named,
    /// Sent whole each time.
    Unnamed,
}

/// libpq's `sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TlsMode {
    Disable,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// Why a text is no [`PostgresUrl`]. It repeats nothing of it, since that may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadUrl(&'static str);

const SCHEMA_DEFAULT: &str = "steadfast";
/// Bytes of the schema's name, at most: with a suffix it names a channel, in less than 64.
const SCHEMA_BYTES_MAX: usize = 48;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long sent bytes may go unacknowledged before the connection counts as lost.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(5);
const KEEPALIVE_IDLE: Duration = Duration::from_secs(5);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
const KEEPALIVE_RETRIES: u32 = 3;

impl FromStr for PostgresUrl {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<Self, BadUrl> {
        let mut url = Url::parse(text).map_err(|_| BadUrl("it is not a URL"))?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(BadUrl("it does not begin with postgres://"));
        }
        let mut ours = Parts {
            text: String::new(),
            shown: String::new(),
            schema: SCHEMA_DEFAULT.to_owned(),
            prepare: Prepare::Named,
            tls: TlsMode::Prefer,
            root_certificates: None,
        };
        let (mut passed_on, mut shown) = (Vec::new(), Vec::new());
        for parameter in url.query().unwrap_or_default().split('&').filter(|part| !part.is_empty()) {
            let (key, value) = parameter.split_once('=').ok_or(BadUrl("a parameter has no value"))?;
            if key.contains('%') {
                return Err(BadUrl("a parameter's name is encoded"));
            }
            if !key.contains("password") {
                shown.push(parameter);
            }
            if !ours.take(key, value)? {
                passed_on.push(parameter);
            }
        }
        if ours.tls == TlsMode::Require && ours.root_certificates.is_some() {
            // As libpq has it: whoever names authorities wants them asked.
            ours.tls = TlsMode::VerifyCa;
        }
        let (passed_on, shown) = (passed_on.join("&"), shown.join("&"));
        url.set_query((!passed_on.is_empty()).then_some(&*passed_on));
        ours.text = url.to_string();
        url.set_query((!shown.is_empty()).then_some(&*shown));
        // Fails only for a URL without a host, which has no password either.
        let _ = url.set_password(None);
        ours.shown = url.to_string();
        Config::from_str(&ours.text).map_err(|_| BadUrl("it has a parameter that is not known"))?;
        Ok(Self(Arc::new(ours)))
    }
}

impl Parts {
    /// Whether a parameter is for us alone.
    fn take(&mut self, key: &str, value: &str) -> Result<bool, BadUrl> {
        match key {
            "schema" if is_identifier(value) => self.schema = value.to_owned(),
            "schema" => return Err(BadUrl("schema must be 1 to 48 of a-z, 0-9 and _, no digit first")),
            "prepare" => {
                self.prepare = match value {
                    "named" => Prepare::Named,
                    "unnamed" => Prepare::Unnamed,
                    _ => return Err(BadUrl("prepare must be named or unnamed")),
                }
            }
            "sslmode" => {
                self.tls = match value {
                    "disable" => TlsMode::Disable,
                    "prefer" | "allow" => TlsMode::Prefer,
                    "require" => TlsMode::Require,
                    "verify-ca" => TlsMode::VerifyCa,
                    "verify-full" => TlsMode::VerifyFull,
                    _ => {
                        return Err(BadUrl(
                            "sslmode must be disable, prefer, require, verify-ca or verify-full",
                        ));
                    }
                }
            }
            "sslrootcert" => {
                let path = percent_decode_str(value).decode_utf8();
                let path = path.map_err(|_| BadUrl("sslrootcert is not UTF-8"))?;
                self.root_certificates = Some(PathBuf::from(&*path));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// How to connect. What the URL does not say is set so that no connection hangs.
    pub(crate) fn config(&self) -> Result<Config, tokio_postgres::Error> {
        let mut config = Config::from_str(&self.text)?;
        if config.get_application_name().is_none() {
            config.application_name("steadfast");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(UNACKNOWLEDGED_MAX);
        }
        config
            .keepalives_idle(KEEPALIVE_IDLE)
            .keepalives_interval(KEEPALIVE_INTERVAL)
            .keepalives_retries(KEEPALIVE_RETRIES)
            .ssl_mode(match self.tls {
                TlsMode::Disable => SslMode::Disable,
                TlsMode::Prefer => SslMode::Prefer,
                TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull => SslMode::Require,
            });
        Ok(config)
    }
}

impl PostgresUrl {
    /// What it says.
    pub(crate) fn parts(&self) -> &Parts {
        &self.0
    }

    /// The same server, with the schema of another URL.
    pub(crate) fn in_schema_of(&self, other: &Self) -> Self {
        Self(Arc::new(Parts { schema: other.0.schema.clone(), ..Parts::clone(&self.0) }))
    }
}

fn is_identifier(text: &str) -> bool {
    (1..=SCHEMA_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'))
        && !text.starts_with(|first: char| first.is_ascii_digit())
        && !text.starts_with("pg_")
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.shown)
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<PostgresUrl, BadUrl> {
        text.parse()
    }

    #[test]
    fn no_password_is_ever_shown() {
        let url = parse("postgres://me:secret@db.example:5433/jobs?schema=a&password=secret&sslmode=require");
        let url = url.unwrap();
        assert_eq!(url.to_string(), "postgres://me@db.example:5433/jobs?schema=a&sslmode=require");
        assert!(!format!("{url:?}").contains("secret"));
        assert_eq!(url.parts().config().unwrap().get_password(), Some(&b"secret"[..]));
    }

    #[test]
    fn our_parameters_are_taken_and_libpqs_passed_on() {
        let url = parse("postgresql://db/x?prepare=unnamed&connect_timeout=7&sslmode=verify-full").unwrap();
        assert_eq!(
            (&*url.parts().schema, url.parts().prepare, url.parts().tls),
            ("steadfast", Prepare::Unnamed, TlsMode::VerifyFull)
        );
        assert_eq!(url.parts().config().unwrap().get_connect_timeout(), Some(&Duration::from_secs(7)));
    }

    #[test]
    fn whoever_names_authorities_has_them_asked() {
        let url = parse("postgres://db/x?sslrootcert=/etc/our%20roots.pem&sslmode=require").unwrap();
        assert_eq!(url.parts().root_certificates.as_deref(), Some("/etc/our roots.pem".as_ref()));
        assert_eq!(url.parts().tls, TlsMode::VerifyCa);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for bad in [
            "jobs.db",
            "mysql://db/x",
            "postgres://db/x?schema=A",
            "postgres://db/x?schema=a\"b",
            "postgres://db/x?schema=1a",
            "postgres://db/x?prepare=maybe",
            "postgres://db/x?sslmode=sometimes",
            "postgres://db/x?sslrootcert=%ff",
            "postgres://db/x?no_such_parameter=1",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
