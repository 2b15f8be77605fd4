//! Incremental snapshots whose checksums fit and whose content does not: what only somebody hostile would write. I7.

use std::io;

use crate::block::Block;
use crate::error::Error;
use crate::format::{
    BLOCK_LEN, BlockBytes, Chain, IncrementEnd, IncrementHead, METADATA_OFFSETS, PieceHead, RESERVED_LEN, Structure,
};
use crate::pager::{Pager, PagerOptions, RegularPages};
use crate::storage::{SimDisk, SimImage};

/// An increment in parts, to be put together again with checksums that fit.
#[derive(Clone)]
struct Forged {
    head: IncrementHead,
    pieces: Vec<(u64, Vec<u8>)>,
}

impl Forged {
    fn take_apart(increment: &[u8]) -> Self {
        let head = IncrementHead::decode(increment.first_chunk().unwrap()).unwrap();
        let mut rest = &increment[IncrementHead::LEN..increment.len() - IncrementEnd::LEN];
        let mut pieces = Vec::new();
        while !rest.is_empty() {
            let piece = PieceHead::decode(rest.first_chunk().unwrap()).unwrap();
            let (bytes, behind) = rest[PieceHead::LEN..].split_at(usize::try_from(piece.len).unwrap());
            pieces.push((piece.offset, bytes.to_vec()));
            rest = behind;
        }
        Forged { head, pieces }
    }

    fn put_together(&self) -> Vec<u8> {
        let payload = self.pieces.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        let head = IncrementHead { pieces: self.pieces.len() as u64, payload, ..self.head };
        let mut chain = Chain::new(&head);
        let mut increment = head.encode().to_vec();
        for (offset, bytes) in &self.pieces {
            let piece = PieceHead::new(*offset, bytes).encode();
            chain.push(&piece);
            increment.extend(piece.iter().chain(bytes));
        }
        increment.extend(chain.end().encode());
        increment
    }

    /// The older copy with this one in place: what comes of it opens, and its state is whole, or it is refused.
    fn apply(&self, older: &SimImage) -> Result<(), Error> {
        let [older, newer] = [SimDisk::from_image(older.clone()), SimDisk::new()];
        let increment = SimDisk::from_image(self.put_together());
        // A length that no machine has memory for.
        newer.set_space_limit(Some(64 << 20));
        let made = Pager::<1024>::apply_incremental_on(&older, &increment, &newer);
        match &made {
            Ok(_) => {
                let copy = PagerOptions::new().open_on::<1024>(&newer).expect("it was walked before it was made");
                // A void slot that is forged changes nothing about the state.
                let is_reserved = |block| matches!(block, Block::Slot(_) | Block::Metadata(_) | Block::Identity);
                let findings = copy.check();
                assert!(findings.iter().all(|finding| is_reserved(finding.block)), "{findings:?}");
            }
            Err(_) => assert!(newer.cached_image().is_empty()),
        }
        made.map(drop)
    }
}

fn case() -> (SimImage, Forged) {
    let [older, increment] = [SimDisk::new(), SimDisk::new()];
    let mut pager = PagerOptions::new().create_on::<1024>(&SimDisk::new()).unwrap();
    let protected = pager.alloc_protected_bulk(40).unwrap();
    pager.alloc_bulk(90).unwrap();
    let since = pager.snapshot_on(&older).unwrap().generation;
    pager.free_protected_bulk(&protected[..9]).unwrap();
    let regular = pager.alloc_bulk(40).unwrap();
    let mut writer = pager.protected_mut(protected[30]).unwrap();
    writer.page_mut().fill(7);
    writer.commit().unwrap();
    pager.incremental_on(&increment, since, RegularPages::Named(&regular[..3])).unwrap();
    (older.durable_image(), Forged::take_apart(&increment.durable_image().to_vec()))
}

#[test]
fn an_increment_that_is_put_together_again_is_the_same() {
    let (older, forged) = case();
    forged.apply(&older).unwrap();
    assert_eq!(Forged::take_apart(&forged.put_together()).put_together(), forged.put_together());
}

