//! Who has a simulated disk open: one pager that writes, or any number that read.

use crate::storage::Access;

/// See the head of this file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Holders {
    #[default]
    Nobody,
    Writer,
    /// At least one.
    Readers(usize),
}

impl Holders {
    /// With one more, unless the others keep it out.
    pub(super) fn with(self, access: Access) -> Option<Holders> {
        match (self, access) {
            (Holders::Nobody, Access::Write) => Some(Holders::Writer),
            (Holders::Nobody, Access::Read) => Some(Holders::Readers(1)),
            (Holders::Readers(count), Access::Read) => Some(Holders::Readers(count + 1)),
            (Holders::Writer, _) | (Holders::Readers(_), Access::Write) => None,
        }
    }

    /// With one less.
    pub(super) fn without_one(self) -> Holders {
        match self {
            Holders::Readers(count) if count > 1 => Holders::Readers(count - 1),
            _ => Holders::Nobody,
        }
    }
}
