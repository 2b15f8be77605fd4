//! What a word is, and finding the words of a text that comes in pieces.
//!
//! A word is a run of alphanumeric characters of any script, in lower case. Runs of more than [`MAX_WORD_LEN`] bytes (digests,
//! encoded images) are not words. Bytes that are not UTF-8 separate words.

/// The longest word, in bytes of its lower-case form.
pub(crate) const MAX_WORD_LEN: usize = 64;

/// Finds words in pieces of one text, cut anywhere, even within a character. It holds one word at most.
#[derive(Debug)]
pub(crate) struct WordScanner {
    /// Bytes of a character whose end has not come yet.
    cut: Vec<u8>,
    word: String,
    is_too_long: bool,
    /// Number of the current line, from 1.
    line: u32,
}

impl WordScanner {
    /// A scanner for a text that continues behind `lines_ended` lines.
    pub(crate) fn after_lines(lines_ended: u32) -> Self {
        WordScanner { cut: Vec::new(), word: String::new(), is_too_long: false, line: lines_ended.saturating_add(1) }
    }

    /// How many lines have ended.
    pub(crate) fn lines_ended(&self) -> u32 {
        self.line - 1
    }

    /// Calls `found` with every word that ends in this piece, and its line.
    pub(crate) fn feed(&mut self, piece: &[u8], found: &mut impl FnMut(&str, u32)) {
        let mut bytes = std::mem::take(&mut self.cut);
        bytes.extend_from_slice(piece);
        let mut chunks = bytes.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            self.scan(chunk.valid(), found);
            let invalid = chunk.invalid();
            let is_cut =
                chunks.peek().is_none() && std::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none());
            if is_cut {
                self.cut.extend_from_slice(invalid);
            } else if !invalid.is_empty() {
                self.end_word(found);
            }
        }
    }

    /// Calls `found` with the word that the end of the text ends.
    pub(crate) fn finish(&mut self, found: &mut impl FnMut(&str, u32)) {
        self.cut.clear();
        self.end_word(found);
    }

    fn scan(&mut self, text: &str, found: &mut impl FnMut(&str, u32)) {
        for character in text.chars() {
            if character.is_alphanumeric() {
                self.push(character);
            } else {
                self.end_word(found);
                if character == '\n' {
                    self.line = self.line.saturating_add(1);
                }
            }
        }
    }

    fn push(&mut self, character: char) {
        if character.is_ascii() {
            self.word.push(character.to_ascii_lowercase());
        } else {
            self.word.extend(character.to_lowercase());
        }
        if self.word.len() > MAX_WORD_LEN {
            self.is_too_long = true;
            self.word.clear();
        }
    }

    fn end_word(&mut self, found: &mut impl FnMut(&str, u32)) {
        if !self.is_too_long && !self.word.is_empty() {
            found(&self.word, self.line);
        }
        self.word.clear();
        self.is_too_long = false;
    }
}

/// The words of a whole line, the simple way: what the scanner is compared with, and how a query is read.
pub(crate) fn words_of_line(line: &str) -> impl Iterator<Item = String> {
    line.split(|character: char| !character.is_alphanumeric())
        .map(|run| run.chars().flat_map(char::to_lowercase).collect::<String>())
        .filter(|word| !word.is_empty() && word.len() <= MAX_WORD_LEN)
}
