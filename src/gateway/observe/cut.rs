//! Who cut a response short.

/// Who ended a response in the middle.
#[derive(Clone, Copy, Debug)]
pub enum Cut {
    ByUpstream,
    ByClient,
}