#[test]
fn a_head_that_says_something_else_is_refused_by_name() {
    let (older, forged) = case();
    let refused = |change: fn(&mut IncrementHead)| {
        let mut forged = forged.clone();
        change(&mut forged.head);
        forged.apply(&older).unwrap_err()
    };
    assert!(matches!(refused(|head| head.base -= 1), Error::IncrementOfAnotherBase { .. }));
    assert!(matches!(refused(|head| head.identity.page_size = 2048), Error::PageSize { found: 2048, .. }));
    let error = refused(|head| head.generation += 1);
    assert!(matches!(error, Error::DamagedIncrement { field: "generation", .. }), "{error}");
    let error = refused(|head| head.total_pages += 1);
    assert!(matches!(error, Error::DamagedIncrement { field: "total pages", .. }), "{error}");
}

#[test]
fn pieces_that_lie_over_one_another_or_behind_the_end_are_refused() {
    let (older, forged) = case();
    let refused = |change: fn(&mut Forged)| {
        let mut forged = forged.clone();
        change(&mut forged);
        forged.apply(&older).unwrap_err()
    };
    for error in [
        refused(|forged| forged.pieces.push(forged.pieces[0].clone())),
        refused(|forged| forged.pieces[1].0 = forged.pieces[0].0 + 1),
        refused(|forged| forged.pieces[0].0 = forged.head.total_len() - 1),
        refused(|forged| forged.pieces[0].0 = u64::MAX),
    ] {
        assert!(matches!(error, Error::DamagedIncrement { field: "offset", .. }), "{error}");
    }
    // The reserved region has to be there; without any other piece it does not fit the older copy.
    for error in [
        refused(|forged| forged.pieces.retain(|(offset, _)| *offset != 0)),
        refused(|forged| forged.pieces.retain(|(offset, _)| *offset < RESERVED_LEN)),
    ] {
        assert!(matches!(error, Error::NotTheBase { .. }), "{error}");
    }
}

/// Every cell of every block in it, with values that tell, and a CRC of the block that fits.
#[test]
fn whatever_its_blocks_say_it_is_refused_or_makes_a_file_that_opens() {
    let (older, forged) = case();
    let (mut refused, mut made) = (0, 0);
    for at in 0..forged.pieces.len() {
        for start in (0..forged.pieces[at].1.len()).step_by(BLOCK_LEN) {
            let Some(block) = forged.pieces[at].1[start..].first_chunk::<BLOCK_LEN>().copied() else { continue };
            let Some(structure) = Structure::of(&block) else { continue };
            for cell in structure.cells(&block) {
                let value = cell.get(&block);
                for other in [0, 1, value ^ 1, value.wrapping_add(1), 1 << 39, u64::MAX] {
                    let mut forgery: BlockBytes = block;
                    cell.put(&mut forgery, other);
                    structure.mend(&mut forgery);
                    let mut forged = forged.clone();
                    forged.pieces[at].1[start..start + BLOCK_LEN].copy_from_slice(&forgery);
                    mend_slot(&mut forged, &forgery);
                    match forged.apply(&older) {
                        Ok(()) => made += 1,
                        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::StorageFull => refused += 1,
                        Err(error) => {
                            assert!(!error.is_io(), "{}: {other:#x}: {error}", cell.name);
                            refused += 1;
                        }
                    }
                }
            }
        }
    }
    assert!(refused > 300 && made > 20, "{refused} {made}");
}

/// Makes slot 0 name the metadata as it is now, so that more than its checksum is looked at.
fn mend_slot(forged: &mut Forged, metadata: &BlockBytes) {
    let key = crate::format::ChecksumKey::new(forged.head.identity.file_id);
    let Some((_, reserved)) = forged.pieces.iter_mut().find(|(offset, _)| *offset == 0) else { return };
    let at = usize::try_from(METADATA_OFFSETS[0]).unwrap();
    if reserved[at..].first_chunk() != Some(metadata) {
        return;
    }
    let slot: &mut BlockBytes = reserved[BLOCK_LEN..].first_chunk_mut().unwrap();
    let Some(structure) = Structure::of(slot) else { return };
    structure.cell("metadata checksum").unwrap().put(slot, key.checksum(metadata));
    structure.mend(slot);
}
