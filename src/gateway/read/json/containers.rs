//! The containers of a JSON text that are open at one place, and whether keys there may be a write key's.

use super::scan_error::ScanError;

/// The deepest nesting accepted. Events of real clients stay below ten.
pub const DEPTH_MAX: u32 = 64;

/// The containers that are open.
#[derive(Clone, Copy)]
pub(super) struct Open {
    /// Bit 0 is the innermost: set for an object.
    pub(super) objects: u64,
    pub(super) depth: u32,
    /// The container at depth 2 is the batch, or some parsers take it for one: they iterate over an object's members, too.
    pub(super) in_batch: bool,
}

impl Open {
    pub(super) fn push(&mut self, object: bool, batch: bool) -> Result<(), ScanError> {
        if self.depth == DEPTH_MAX {
            return Err(ScanError::TooDeep);
        }
        if self.depth == 1 {
            self.in_batch = batch;
        }
        self.objects = self.objects << 1 | u64::from(object);
        self.depth += 1;
        Ok(())
    }

    pub(super) fn pop(&mut self, object: bool) -> Result<(), ScanError> {
        if self.depth == 0 || self.in_object() != object {
            return Err(ScanError::Invalid);
        }
        self.objects >>= 1;
        self.depth -= 1;
        Ok(())
    }

    const fn in_object(&self) -> bool {
        self.objects & 1 == 1
    }

    /// Whether a key here may be `writeKey`: in the document, in the batch's events, and in a batch that is an object,
    /// which some parsers take for the one event.
    pub(super) const fn has_write_keys(&self) -> bool {
        self.in_object() && (self.depth == 1 || (self.in_batch && matches!(self.depth, 2 | 3)))
    }
}
