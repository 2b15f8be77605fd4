//! Sources, as tokens and as modules: what the checks look at.
//!
//! It is not a parser. It tells code from comments and literals, and finds the paths that code names.

/// A module, as the names that lead to it from the root of the crate.
pub(crate) type Module = Vec<String>;

/// A file, its path counted from the root of the package.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Source { path: path.to_owned(), text: text.to_owned() }
    }

    /// The path as findings show it: without `src/`.
    pub(crate) fn shown(&self) -> &str {
        self.path.strip_prefix("src/").unwrap_or(&self.path)
    }

    /// The modules that lead to this file of the library; `None` for any other file.
    pub(crate) fn module(&self) -> Option<Vec<String>> {
        let path = self.path.strip_prefix("src/")?.strip_suffix(".rs")?;
        if path.starts_with("bin/") || path == "main" {
            return None;
        }
        let mut module: Vec<String> = path.split('/').map(str::to_owned).collect();
        if module.last().is_some_and(|last| last == "mod" || (last == "lib" && module.len() == 1)) {
            module.pop();
        }
        Some(module)
    }

    /// The text before the module of tests at its end.
    pub(crate) fn before_tests(&self) -> &str {
        let mut offset = 0;
        let mut lines = self.text.split_inclusive('\n').peekable();
        while let Some(line) = lines.next() {
            let is_gate = line.trim_end() == "#[cfg(test)]";
            if is_gate && lines.peek().is_some_and(|next| next.starts_with("mod ")) {
                return &self.text[..offset];
            }
            offset += line.len();
        }
        &self.text
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    Word(String),
    PathSeparator,
    Mark(char),
}

impl Token {
    pub(crate) fn is(&self, mark: char) -> bool {
        *self == Token::Mark(mark)
    }

    pub(crate) fn word(&self) -> Option<&str> {
        match self {
            Token::Word(word) => Some(word),
            _ => None,
        }
    }
}

/// Where the comment or the literal that begins at `at` ends, if one does.
fn end_of_text(chars: &[char], at: usize) -> Option<usize> {
    let starts = |prefix: &str| prefix.chars().enumerate().all(|(i, c)| chars.get(at + i) == Some(&c));
    if starts("//") {
        return Some((at..chars.len()).find(|&i| chars[i] == '\n').unwrap_or(chars.len()));
    }
    if starts("/*") {
        let (mut depth, mut i) = (0, at);
        while i < chars.len() {
            match (chars[i], chars.get(i + 1)) {
                ('/', Some('*')) => (depth, i) = (depth + 1, i + 2),
                ('*', Some('/')) => (depth, i) = (depth - 1, i + 2),
                _ => i += 1,
            }
            if depth == 0 {
                break;
            }
        }
        return Some(i);
    }
    let prefix = chars[at..].iter().take_while(|c| matches!(c, 'b' | 'r' | 'c')).count().min(2);
    let is_raw = chars[at..at + prefix].contains(&'r');
    let hashes = if is_raw { chars[at + prefix..].iter().take_while(|c| **c == '#').count() } else { 0 };
    let quote = at + prefix + hashes;
    match chars.get(quote) {
        Some('"') => {
            let mut i = quote + 1;
            while i < chars.len() {
                if !is_raw && chars[i] == '\\' {
                    i += 2;
                    continue;
                }
                if chars[i] == '"' && chars[i + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes {
                    return Some(i + 1 + hashes);
                }
                i += 1;
            }
            Some(chars.len())
        }
        // A lifetime has no closing quote behind its first character.
        Some('\'') if !is_raw => {
            let is_escape = chars.get(quote + 1) == Some(&'\\');
            let closing = if is_escape {
                (quote + 3..chars.len()).find(|&i| chars[i] == '\'')
            } else {
                Some(quote + 2).filter(|&i| chars.get(i) == Some(&'\''))
            };
            closing.map(|i| i + 1)
        }
        _ => None,
    }
}

pub(crate) fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let (mut tokens, mut at) = (Vec::new(), 0);
    while at < chars.len() {
        if let Some(end) = end_of_text(&chars, at) {
            at = end;
        } else if is_word(chars[at]) {
            let end = (at..chars.len()).find(|&i| !is_word(chars[i])).unwrap_or(chars.len());
            tokens.push(Token::Word(chars[at..end].iter().collect()));
            at = end;
        } else if chars[at] == ':' && chars.get(at + 1) == Some(&':') {
            tokens.push(Token::PathSeparator);
            at += 2;
        } else {
            if !chars[at].is_whitespace() {
                tokens.push(Token::Mark(chars[at]));
            }
            at += 1;
        }
    }
    tokens
}

