//! What a run says: printed as it goes, and kept in a folder where one is named.

use std::fs;
use std::path::PathBuf;

use crate::outcome::Outcome;
use crate::plot::Plot;
use crate::table::Table;

pub(crate) struct Report {
    folder: Option<PathBuf>,
    text: String,
}

impl Report {
    /// Results go to this folder as well, which is made where there is none.
    pub(crate) fn new(folder: Option<PathBuf>) -> Outcome<Self> {
        if let Some(folder) = &folder {
            fs::create_dir_all(folder)?;
        }
        Ok(Report { folder, text: String::new() })
    }

    pub(crate) fn line(&mut self, line: &str) {
        println!("{line}");
        self.text.push_str(line);
        self.text.push('\n');
    }

    pub(crate) fn heading(&mut self, heading: &str) {
        self.line(&format!("\n## {heading}\n"));
    }

    pub(crate) fn subheading(&mut self, heading: &str) {
        self.line(&format!("\n### {heading}\n"));
    }

    pub(crate) fn table(&mut self, table: &Table) {
        self.line(&table.to_string());
    }

    /// What has no number, and why.
    pub(crate) fn left_out(&mut self, reasons: &[String]) {
        if !reasons.is_empty() {
            self.line("Left out:\n");
            reasons.iter().for_each(|reason| self.line(&format!("* {reason}")));
            self.line("");
        }
    }

    /// A picture beside the text, where there is a folder for it.
    pub(crate) fn plot(&mut self, file: &str, plot: &Plot) -> Outcome<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        fs::write(folder.join(file), plot.svg())?;
        self.line(&format!("![{file}]({file})\n"));
        Ok(())
    }

    /// Writes the text, too.
    pub(crate) fn finish(self) -> Outcome<()> {
        if let Some(folder) = &self.folder {
            fs::write(folder.join("results.md"), self.text)?;
        }
        Ok(())
    }
}
