//! What is wrong with a configuration file, shown the way compilers show it.

use std::fmt;
use std::ops::Range;

/// One mistake: where, what, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// Byte range in the file.
    pub(super) at: Range<usize>,
    /// What is wrong.
    pub(super) message: String,
    /// What to do.
    pub(super) help: String,
}

/// A configuration that can't be used. `Display` shows every problem as
/// `FILE:LINE:COLUMN: message`, the line with carets under the place, and the way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    problems: Vec<Rendered>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rendered {
    place: String,
    message: String,
    excerpt: Option<String>,
    help: String,
}

impl ConfigError {
    /// Problems in the file `name` that holds `text`, in the order of their places.
    pub(super) fn in_text(name: &str, text: &str, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.at.start);
        let problems = problems
            .into_iter()
            .map(|problem| render(name, text, problem))
            .collect();
        Self { problems }
    }

    /// A problem with the file `name` itself.
    pub(super) fn of_file(name: &str, message: String, help: String) -> Self {
        let place = name.to_owned();
        Self {
            problems: vec![Rendered {
                place,
                message,
                excerpt: None,
                help,
            }],
        }
    }

    /// How many problems there are; at least one.
    pub fn count(&self) -> usize {
        self.problems.len()
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{}: {}", problem.place, problem.message)?;
            if let Some(excerpt) = &problem.excerpt {
                write!(f, "\n{excerpt}")?;
            }
            write!(f, "\n  help: {}", problem.help)?;
        }
        Ok(())
    }
}

fn render(name: &str, text: &str, problem: Problem) -> Rendered {
    let start = floor_char_boundary(text, problem.at.start);
    let end = floor_char_boundary(text, problem.at.end).max(start);
    let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
    let line = text[line_start..].lines().next().unwrap_or("");
    let number = text[..line_start].matches('\n').count() + 1;
    let column = text[line_start..start].chars().count() + 1;
    let length = text[start..end.min(line_start + line.len()).max(start)]
        .chars()
        .count()
        .max(1);
    Rendered {
        place: format!("{name}:{number}:{column}"),
        message: problem.message,
        excerpt: Some(excerpt(line, number, column, length)),
        help: problem.help,
    }
}

fn excerpt(line: &str, number: usize, column: usize, length: usize) -> String {
    let shown = without_secret(line);
    let gutter = " ".repeat(number.to_string().len());
    // Tabs are kept so that the carets stand under the place however wide a tab is shown.
    let indent: String = line
        .chars()
        .take(column - 1)
        .map(|c| if c == '\t' { '\t' } else { ' ' })
        .collect();
    let carets = if shown.chars().count() < column {
        1
    } else {
        length
    };
    format!(
        "{gutter} |\n{number} | {shown}\n{gutter} | {indent}{}",
        "^".repeat(carets)
    )
}

/// The line, up to the equals sign if what follows may be a secret.
fn without_secret(line: &str) -> String {
    let Some((key, _)) = line.split_once('=') else {
        return line.to_owned();
    };
    let name = key.trim().to_ascii_lowercase();
    let secret = ["secret", "password", "users", "token", "api_key"]
        .iter()
        .any(|w| name.contains(w));
    if secret && !name.ends_with("_file") {
        format!("{key}= …")
    } else {
        line.to_owned()
    }
}

fn floor_char_boundary(text: &str, index: usize) -> usize {
    let index = index.min(text.len());
    (0..=index)
        .rev()
        .find(|&i| text.is_char_boundary(i))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, at: Range<usize>) -> String {
        let problem = Problem {
            at,
            message: "no".into(),
            help: "do".into(),
        };
        ConfigError::in_text("f.toml", text, vec![problem]).to_string()
    }

    #[test]
    fn points_at_the_place() {
        let expected = "f.toml:2:5: no\n  |\n2 | b = \"ü\"\n  |     ^^^\n  help: do";
        assert_eq!(shown("a = 1\nb = \"ü\"\nc = 2\n", 10..14), expected);
    }

    #[test]
    fn survives_places_outside_the_text_and_inside_characters() {
        assert!(shown("", 0..0).starts_with("f.toml:1:1: no"));
        assert!(shown("ü", 1..99).starts_with("f.toml:1:1: no"));
        assert!(shown("a\n", 50..60).starts_with("f.toml:2:1: no"));
    }

    #[test]
    fn shows_no_secret() {
        let text = "rest_secrets = [\"hunter2\"]\nsecret_file = \"/etc/f\"\n";
        assert!(!shown(text, 16..20).contains("hunter2"));
        assert!(shown(text, 30..31).contains("/etc/f"));
    }
}