/// A path that a file names: in a `use`, or in place behind `crate`, `self` or `super`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) segments: Vec<String>,
    /// What a `use` binds; nothing for a path in place.
    pub(crate) binds: Option<String>,
    pub(crate) is_glob: bool,
}

/// The branches of a `use` tree that begins at `at`; returns where it ends.
fn use_tree(tokens: &[Token], mut at: usize, prefix: &[String], found: &mut Vec<Named>) -> usize {
    let mut segments = prefix.to_vec();
    loop {
        match tokens.get(at) {
            Some(Token::Word(word)) if word == "as" => {
                let alias = tokens.get(at + 1).and_then(Token::word).map(str::to_owned);
                found.push(Named { segments, binds: alias, is_glob: false });
                return at + 2;
            }
            Some(Token::Word(word)) => {
                segments.push(word.clone());
                at += 1;
            }
            Some(Token::PathSeparator) => at += 1,
            Some(Token::Mark('*')) => {
                found.push(Named { segments, binds: None, is_glob: true });
                return at + 1;
            }
            Some(Token::Mark('{')) => {
                at += 1;
                while tokens.get(at).is_some_and(|token| !token.is('}')) {
                    at = use_tree(tokens, at, &segments, found);
                    if tokens.get(at).is_some_and(|token| token.is(',')) {
                        at += 1;
                    }
                }
                return at + 1;
            }
            _ => {
                if segments.last().is_some_and(|last| last == "self") {
                    segments.pop();
                }
                let binds = segments.last().cloned();
                found.push(Named { segments, binds, is_glob: false });
                return at;
            }
        }
    }
}

pub(crate) fn named_paths(text: &str) -> Vec<Named> {
    let tokens = tokens(text);
    let (mut found, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        let behind_separator = at > 0 && tokens[at - 1] == Token::PathSeparator;
        match tokens[at].word() {
            // `impl Trait + use<'a>` is no import.
            Some("use") if !tokens.get(at + 1).is_some_and(|token| token.is('<')) => {
                at = use_tree(&tokens, at + 1, &[], &mut found);
            }
            Some("crate" | "self" | "super") if !behind_separator => {
                let mut segments = Vec::new();
                while let Some(word) = tokens.get(at).and_then(Token::word) {
                    segments.push(word.to_owned());
                    at += 1;
                    if tokens.get(at) != Some(&Token::PathSeparator) {
                        break;
                    }
                    at += 1;
                }
                if segments.len() > 1 {
                    found.push(Named { segments, binds: None, is_glob: false });
                }
            }
            _ => at += 1,
        }
    }
    found
}

/// The modules that a file declares behind `#[cfg(test)]`.
pub(crate) fn test_modules(source: &Source) -> Vec<Module> {
    let Some(module) = source.module() else { return Vec::new() };
    let lines: Vec<&str> = source.text.lines().map(str::trim).collect();
    let gated = lines.windows(2).filter(|pair| pair[0] == "#[cfg(test)]");
    let names = gated.filter_map(|pair| pair[1].strip_prefix("mod ")?.strip_suffix(';'));
    names.map(|name| module.iter().cloned().chain([name.to_owned()]).collect()).collect()
}

/// What a check finds in sources that keep its rule.
pub(crate) const NO_FINDINGS: [&str; 0] = [];

/// Sources for tests of the checks.
pub(crate) fn sources(files: &[(&str, &str)]) -> Vec<Source> {
    files.iter().map(|(path, text)| Source::new(path, text)).collect()
}

#[test]
fn text_is_told_from_code() {
    let text = r####"a /* b /* c */ d */ "e \" f" r#"g " h"# 'i' '\'' b'\\' 'life b"j" br"k\" c"l" // m
        n"####;
    let words: Vec<String> = tokens(text).iter().filter_map(Token::word).map(str::to_owned).collect();
    assert_eq!(words, ["a", "life", "n"]);
}
