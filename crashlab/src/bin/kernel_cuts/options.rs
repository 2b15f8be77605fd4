//! What the command line says.

/// What `--help` prints.
pub(crate) const USAGE: &str = "\
Cuts the power of real filesystems, ext4 and XFS on loop devices, while a worker changes a pager on them, and verifies what
is left against a log of what was acknowledged. Needs root, `unshare`, `mount`, and the mkfs of each filesystem.

  --cuts N          so many cuts, on all filesystems together (500)
  --kills N         instead of that, kill the worker so many times, in a temporary folder; needs nothing
  --seconds N       stop after N seconds
  --seed N          draws the operations and the moments (0)
  --filesystem F    ext4 or xfs alone
  --planted         plants mistakes in the worker's pager, one after the other, and fails unless each is found; at most so
                    many cuts for each. Only if built with --cfg diptych_planted
";

/// What the command line says.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) cuts: u64,
    pub(crate) kills: Option<u64>,
    pub(crate) seconds: Option<u64>,
    pub(crate) seed: u64,
    pub(crate) filesystem: Option<String>,
    pub(crate) planted: bool,
    pub(crate) help: bool,
}

impl Options {
    pub(crate) fn parse(arguments: &[String]) -> Result<Options, String> {
        let mut options =
            Options { cuts: 500, kills: None, seconds: None, seed: 0, filesystem: None, planted: false, help: false };
        let mut arguments = arguments.iter();
        while let Some(name) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{name} needs a value"));
            match name.as_str() {
                "--cuts" => options.cuts = number(name, value()?)?,
                "--kills" => options.kills = Some(number(name, value()?)?),
                "--seconds" => options.seconds = Some(number(name, value()?)?),
                "--seed" => options.seed = number(name, value()?)?,
                "--filesystem" => options.filesystem = Some(value()?.clone()),
                "--planted" => options.planted = true,
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
