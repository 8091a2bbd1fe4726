//! Two job kinds: `invoice`, as plain as can be, and `import`, which goes on where it stopped.

mod import;
mod invoice;

pub use import::Import;
pub use invoice::Invoice;
