//! Certificates for a server of the test's own, made by the machine's `openssl`.

use std::fs;
use std::path::{Path, PathBuf};

use super::programs::Programs;
use super::run;

/// The only name that the server's certificate is for.
pub const SERVER_NAME: &str = "db.example";
/// Where both authorities' certificates are, and the server's as PostgreSQL expects it.
const AUTHORITY: &str = "authority";
const STRANGER: &str = "stranger";
const SERVER: &str = "data/server";
/// What `openssl req` is to make. Both authorities have one name: only their keys tell them apart.
const REQUEST: &str = "\
[req]
prompt = no
distinguished_name = name
[name]
CN = Test
[authority]
basicConstraints = critical, CA:true
[server]
basicConstraints = critical, CA:false
subjectAltName = DNS:db.example
";

/// The authorities whose certificates a test may trust.
#[derive(Debug)]
pub(super) struct Authorities {
    /// It has signed the server's certificate.
    pub(super) right: PathBuf,
    /// It has signed nothing.
    pub(super) wrong: PathBuf,
}

/// Gives the cluster in `dir` a key and a certificate, and says who signed it.
pub(super) fn create(programs: &Programs, dir: &Path) -> Authorities {
    let request = dir.join("request");
    fs::write(&request, REQUEST).expect("openssl's settings can be written");
    programs.hand_over(&request);
    issue(programs, dir, AUTHORITY, &["-extensions", "authority"]);
    issue(programs, dir, STRANGER, &["-extensions", "authority"]);
    let signed = ["-CA", "authority.crt", "-CAkey", "authority.key", "-subj", "/CN=Server"];
    issue(programs, dir, SERVER, &[&["-extensions", "server"], &signed[..]].concat());
    let certificate = |name: &str| dir.join(name).with_extension("crt");
    Authorities { right: certificate(AUTHORITY), wrong: certificate(STRANGER) }
}

/// Makes `NAME.key` and `NAME.crt`, signed by itself unless `how` says by whom.
fn issue(programs: &Programs, dir: &Path, name: &str, how: &[&str]) {
    let mut command = programs.of_the_system("openssl", dir);
    command.args(["req", "-x509", "-config", "request", "-newkey", "ec", "-nodes"]);
    command.args(["-pkeyopt", "ec_paramgen_curve:prime256v1", "-days", "2"]);
    command.args(["-keyout", &format!("{name}.key"), "-out", &format!("{name}.crt")]);
    run(command.args(how));
}
