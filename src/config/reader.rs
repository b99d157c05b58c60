//! Reads sections of a TOML document key by key, and remembers everything that is wrong with them.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::problem::{ConfigError, Problem};

/// A document while it is being read.
pub(super) struct Document<'t> {
    name: &'t str,
    text: &'t str,
    root: DeTable<'t>,
    sections: BTreeSet<&'static str>,
    keys: Vec<String>,
    places: BTreeMap<String, Range<usize>>,
    problems: Vec<Problem>,
}

impl<'t> Document<'t> {
    /// Parses `text`, which came from the file `name`. Syntax errors end the matter: what they
    /// leave of the document would only raise questions that the user did not ask.
    pub(super) fn parse(name: &'t str, text: &'t str) -> Result<Self, ConfigError> {
        let (root, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            let problems = errors
                .iter()
                .map(|error| syntax_problem(text, error))
                .collect();
            return Err(ConfigError::in_text(name, text, problems));
        }
        Ok(Self {
            name,
            text,
            root: root.into_inner(),
            sections: BTreeSet::new(),
            keys: Vec::new(),
            places: BTreeMap::new(),
            problems: Vec::new(),
        })
    }

    /// The table `[name]`, empty if the document has none.
    pub(super) fn section(&mut self, name: &'static str) -> Section<'_, 't> {
        self.sections.insert(name);
        let table = match self.root.remove(name) {
            None => DeTable::new(),
            Some(value) => self.expect_table(name, value),
        };
        Section {
            name,
            table,
            known: Vec::new(),
            document: self,
        }
    }

    fn expect_table(&mut self, name: &str, value: Spanned<DeValue<'t>>) -> DeTable<'t> {
        let at = value.span();
        if let DeValue::Table(table) = value.into_inner() {
            return table;
        }
        self.problem(
            at,
            format!("`{name}` is a section"),
            format!("write [{name}] on its own line"),
        );
        DeTable::new()
    }

    /// Remembers that the value of `path` (`section.key`) does not go with the others.
    pub(super) fn conflict(&mut self, path: &str, message: &str, help: &str) {
        let at = self.places.get(path).cloned().unwrap_or(0..0);
        self.problem(at, format!("`{path}`: {message}"), help.to_owned());
    }

    fn problem(&mut self, at: Range<usize>, message: String, help: String) {
        self.problems.push(Problem { at, message, help });
    }

    /// Every key that was asked for, as `section.key`; or everything that is wrong.
    pub(super) fn finish(mut self) -> Result<Vec<String>, ConfigError> {
        let sections: Vec<&str> = self.sections.iter().copied().collect();
        for key in std::mem::take(&mut self.root).keys() {
            let message = format!("unknown section or key `{}`", key.get_ref());
            self.problem(key.span(), message, suggestion(key.get_ref(), &sections));
        }
        if self.problems.is_empty() {
            return Ok(self.keys);
        }
        Err(ConfigError::in_text(self.name, self.text, self.problems))
    }
}

/// One section while it is being read. Ask for every key, then [`finish`](Self::finish).
pub(super) struct Section<'d, 't> {
    name: &'static str,
    table: DeTable<'t>,
    known: Vec<&'static str>,
    document: &'d mut Document<'t>,
}

impl Section<'_, '_> {
    /// The value of `key`, or `default` where it is absent or wrong. `takes` tells the user what
    /// the key takes; `holds` says whether a value is that.
    pub(super) fn key<T: DeserializeOwned>(
        &mut self,
        key: &'static str,
        default: T,
        takes: &str,
        holds: impl FnOnce(&T) -> bool,
    ) -> T {
        self.known.push(key);
        let path = format!("{}.{key}", self.name);
        self.document.keys.push(path.clone());
        let Some(given) = self.table.remove(key) else {
            return default;
        };
        let at = given.span();
        let problem = match T::deserialize(ValueDeserializer::from(given)) {
            Ok(value) if holds(&value) => {
                self.document.places.insert(path, at);
                return value;
            }
            Ok(_) => Problem {
                at,
                message: "this value can't be used".into(),
                help: takes.into(),
            },
            Err(error) => {
                let at = error.span().unwrap_or(at);
                Problem {
                    at,
                    message: error.message().to_owned(),
                    help: takes.into(),
                }
            }
        };
        let message = format!("`{path}`: {}", problem.message);
        self.document
            .problem(problem.at, message, format!("it takes {}", problem.help));
        default
    }

    /// A key of another version: accepted where it says what this version does anyway.
    pub(super) fn unserved(&mut self, key: &'static str, only: &toml::Value) {
        self.known.push(key);
        let Some((name, given)) = self.table.remove_entry(key) else {
            return;
        };
        if toml::Value::deserialize(ValueDeserializer::from(given)).is_ok_and(|v| v == *only) {
            return;
        }
        let message = format!("`{}.{key}` is not available in this version", self.name);
        let help = format!("remove the line, or leave it at {only}");
        self.document.problem(name.span(), message, help);
    }

    /// Complains of every key that nobody asked for.
    pub(super) fn finish(self) {
        for key in self.table.keys() {
            let message = format!("unknown key `{}` in [{}]", key.get_ref(), self.name);
            self.document
                .problem(key.span(), message, suggestion(key.get_ref(), &self.known));
        }
    }
}

fn syntax_problem(text: &str, error: &toml::de::Error) -> Problem {
    Problem {
        at: error.span().unwrap_or(text.len()..text.len()),
        message: format!("not TOML: {}", error.message()),
        help: "a line is `key = value`, a section `[name]`; strings stand in double quotes".into(),
    }
}

/// What the user may have meant by `given`.
fn suggestion(given: &str, known: &[&str]) -> String {
    let nearest = known
        .iter()
        .map(|name| (distance(given, name), *name))
        .min();
    match nearest {
        Some((distance, name)) if distance <= 1 + name.len() / 4 => {
            format!("did you mean `{name}`?")
        }
        _ => format!("known here: {}", known.join(", ")),
    }
}

/// How many characters must be inserted, deleted or changed to get from `a` to `b`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let changed = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_edits() {
        assert_eq!(distance("", "udp"), 3);
        assert_eq!(distance("fast_pth", "fast_path"), 1);
        assert_eq!(distance("listen", "listen"), 0);
        assert_eq!(distance("relm", "realm"), 1);
    }

    #[test]
    fn suggests_only_what_is_close() {
        assert_eq!(
            suggestion("relm", &["udp", "realm"]),
            "did you mean `realm`?"
        );
        assert_eq!(
            suggestion("colour", &["udp", "realm"]),
            "known here: udp, realm"
        );
    }
}
