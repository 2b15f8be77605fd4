//! Cases by their names, as a run prints them and `--replay` takes them.

use std::str::FromStr;

use diptych::{CallKind, CrashPoint, Damage, Subset, Tail, TornUnit};

use crate::failing_call::{ERRORS, FailingCall};
use crate::rot::Rot;

/// What a [`CrashPoint`] prints with `{:?}`, read again.
///
/// # Errors
///
/// What cannot be read.
pub fn crash_point(text: &str) -> Result<CrashPoint, String> {
    let wrong = || format!("{text} is no crash point");
    let subset = between(text, "subset: ", ", length: ").ok_or_else(wrong)?;
    let damage = text.split_once("damage: ").ok_or_else(wrong)?.1;
    Ok(CrashPoint {
        epoch: number(text, "epoch: ").ok_or_else(wrong)?,
        torn_unit: between(text, "torn_unit: ", ",").and_then(torn_unit_called).ok_or_else(wrong)?,
        subset: subset_of(subset).ok_or_else(wrong)?,
        length: number(text, "length: ").ok_or_else(wrong)?,
        tail: if text.contains("tail: Junk") { Tail::Junk } else { Tail::Zeros },
        damage: if damage.starts_with("None") { None } else { Some(damage_of(damage).ok_or_else(wrong)?) },
    })
}

fn torn_unit_called(name: &str) -> Option<TornUnit> {
    let units = [TornUnit::Sector, TornUnit::Block, TornUnit::BlockOrSector];
    units.into_iter().find(|unit| format!("{unit:?}") == name)
}

fn subset_of(text: &str) -> Option<Subset> {
    Some(match text.split(['(', ' ']).next()? {
        "Exact" => Subset::Exact(number(text, "(")?),
        "Prefix" => Subset::Prefix(number(text, "(")?),
        "Sample" => Subset::Sample(number(text, "(")?),
        "AllBut" => Subset::AllBut { unit: number(text, "unit: ")?, version: number(text, "version: ")? },
        "Only" => Subset::Only { unit: number(text, "unit: ")?, version: number(text, "version: ")? },
        "Pages" => Subset::Pages { page_size: number(text, "page_size: ")?, mask: number(text, "mask: ")? },
        _ => return None,
    })
}

fn damage_of(text: &str) -> Option<Damage> {
    let unit = number(text, "unit: ")?;
    Some(match between(text, "Some(", " {")? {
        "Torn" => {
            Damage::Torn { unit, old: number(text, "old: ")?, new: number(text, "new: ")?, at: number(text, "at: ")? }
        }
        "Junk" => Damage::Junk { unit, seed: number(text, "seed: ")? },
        "Unreadable" => Damage::Unreadable { unit },
        _ => return None,
    })
}

/// What a [`Rot`] prints with `{:?}`, read again.
///
/// # Errors
///
/// What cannot be read.
pub fn rot(text: &str) -> Result<Rot, String> {
    let [sector, block] = ["sector: ", "block: "].map(|words| number(text, words));
    let rot = match (text.split(' ').next().unwrap_or_default(), sector, block) {
        ("Flipped", Some(sector), _) => number(text, "bit: ").map(|bit| Rot::Flipped { sector, bit }),
        ("Junk", Some(sector), _) => Some(Rot::Junk { sector }),
        ("Unreadable", Some(sector), _) => Some(Rot::Unreadable { sector }),
        ("Lost", Some(sector), _) => Some(Rot::Lost { sector }),
        ("LostBlock", _, Some(block)) => Some(Rot::LostBlock { block }),
        ("Astray", _, Some(block)) => number(text, "from: ").map(|from| Rot::Astray { block, from }),
        _ => None,
    };
    rot.ok_or_else(|| format!("{text} is nothing that happens to a sector"))
}

fn between<'a>(text: &'a str, left: &str, right: &str) -> Option<&'a str> {
    Some(text.split_once(left)?.1.split_once(right)?.0)
}

/// The number behind the words.
fn number<T: FromStr>(text: &str, words: &str) -> Option<T> {
    let digits = text.split_once(words)?.1;
    let end = digits.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok()
}

/// What a [`FailingCall`] prints with `{:?}`, read again.
///
/// # Errors
///
/// What cannot be read.
pub fn failing_call(text: &str) -> Result<FailingCall, String> {
    let wrong = || format!("{text} is no failing call");
    let kind = between(text, "kind: ", ",").ok_or_else(wrong)?;
    let error = between(text, "error: ", ",").ok_or_else(wrong)?;
    Ok(FailingCall {
        kind: CallKind::ALL.into_iter().find(|known| format!("{known:?}") == kind).ok_or_else(wrong)?,
        n: number(text, "n: ").filter(|n| *n > 0).ok_or_else(wrong)?,
        error: ERRORS.into_iter().find(|known| format!("{known:?}") == error).ok_or_else(wrong)?,
        for_ever: text.contains("for_ever: true"),
        after: number(text, "after: Some("),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read_again() {
        let point = CrashPoint {
            epoch: 12,
            torn_unit: TornUnit::Block,
            subset: Subset::Pages { page_size: 4096, mask: 5 },
            length: 65536,
            tail: Tail::Junk,
            damage: Some(Damage::Torn { unit: 3, old: 1, new: 2, at: 511 }),
        };
        let subsets = [Subset::Exact(1), Subset::Only { unit: 1, version: 2 }, Subset::Sample(u64::MAX)];
        let damages = [None, Some(Damage::Junk { unit: 1, seed: 7 }), Some(Damage::Unreadable { unit: 9 })];
        for point in subsets.iter().zip(damages).map(|(&subset, damage)| CrashPoint { subset, damage, ..point }) {
            assert_eq!(crash_point(&format!("{point:?}")), Ok(point));
        }
        let small = CrashPoint { torn_unit: TornUnit::BlockOrSector, ..point };
        assert_eq!([point, small].map(|point| crash_point(&format!("{point:?}"))), [Ok(point), Ok(small)]);
        let call = FailingCall { kind: CallKind::Grow, n: 3, error: ERRORS[1], for_ever: true, after: Some(512) };
        assert_eq!(failing_call(&format!("{call:?}")), Ok(call));
        assert!(failing_call(&format!("{:?}", FailingCall { n: 0, ..call })).is_err());
        assert!(crash_point("epoch: 3").is_err());
        let [sector, block, from, bit] = [1, 2, 3, 4];
        let rots = [
            Rot::Flipped { sector, bit },
            Rot::Junk { sector },
            Rot::Unreadable { sector },
            Rot::Lost { sector },
            Rot::LostBlock { block },
            Rot::Astray { block, from },
        ];
        assert!(rots.iter().all(|known| rot(&format!("{known:?}")) == Ok(*known)));
        assert!(rot("Junk { block: 3 }").is_err());
    }
}
