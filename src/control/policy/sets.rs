//! Small sets: of words, and of parties.

use serde::{Deserialize, Serialize};

use super::MAX_PARTIES;

macro_rules! set {
    ($(#[$doc:meta])* $name:ident { $($(#[$bit_doc:meta])* $bit:ident = $value:literal $(as $word:literal)?,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub struct $name(u8);

        impl $name {
            /// The empty set.
            pub const NONE: Self = Self(0);
            $($(#[$bit_doc])* pub const $bit: Self = Self($value);)*

            /// Both sets together.
            #[must_use]
            pub const fn and(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }

            /// This set without what is in `other`.
            #[must_use]
            pub const fn without(self, other: Self) -> Self {
                Self(self.0 & !other.0)
            }

            /// Whether something is in both.
            pub const fn has(self, other: Self) -> bool {
                self.0 & other.0 != 0
            }

            /// The set of the one thing that `word` names.
            pub fn of_word(word: &str) -> Option<Self> {
                $($(if word == $word { return Some(Self::$bit); })?)*
                None
            }
        }
    };
}

set! {
    /// Whom a party takes calls from; the empty set is nobody.
    CallableBy {
        /// The party's contacts.
        CONTACTS = 1 as "contacts",
        /// Whom the party follows.
        FOLLOWING = 2 as "following",
        /// Verified callers.
        VERIFIED = 4 as "verified",
        /// Everyone.
        EVERYONE = 8 as "everyone",
        /// A word that this version does not know: admits nobody.
        UNKNOWN = 16,
    }
}

set! {
    /// What holds from one party towards another.
    Facts {
        /// The other is among the party's contacts.
        CONTACT = 1 as "contact",
        /// The party follows the other.
        FOLLOWING = 2 as "following",
        /// The party has messaged the other.
        MESSAGED = 4 as "messaged",
        /// The party has blocked the other.
        BLOCKED = 8 as "blocked",
        /// A word that this version does not know: nothing speaks for it, so it masks.
        UNKNOWN = 16,
    }
}

set! {
    /// What holds of a party alone.
    Standing {
        /// The platform has verified who it is.
        VERIFIED = 1 as "verified",
        /// A word that this version does not know: nothing speaks for it, so it masks.
        UNKNOWN = 2,
    }
}

/// Some of a call's parties, by index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Members(u16);

impl Members {
    /// Nobody.
    pub const NONE: Self = Self(0);

    /// The first `count` parties.
    pub const fn first(count: usize) -> Self {
        if count >= MAX_PARTIES {
            Self(u16::MAX)
        } else {
            Self((1 << count) - 1)
        }
    }

    /// These and party `index`.
    #[must_use]
    pub const fn with(self, index: usize) -> Self {
        if index < MAX_PARTIES {
            Self(self.0 | 1 << index)
        } else {
            self
        }
    }

    /// These but party `index`.
    #[must_use]
    pub const fn without(self, index: usize) -> Self {
        if index < MAX_PARTIES {
            Self(self.0 & !(1 << index))
        } else {
            self
        }
    }

    /// Whether party `index` is among them.
    pub const fn contains(self, index: usize) -> bool {
        index < MAX_PARTIES && self.0 & 1 << index != 0
    }

    /// Whether there is nobody.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all of them are among `others`.
    pub const fn is_subset_of(self, others: Self) -> bool {
        self.0 & !others.0 == 0
    }

    /// Their indices, ascending.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..MAX_PARTIES).filter(move |index| self.contains(*index))
    }
}
