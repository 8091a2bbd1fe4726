use std::net::SocketAddr;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use super::address::{AddressPolicy, Denied, allowed};

impl AddressPolicy {
    /// Judges a URL's host if it is an address: literals never come to the resolver. The URL's parser has
    /// brought every way of writing one (octal, hexadecimal, one number) into one form.
    pub(super) fn check_host(self, url: &Url) -> Result<(), Denied> {
        match url.host() {
            Some(Host::Ipv4(ip)) => allowed(ip.into(), self),
            Some(Host::Ipv6(ip)) => allowed(ip.into(), self),
            Some(Host::Domain(_)) | None => Ok(()),
        }
    }

    /// The addresses among `found` that are allowed; the first refusal when none is.
    fn keep_allowed(self, found: Addrs) -> Result<Vec<SocketAddr>, Denied> {
        let mut refusal = None;
        let kept: Vec<_> = found
            .filter(|address| match allowed(address.ip(), self) {
                Ok(()) => true,
                Err(denied) => {
                    refusal.get_or_insert(denied);
                    false
                }
            })
            .collect();
        match refusal {
            Some(denied) if kept.is_empty() => Err(denied),
            _ => Ok(kept),
        }
    }
}

/// Judges every address that a name resolves to, each time a connection is made.
pub(super) struct PolicedResolver<R> {
    pub(super) names: R,
    pub(super) policy: AddressPolicy,
}

impl<R: Resolve> Resolve for PolicedResolver<R> {
    fn resolve(&self, name: Name) -> Resolving {
        let (found, policy) = (self.names.resolve(name), self.policy);
        Box::pin(async move {
            let kept = policy.keep_allowed(found.await?)?;
            Ok(Box::new(kept.into_iter()) as Addrs)
        })
    }
}

/// Asks the operating system.
pub(super) struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            // The lookup's own iterator borrows the name.
            let found: Vec<_> = found.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}
