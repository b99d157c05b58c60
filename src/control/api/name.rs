//! Names of parties and devices: one way to write each, and nothing in them that can't be seen.
//!
//! Two names that look the same and are not would let one party pass for another. Names are compared
//! and kept in Unicode's composed form (NFC), and what leaves no mark or turns the direction of text
//! is refused.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use unicode_normalization::{UnicodeNormalization, is_nfc};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

/// Longest name, in characters.
pub(super) const MAX_NAME: usize = 128;
/// What the API's description says of names; beyond U+FFFF see [`INVISIBLE`].
const PATTERN: &str = "^[^\\u0000-\\u001f\\u007f-\\u00a0\\u00ad\\u034f\\u061c\\u115f\\u1160\\u1680\\u17b4\\u17b5\
    \\u180b-\\u180f\\u2000-\\u200f\\u2028-\\u202f\\u205f-\\u206f\\u2800\\u3000\\u3164\\ufe00-\\ufe0f\\ufeff\\uffa0\
    \\ufff0-\\ufffb\\ufffe\\uffff]+$";

/// A name, for the API's description.
pub(super) struct Name;

impl PartialSchema for Name {
    fn schema() -> RefOr<Schema> {
        let object = ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some(
                "A platform's name for a party or a device. It is compared and kept in Unicode's \
                 composed form (NFC), and holds nothing that can't be seen: no control, format or \
                 filling characters, no variation selectors or tags (U+E0000 to U+E0FFF), no space \
                 but U+0020. Such a name is 422, with the character's number.",
            ))
            .min_length(Some(1))
            .max_length(Some(MAX_NAME))
            .pattern(Some(PATTERN))
            .examples(["alice"]);
        object.build().into()
    }
}

impl ToSchema for Name {
    fn name() -> Cow<'static, str> {
        "Name".into()
    }
}

const DIRECTION: [RangeInclusive<char>; 4] = [
    '\u{61c}'..='\u{61c}',
    '\u{200e}'..='\u{200f}',
    '\u{202a}'..='\u{202e}',
    '\u{2066}'..='\u{2069}',
];

/// Format characters, fillers, variation selectors, tags, and every space but U+0020.
const INVISIBLE: [RangeInclusive<char>; 22] = [
    '\u{a0}'..='\u{a0}',
    '\u{ad}'..='\u{ad}',
    '\u{34f}'..='\u{34f}',
    '\u{115f}'..='\u{1160}',
    '\u{1680}'..='\u{1680}',
    '\u{17b4}'..='\u{17b5}',
    '\u{180b}'..='\u{180f}',
    '\u{2000}'..='\u{200f}',
    '\u{2028}'..='\u{202f}',
    '\u{205f}'..='\u{206f}',
    '\u{2800}'..='\u{2800}',
    '\u{3000}'..='\u{3000}',
    '\u{3164}'..='\u{3164}',
    '\u{fe00}'..='\u{fe0f}',
    '\u{feff}'..='\u{feff}',
    '\u{ffa0}'..='\u{ffa0}',
    '\u{fff0}'..='\u{fffb}',
    '\u{fffe}'..='\u{ffff}',
    '\u{1bca0}'..='\u{1bca3}',
    '\u{1d173}'..='\u{1d17a}',
    '\u{13430}'..='\u{1343f}',
    '\u{e0000}'..='\u{e0fff}',
];

/// The form in which a name is compared and kept.
pub(super) fn composed(name: &str) -> Cow<'_, str> {
    if is_nfc(name) {
        Cow::Borrowed(name)
    } else {
        Cow::Owned(name.nfc().collect())
    }
}

/// Why a composed name can't be used.
pub(super) fn fault(name: &str) -> Option<String> {
    if let Some((hidden, what)) = name.chars().find_map(|c| Some((c, hidden(c)?))) {
        return Some(format!("holds U+{:04X}, {what}", u32::from(hidden)));
    }
    let length = name.chars().take(MAX_NAME + 1).count();
    let fits = (1..=MAX_NAME).contains(&length);
    (!fits).then(|| format!("must be 1 to {MAX_NAME} characters"))
}

/// What is wrong with a character that can't be seen.
fn hidden(c: char) -> Option<&'static str> {
    let among = |ranges: &[RangeInclusive<char>]| ranges.iter().any(|range| range.contains(&c));
    if c.is_control() {
        Some("a control character")
    } else if among(&DIRECTION) {
        Some("which changes the direction of text")
    } else if among(&INVISIBLE) {
        Some("which can't be seen, or looks like an ordinary space")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_form() {
        for (written, kept) in [
            ("alice", "alice"),
            ("Zoe\u{308}", "Zo\u{eb}"),
            ("\u{1100}\u{1161}", "\u{ac00}"),
            ("\u{212b}", "\u{c5}"),
        ] {
            assert_eq!(composed(written), kept);
            assert_eq!(fault(kept), None);
        }
        // Compatibility forms are other names: nobody takes one for the other's owner.
        assert_eq!(composed("\u{fb01}"), "\u{fb01}");
    }

    #[test]
    fn what_can_not_be_seen_is_refused_by_its_number() {
        for (name, number) in [
            ("a\u{0}", "U+0000"),
            ("a\u{85}", "U+0085"),
            ("a\u{200b}b", "U+200B"),
            ("\u{feff}alice", "U+FEFF"),
            ("alice\u{202e}", "U+202E"),
            ("\u{2066}alice\u{2069}", "U+2066"),
            ("a\u{ad}b", "U+00AD"),
            ("a\u{a0}b", "U+00A0"),
            ("\u{3164}", "U+3164"),
            ("a\u{e0041}", "U+E0041"),
            ("a\u{fe0f}", "U+FE0F"),
        ] {
            let fault = fault(name).expect(number);
            assert!(fault.contains(number), "{fault}");
        }
        for name in [
            "a b",
            "名前",
            "O'Brien-42@x",
            "\u{5e9}\u{5dc}",
            "\u{1f600}",
            "ل\u{651}",
        ] {
            assert_eq!(fault(name), None, "{name}");
        }
    }

    #[test]
    fn a_name_has_a_length() {
        assert!(fault("").is_some());
        assert_eq!(fault(&"é".repeat(MAX_NAME)), None);
        assert!(fault(&"x".repeat(MAX_NAME + 1)).is_some());
    }
}
