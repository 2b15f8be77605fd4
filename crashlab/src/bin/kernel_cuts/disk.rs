//! A filesystem in a file, on a loop device: mounted, cut off, mounted again; and a folder in which processes are killed.
//!
//! All that is mounted lies below [`PLACE`], a filesystem in memory that only this process and its children see. When the last of them
//! is gone, however it ended, so are the mounts, the loop devices and the images.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::Duration;

use crate::shutdown::shut_down;

/// Where the filesystem in memory is mounted: a directory that every Linux system has.
pub(crate) const PLACE: &str = "/mnt";

/// Which filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ext4,
    Xfs,
}

impl Kind {
    pub(crate) const ALL: [Kind; 2] = [Kind::Ext4, Kind::Xfs];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Ext4 => "ext4",
            Kind::Xfs => "xfs",
        }
    }

    /// XFS makes none smaller than 300 MiB.
    fn image_bytes(self) -> u64 {
        match self {
            Kind::Ext4 => 96 << 20,
            Kind::Xfs => 320 << 20,
        }
    }
}

/// Where a worker works, and with that how it is cut off.
#[derive(Debug)]
pub(crate) enum Place {
    /// The power of its filesystem fails.
    Disk(Disk),
    /// The process is killed, in a folder of a filesystem that goes on.
    Folder(PathBuf),
}

impl Place {
    pub(crate) fn folder(&self) -> &Path {
        match self {
            Place::Disk(disk) => &disk.mount_point,
            Place::Folder(folder) => folder,
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Place::Disk(disk) => disk.kind.name(),
            Place::Folder(_) => "killed processes",
        }
    }

    /// Whether only what was synced is sure to be left.
    pub(crate) fn loses_the_cache(&self) -> bool {
        matches!(self, Place::Disk(_))
    }

    pub(crate) fn cut(&self, worker: &mut Child) -> Result<(), String> {
        match self {
            Place::Disk(disk) => disk.cut(),
            Place::Folder(_) => worker.kill().map_err(|error| error.to_string()),
        }
    }

    /// What there is after the machine was started again.
    pub(crate) fn start_again(&self) -> Result<(), String> {
        match self {
            Place::Disk(disk) => disk.mount_again(),
            Place::Folder(_) => Ok(()),
        }
    }
}

/// A mounted filesystem.
#[derive(Debug)]
pub(crate) struct Disk {
    kind: Kind,
    image: PathBuf,
    mount_point: PathBuf,
}

impl Disk {
    /// A new one.
    ///
    /// # Errors
    ///
    /// What this machine lacks.
    pub(crate) fn new(kind: Kind) -> Result<Disk, String> {
        let place = Path::new(PLACE);
        let disk =
            Disk { kind, image: place.join(format!("{}.img", kind.name())), mount_point: place.join(kind.name()) };
        let made =
            fs::create_dir(&disk.mount_point).and_then(|()| File::create(&disk.image)?.set_len(kind.image_bytes()));
        made.map_err(|error| format!("{PLACE}: {error}"))?;
        run(Command::new(format!("mkfs.{}", kind.name())).arg("-q").arg(&disk.image))?;
        disk.mount()?;
        // A filesystem that cannot be stopped is of no use here, so this is tried before anything is claimed.
        disk.cut()?;
        disk.mount_again()?;
        Ok(disk)
    }

    fn mount(&self) -> Result<(), String> {
        run(Command::new("mount").args(["-t", self.kind.name(), "-o", "loop"]).arg(&self.image).arg(&self.mount_point))
    }

    /// The power fails.
    fn cut(&self) -> Result<(), String> {
        let stopped = File::open(&self.mount_point).and_then(|directory| shut_down(&directory));
        stopped.map_err(|error| format!("the {} on a loop device cannot be shut down: {error}", self.kind.name()))
    }

    /// The machine starts again: the page cache is gone, and the filesystem replays its log.
    fn mount_again(&self) -> Result<(), String> {
        // A process that another thread is about to start holds a copy of every descriptor for a moment.
        let mut tries = 0;
        while let Err(message) = run(Command::new("umount").arg(&self.mount_point)) {
            tries += 1;
            if tries == 200 {
                return Err(message);
            }
            thread::sleep(Duration::from_millis(5));
        }
        self.mount()
    }
}

/// Runs a command to its end. What it printed is in the error.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{name}: {}, {}", output.status, String::from_utf8_lossy(&output.stderr).trim().replace('\n', " ")))
}
