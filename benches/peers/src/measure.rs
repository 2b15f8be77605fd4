//! Measuring several things side by side: A B C, B A C, and so on.
//!
//! A disk that is shared, and a machine that does other work, change from second to second. So all contestants of a table
//! take turns, a round has each of them once, the number of a contestant is the median of the rounds, and a ratio is the
//! median of the ratios within each round.

use std::hint::black_box;
use std::time::Instant;

use crate::outcome::Outcome;
use crate::random::Random;

/// Something to measure: each call does the operation and says what it took, in seconds.
pub(crate) struct Contestant<'a> {
    name: String,
    operation: Box<dyn FnMut() -> Outcome<f64> + 'a>,
}

impl<'a> Contestant<'a> {
    pub(crate) fn new(name: impl Into<String>, operation: impl FnMut() -> Outcome<f64> + 'a) -> Self {
        Contestant { name: name.into(), operation: Box::new(operation) }
    }
}

/// How often everything is measured.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    /// Calls of a contestant within a round, of which the median counts.
    pub(crate) calls: usize,
}

/// What a contestant took: a number of seconds for each round, or the error that ended it.
pub(crate) struct Series {
    pub(crate) name: String,
    rounds: Outcome<Vec<f64>>,
}

impl Series {
    /// The middle of the rounds, in seconds.
    pub(crate) fn median(&self) -> Option<f64> {
        median(self.rounds.as_ref().ok()?)
    }

    /// Between these lies the middle half of the rounds.
    pub(crate) fn quartiles(&self) -> Option<(f64, f64)> {
        let sorted = sorted(self.rounds.as_ref().ok()?);
        Some((*sorted.get(sorted.len() / 4)?, *sorted.get(sorted.len() * 3 / 4)?))
    }

    /// How many times as long as `other` it took: the middle of the ratios of the rounds.
    pub(crate) fn times(&self, other: &Series) -> Option<f64> {
        let (own, other) = (self.rounds.as_ref().ok()?, other.rounds.as_ref().ok()?);
        median(&own.iter().zip(other).map(|(own, other)| own / other).collect::<Vec<_>>())
    }

    /// Why there are no numbers.
    pub(crate) fn failure(&self) -> Option<String> {
        Some(format!("{}: {}", self.name, self.rounds.as_ref().err()?))
    }
}

/// The one of that name.
pub(crate) fn named<'s>(series: &'s [Series], name: &str) -> Option<&'s Series> {
    series.iter().find(|one| one.name == name)
}

/// How many times as long as `reference` the one of that name took.
pub(crate) fn ratio(series: &[Series], name: &str, reference: &str) -> Option<f64> {
    named(series, name)?.times(named(series, reference)?)
}

/// Lets all contestants take turns, after a round that does not count. One that fails is left out from there on.
pub(crate) fn interleave(contestants: Vec<Contestant<'_>>, effort: Effort) -> Vec<Series> {
    let mut pairs: Vec<(Contestant<'_>, Series)> = contestants
        .into_iter()
        .map(|contestant| {
            let name = contestant.name.clone();
            (contestant, Series { name, rounds: Ok(Vec::new()) })
        })
        .collect();
    let mut turns: Vec<usize> = (0..pairs.len()).collect();
    let mut random = Random::new(1);
    for round in 0..=effort.rounds {
        // Another order each time: one that reads much leaves nothing in the caches for whoever comes next.
        for turn in random.choose(&mut turns, pairs.len()) {
            let (contestant, series) = &mut pairs[turn];
            let Ok(rounds) = &mut series.rounds else { continue };
            match one_round(contestant, effort.calls) {
                Ok(_) if round == 0 => {}
                Ok(seconds) => rounds.push(seconds),
                Err(error) => series.rounds = Err(error),
            }
        }
    }
    pairs.into_iter().map(|(_, series)| series).collect()
}

fn one_round(contestant: &mut Contestant<'_>, calls: usize) -> Outcome<f64> {
    let seconds = (0..calls.max(1)).map(|_| (contestant.operation)()).collect::<Outcome<Vec<_>>>()?;
    Ok(median(&seconds).unwrap_or_default())
}

/// What `operation` returns, and the seconds that it took.
pub(crate) fn timed<T>(operation: impl FnOnce() -> Outcome<T>) -> Outcome<(T, f64)> {
    let start = Instant::now();
    let done = black_box(operation()?);
    Ok((done, start.elapsed().as_secs_f64()))
}

fn sorted(numbers: &[f64]) -> Vec<f64> {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

fn median(numbers: &[f64]) -> Option<f64> {
    sorted(numbers).get(numbers.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::{Contestant, Effort, interleave, median};

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn a_ratio_is_taken_within_each_round() {
        let (mut slow, mut fast) = (0.0, 0.0);
        let series = interleave(
            vec![
                Contestant::new("slow", move || {
                    Ok(2.0 * {
                        slow += 1.0;
                        slow
                    })
                }),
                Contestant::new("fast", move || {
                    Ok({
                        fast += 1.0;
                        fast
                    })
                }),
            ],
            Effort { rounds: 7, calls: 1 },
        );
        assert_eq!(series[0].times(&series[1]), Some(2.0));
        assert_eq!(series[1].median(), Some(5.0));
    }

    #[test]
    fn one_that_fails_is_left_out_and_says_why() {
        let series = interleave(
            vec![Contestant::new("broken", || Err("no disk".into())), Contestant::new("sound", || Ok(1.0))],
            Effort { rounds: 7, calls: 2 },
        );
        assert_eq!(series[0].failure().as_deref(), Some("broken: no disk"));
        assert_eq!((series[0].median(), series[1].median()), (None, Some(1.0)));
    }
}
