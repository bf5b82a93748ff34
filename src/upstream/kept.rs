//! What a connection took of a request's body, copied so that it can be sent again.
use crate::message::{Kept, Pressure, Source, counted, memory};

/// A copy of the beginning of a body, in the account of buffered bytes.
#[derive(Debug)]
pub(super) struct Copied {
    bytes: Vec<u8>,
    most: usize,
}

impl Copied {
    /// Of `most` bytes at the most; none where that is none.
    pub(super) fn new(most: usize) -> Option<Box<Self>> {
        (most > 0).then(|| Box::new(Self::of(most)))
    }

    /// Of `most` bytes at the most, which may be none.
    pub(super) fn of(most: usize) -> Self {
        Self { bytes: Vec::new(), most }
    }

    /// Keeps bytes behind the others; `false` where there is no room for them.
    pub(super) fn keep(&mut self, bytes: &[u8]) -> bool {
        let fits = self.bytes.len() + bytes.len() <= self.most && memory().may_keep();
        if fits {
            memory().take(bytes.len());
            self.bytes.extend_from_slice(bytes);
        }
        fits
    }

    /// Bytes.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Gives them back to where they came from.
    pub(super) fn give_back(&self, body: &mut dyn Source) {
        let mut kept = Kept::default();
        kept.keep(counted(&self.bytes), self.most);
        body.put_back(kept);
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        memory().give(self.bytes.len());
    }
}

/// Whether what is kept may stay: it must not itself be the shortage.
pub(super) fn has_memory() -> bool {
    memory().pressure() == Pressure::None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_kept_than_may_be_and_all_of_it_is_accounted_for() {
        assert!(Copied::new(0).is_none());
        let _alone = crate::message::alone();
        // More than all other tests of this process hold together.
        let bytes = vec![1; 48 << 20];
        let mut copied = Copied::new(bytes.len() + 1).unwrap();
        assert!(copied.keep(&bytes) && !copied.keep(&bytes[..2]) && copied.keep(&bytes[..1]));
        assert_eq!(copied.len(), bytes.len() + 1);
        assert!(memory().used() > bytes.len());
        drop(copied);
        assert!(memory().used() < bytes.len());
    }
}
