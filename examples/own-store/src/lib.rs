//! A store around another one, which keeps a trail of what clients changed: [`Audited`].

mod audited;
mod trail;

pub use audited::Audited;
