//! One page of a list.

/// One page of a list: what comes after an id, in the order of ids, which is the order of creation.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    pub after: &'a str,
    pub limit: u32,
}
