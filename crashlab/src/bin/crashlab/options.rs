//! What the command line says.

use std::path::PathBuf;

use crashlab::workload::PAGE_SIZES;

/// What `--help` prints.
pub(crate) const USAGE: &str = "\
Enumerates what power cuts and failing calls may leave of a pager, and verifies all of it.

  --images N     looks at each workload so closely that N distinct images come of all, and stops there (else at up to
                 1,500 states of each)
  --at-least N   fails if there were fewer distinct images
  --seconds N    stop after N seconds
  --seed N       draws what is not looked at in full, which sequences of three operations run, and when stores are
                 written back (0)
  --threads N    (2)
  --page-size N  only files with pages of N bytes: 1024, 4096 or 16384
  --planted      plants each mistake in the engine and shows that it is caught, in a build of its own; needs cargo
  --long         all sequences of three, all subsets of up to 14 units
  --resume FILE  keeps there how far the run is, and goes on from it
  --replay CASE  runs one case, named as a run prints it, with the --seed that it prints
";

/// What the command line says.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) images: Option<u64>,
    pub(crate) at_least: u64,
    pub(crate) seconds: Option<u64>,
    pub(crate) seed: u64,
    pub(crate) threads: usize,
    pub(crate) page_size: Option<usize>,
    pub(crate) planted: bool,
    pub(crate) long: bool,
    pub(crate) resume: Option<PathBuf>,
    pub(crate) replay: Option<String>,
    pub(crate) help: bool,
}

impl Options {
    pub(crate) fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Options, String> {
        let mut options = Options {
            images: None,
            at_least: 0,
            seconds: None,
            seed: 0,
            threads: 2,
            page_size: None,
            planted: false,
            long: false,
            resume: None,
            replay: None,
            help: false,
        };
        let mut arguments = arguments.into_iter();
        while let Some(name) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{name} needs a value"));
            match name.as_str() {
                "--images" => options.images = Some(number(&name, &value()?)?),
                "--at-least" => options.at_least = number(&name, &value()?)?,
                "--seconds" => options.seconds = Some(number(&name, &value()?)?),
                "--seed" => options.seed = number(&name, &value()?)?,
                "--threads" => {
                    options.threads = usize::try_from(number(&name, &value()?)?).unwrap_or(usize::MAX).max(1)
                }
                "--page-size" => {
                    let size = value()?;
                    let known = PAGE_SIZES.into_iter().find(|known| known.to_string() == size);
                    options.page_size = Some(known.ok_or_else(|| format!("{size} is not one of {PAGE_SIZES:?}"))?);
                }
                "--planted" => options.planted = true,
                "--long" => options.long = true,
                "--resume" => options.resume = Some(value()?.into()),
                "--replay" => options.replay = Some(value()?),
                "--help" | "-h" => options.help = true,
                _ => return Err(format!("{name} is not an option")),
            }
        }
        Ok(options)
    }
}

fn number(name: &str, value: &str) -> Result<u64, String> {
    value.parse().map_err(|_| format!("{name} needs a number, not {value}"))
}
