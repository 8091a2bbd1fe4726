//! A job kind that hears nothing: once started it runs to its end, or to the end of its process.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use async_trait::async_trait;
use serde_json::Value;
use steadfast_domain::{InvalidField, RawJson};
use steadfast_queue::{Failure, Finish, JobContext, JobHandler};

/// The kind's name.
pub const STUBBORN: &str = "stubborn";

/// Delivers to a [`Gate`](crate::gate::Gate) as the `http` kind does, by the same payload, but blocks its thread
/// until the gate has answered: neither a stop nor the end of its task ends it. A connection that is open at the
/// gate is a job that runs.
#[derive(Debug, Clone, Copy)]
pub struct Stubborn;

#[async_trait]
impl JobHandler for Stubborn {
    fn check(&self, _payload: &RawJson) -> Result<(), Vec<InvalidField>> {
        Ok(())
    }

    async fn run(&self, context: JobContext) -> Result<Finish, Failure> {
        tokio::task::block_in_place(|| deliver(&context))
            .map(|()| Finish::Completed(None))
            .map_err(|error| Failure::retryable("undelivered", error.to_string()))
    }
}

fn deliver(context: &JobContext) -> io::Result<()> {
    let payload: Value = context.payload().decode().map_err(io::Error::other)?;
    let url = payload["url"].as_str().and_then(|url| url.strip_prefix("http://")?.split_once('/'));
    let Some((gate, path)) = url else { return Err(io::ErrorKind::InvalidInput.into()) };
    let (job, attempt) = (context.job().id, context.job().attempt);
    let mut connection = TcpStream::connect(gate)?;
    write!(
        connection,
        "POST /{path} HTTP/1.1\r\nHost: {gate}\r\nConnection: close\r\nContent-Length: 0\r\n\
         Steadfast-Job-Id: {job}\r\nSteadfast-Attempt: {attempt}\r\n\r\n"
    )?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    if answer.starts_with("HTTP/1.1 200 ") { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}
