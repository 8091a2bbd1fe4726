//! Ports for servers that must come back on the same one.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use rand::Rng;

/// Below what Linux gives to outgoing connections (32768 and up): while a server is down, no client's socket
/// takes its port, and none that tries to reach it can be connected to itself.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
const TRIES: usize = 1_000;

/// A port of the loopback address on which nobody listens now. It is held for nobody: whoever loses it to
/// another program takes a new one.
///
/// # Panics
/// When none is found.
pub fn free_port() -> u16 {
    let mut random = rand::rng();
    (0..TRIES)
        .map(|_| random.random_range(PORTS))
        .find(|port| TcpListener::bind(loopback(*port)).is_ok())
        .unwrap_or_else(|| panic!("no free port in {PORTS:?} after {TRIES} tries"))
}

/// This port of the loopback address.
pub fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}
