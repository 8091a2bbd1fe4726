//! Who can reach the server, and whether that is meant.

use std::net::SocketAddr;

use super::{Settings, SettingsError};

impl Settings {
    /// Refuses to be reached from beyond this machine where nothing tells who is there. `name` is how an error names a
    /// setting.
    pub(super) fn check_exposure(&self, name: impl Fn(&str) -> String) -> Result<(), SettingsError> {
        if self.token_file.is_some() || self.insecure {
            return Ok(());
        }
        let addresses = [("listen", Some(self.listen)), ("admin_listen", self.admin_listen)];
        let addresses = addresses.into_iter().filter_map(|(key, address)| Some((key, address?)));
        match addresses.into_iter().find(|(_, address)| !is_local(*address)) {
            Some((key, address)) => Err(SettingsError::Open { key: name(key), address }),
            None => Ok(()),
        }
    }

    /// Says at the start what strangers may do.
    pub(crate) fn warn_of_exposure(&self) {
        let (listen, admin) = (self.listen, self.admin_listen.filter(|admin| !is_local(*admin)));
        if !is_local(listen) && self.token_file.is_none() {
            tracing::warn!(address = %listen, "whoever reaches this address may do everything: there is no token file");
        } else if !is_local(listen) && self.tls_cert.is_none() {
            tracing::warn!(address = %listen, "tokens are sent unencrypted, unless something before the server encrypts");
        }
        if let Some(address) = admin {
            tracing::warn!(%address, "whoever reaches the admin listener may drain the server and pause its queues");
        }
    }
}

/// Whether only this machine reaches it.
pub(crate) fn is_local(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}
