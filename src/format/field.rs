//! The offset chain: where each field of a structure begins, computed from where the one before it ends.
//!
//! A structure is a chain of constants. Only the first says an offset; the compiler adds up the rest, and one assertion
//! at the end of the chain proves the length of the structure.
//!
//! ```text
//! const MAGIC: Field<8> = Field::at(0);
//! const VERSION: Field<4> = MAGIC.then();
//! const _: () = assert!(VERSION.end() == 12);
//! ```
//!
//! Offsets and sizes are constants of the program and never come from a file. A field outside the bytes that it is
//! asked of is therefore a bug, and asserts.

/// A field of `N` bytes at a fixed offset of a structure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field<const N: usize> {
    offset: usize,
}

impl<const N: usize> Field<N> {
    /// The field that begins at `offset`: the head of a chain.
    pub(crate) const fn at(offset: usize) -> Self {
        Field { offset }
    }

    /// The field that begins where this one ends.
    pub(crate) const fn then<const M: usize>(self) -> Field<M> {
        Field::at(self.end())
    }

    /// Where the field begins.
    pub(crate) const fn offset(self) -> usize {
        self.offset
    }

    /// Where the field ends: the offset of the next one.
    pub(crate) const fn end(self) -> usize {
        self.offset + N
    }

    /// The field's bytes in place; for fields too long to copy.
    pub(crate) fn bytes(self, structure: &[u8]) -> &[u8; N] {
        let Some(bytes) = structure.get(self.offset..).and_then(<[u8]>::first_chunk) else {
            panic!("a field of {N} bytes at {} lies outside a structure of {}", self.offset, structure.len())
        };
        bytes
    }

    /// The field's bytes in place, to be filled.
    pub(crate) fn bytes_mut(self, structure: &mut [u8]) -> &mut [u8; N] {
        let len = structure.len();
        let Some(bytes) = structure.get_mut(self.offset..).and_then(<[u8]>::first_chunk_mut) else {
            panic!("a field of {N} bytes at {} lies outside a structure of {len}", self.offset)
        };
        bytes
    }

    /// What the field holds.
    pub(crate) fn get(self, structure: &[u8]) -> [u8; N] {
        *self.bytes(structure)
    }

    /// Sets the field.
    pub(crate) fn put(self, structure: &mut [u8], value: [u8; N]) {
        *self.bytes_mut(structure) = value;
    }

    /// The field as a row of its structure's table.
    #[cfg(test)]
    pub(crate) const fn spec(self, name: &'static str) -> FieldSpec {
        FieldSpec { name, offset: self.offset, len: N, parts: &[] }
    }
}

impl Field<4> {
    /// What the field holds, as an integer.
    pub(crate) fn get_u32(self, structure: &[u8]) -> u32 {
        u32::from_le_bytes(self.get(structure))
    }

    /// Sets the field to an integer.
    pub(crate) fn put_u32(self, structure: &mut [u8], value: u32) {
        self.put(structure, value.to_le_bytes());
    }
}

impl Field<8> {
    /// What the field holds, as an integer.
    pub(crate) fn get_u64(self, structure: &[u8]) -> u64 {
        u64::from_le_bytes(self.get(structure))
    }

    /// Sets the field to an integer.
    pub(crate) fn put_u64(self, structure: &mut [u8], value: u64) {
        self.put(structure, value.to_le_bytes());
    }
}

/// A row of a structure's table: what tests iterate over to damage a structure field by field.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FieldSpec {
    /// What the table calls the field.
    pub(crate) name: &'static str,
    /// Where it begins in the structure.
    pub(crate) offset: usize,
    /// Its length in bytes.
    pub(crate) len: usize,
    /// The rows of what it holds over and over; none for a field that is one number, or bytes without a table.
    pub(crate) parts: &'static [FieldSpec],
}

#[cfg(test)]
impl FieldSpec {
    /// The row of a field that holds structures of the table `parts`, one behind the other.
    pub(crate) const fn made_of(self, parts: &'static [FieldSpec]) -> FieldSpec {
        FieldSpec { parts, ..self }
    }

    /// Where the field ends.
    pub(crate) const fn end(&self) -> usize {
        self.offset + self.len
    }
}

#[cfg(test)]
mod tests {
    use super::Field;

    const FIRST: Field<2> = Field::at(1);
    const SECOND: Field<4> = FIRST.then();
    const THIRD: Field<8> = SECOND.then();

    #[test]
    fn each_field_begins_where_the_one_before_it_ends() {
        assert_eq!((FIRST.offset(), FIRST.end()), (1, 3));
        assert_eq!((SECOND.offset(), SECOND.end()), (3, 7));
        assert_eq!((THIRD.offset(), THIRD.end()), (7, 15));
    }

    #[test]
    fn a_field_changes_its_own_bytes_and_no_others() {
        let mut bytes = [0xee; 16];
        SECOND.put_u32(&mut bytes, 0x0403_0201);
        assert_eq!(bytes[..8], [0xee, 0xee, 0xee, 1, 2, 3, 4, 0xee]);
        assert_eq!(bytes[8..], [0xee; 8]);
        assert_eq!(SECOND.get_u32(&bytes), 0x0403_0201);
    }

    #[test]
    fn integers_are_little_endian() {
        let mut bytes = [0; 15];
        THIRD.put_u64(&mut bytes, 0x0807_0605_0403_0201);
        assert_eq!(THIRD.get(&bytes), [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(THIRD.get_u64(&bytes), 0x0807_0605_0403_0201);
    }

    #[test]
    #[should_panic(expected = "a field of 8 bytes at 7 lies outside a structure of 14")]
    fn a_field_outside_its_structure_is_a_bug() {
        THIRD.get(&[0; 14]);
    }
}
