//! Messages out of a generator: sound ones, ones with attributes in places where they don't
//! belong, and ones whose bytes were damaged.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use vizard_proto::stun::{
    AttributeType, Class, Integrity, MAX_ATTRIBUTES, Method, TransactionId, Writer,
};

/// What every integrity attribute is computed with; text, since some readers take only text.
pub(crate) const KEY: &str = "VOkJxbRl1RmTxUk";

/// One attribute to write.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Attribute(u16, Vec<u8>),
    Integrity(Integrity),
    Fingerprint,
}

/// A message to write.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    pub(crate) class: Class,
    pub(crate) method: u16,
    pub(crate) id: [u8; 12],
    pub(crate) steps: Vec<Step>,
}

impl Recipe {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut buffer = vec![0xEE; 8192];
        let method = Method::new(self.method).unwrap();
        let mut writer = Writer::new(&mut buffer, self.class, method, TransactionId(self.id));
        for step in &self.steps {
            match step {
                Step::Attribute(kind, value) => writer.bytes(AttributeType(*kind), value),
                Step::Integrity(kind) => writer.integrity(*kind, KEY.as_bytes()),
                Step::Fingerprint => writer.fingerprint(),
            }
        }
        let length = writer.finish().unwrap();
        buffer.truncate(length);
        buffer
    }
}

/// Messages as they should be: integrity and FINGERPRINT, if any, at the end.
pub(crate) fn sound() -> impl Strategy<Value = Recipe> {
    let last = select(vec![
        vec![],
        vec![Step::Fingerprint],
        vec![Step::Integrity(Integrity::Sha1)],
        vec![Step::Integrity(Integrity::Sha1), Step::Fingerprint],
        vec![Step::Integrity(Integrity::Sha256), Step::Fingerprint],
        vec![
            Step::Integrity(Integrity::Sha1),
            Step::Integrity(Integrity::Sha256),
            Step::Fingerprint,
        ],
    ]);
    let steps = (vec(attribute(), 0..8), last).prop_map(|(first, last)| [first, last].concat());
    recipe(steps)
}

/// Messages whose attributes stand in any order.
pub(crate) fn disordered() -> impl Strategy<Value = Recipe> {
    let step = prop_oneof![
        4 => attribute(),
        1 => Just(Step::Integrity(Integrity::Sha1)),
        1 => Just(Step::Integrity(Integrity::Sha256)),
        1 => Just(Step::Fingerprint),
    ];
    recipe(vec(step, 0..8))
}

/// Messages, some of them damaged: bytes changed, cut off or appended.
pub(crate) fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let damage = prop_oneof![
        2 => vec((any::<Index>(), any::<u8>()), 0..4).prop_map(Damage::Bytes),
        1 => (any::<Index>(), 0..8_u8).prop_map(|(at, bit)| Damage::Bit(at, bit)),
        1 => any::<Index>().prop_map(Damage::Cut),
        1 => vec(any::<u8>(), 1..9).prop_map(Damage::Append),
    ];
    (prop_oneof![sound(), disordered()], damage).prop_map(|(recipe, damage)| {
        let mut bytes = recipe.bytes();
        damage.to(&mut bytes);
        bytes
    })
}

#[derive(Clone, Debug)]
enum Damage {
    Bytes(Vec<(Index, u8)>),
    Bit(Index, u8),
    Cut(Index),
    Append(Vec<u8>),
}

impl Damage {
    fn to(self, bytes: &mut Vec<u8>) {
        match self {
            Self::Bytes(changes) => {
                for (at, byte) in changes {
                    let at = at.index(bytes.len());
                    bytes[at] = byte;
                }
            }
            Self::Bit(at, bit) => {
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << bit;
            }
            Self::Cut(at) => bytes.truncate(at.index(bytes.len())),
            Self::Append(more) => bytes.extend(more),
        }
    }
}

fn recipe(steps: impl Strategy<Value = Vec<Step>>) -> impl Strategy<Value = Recipe> {
    let class = select(vec![
        Class::Request,
        Class::Indication,
        Class::Success,
        Class::Error,
    ]);
    (class, 0..0x1000_u16, any::<[u8; 12]>(), steps).prop_map(|(class, method, id, steps)| {
        assert!(steps.len() <= MAX_ATTRIBUTES);
        Recipe {
            class,
            method,
            id,
            steps,
        }
    })
}

fn attribute() -> impl Strategy<Value = Step> {
    let addresses = (select(vec![0x0012, 0x0016, 0x0020]), address());
    let numbers = (
        select(vec![0x000C, 0x000D, 0x0017, 0x0018, 0x0019, 0x0022, 0x001D]),
        number(),
    );
    let texts = (
        select(vec![0x0006, 0x0014, 0x0015, 0x8022]),
        "[a-zA-Z0-9]{1,40}",
    );
    let texts = texts.prop_map(|(kind, text)| (kind, text.into_bytes()));
    let errors = (
        Just(0x0009),
        (2..8_u8, 0..105_u8).prop_map(|(c, n)| vec![0, 0, c, n]),
    );
    let others = (
        any::<u16>().prop_filter("last", |kind| !is_last(*kind)),
        vec(any::<u8>(), 0..40),
    );
    prop_oneof![addresses, numbers, texts, errors, others]
        .prop_map(|(kind, value)| Step::Attribute(kind, value))
}

fn is_last(kind: u16) -> bool {
    [0x0008, 0x001C, 0x8028].contains(&kind)
}

fn address() -> impl Strategy<Value = Vec<u8>> {
    let length = prop_oneof![4 => Just(8_usize), 4 => Just(20), 1 => 0..24_usize];
    (length, any::<[u8; 24]>(), 0..9_u8).prop_map(|(length, mut value, family)| {
        value[0] = 0;
        value[1] = match (length, family) {
            (_, 0) => 3,
            (20, _) => 2,
            _ => 1,
        };
        value[..length].to_vec()
    })
}

fn number() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => vec(0..4_u8, 4),
        1 => vec(any::<u8>(), 4),
        1 => vec(any::<u8>(), 0..10),
    ]
}
