//! Whether a body has the shape that the API's description gives it, said in the words of JSON.
//!
//! The description is what clients are generated from, so it is also what bodies are held against:
//! what it calls a field, a type, a number of items or a range is that. Words and names are not
//! looked at here.

use std::fmt::Write;

use serde_json::{Map, Value};
use utoipa::openapi::OpenApi;

use crate::control::problem::Fault;

/// Most faults that are told at a time.
pub(super) const MAX_FAULTS: usize = 20;
/// Most characters of an unknown field's name that are repeated.
const MAX_ECHO: usize = 64;

/// The shapes that the description names.
pub(super) struct Shapes(Value);

impl Shapes {
    pub(super) fn of(document: &OpenApi) -> Self {
        let document = serde_json::to_value(document).unwrap_or_default();
        Self(document["components"]["schemas"].clone())
    }

    /// What keeps `value` from being a `name`, at most [`MAX_FAULTS`] of it.
    pub(super) fn faults(&self, name: &str, value: &Value) -> Vec<Fault> {
        let mut walk = Walk {
            shapes: &self.0,
            path: String::new(),
            faults: Vec::new(),
        };
        walk.value(&self.0[name], value);
        walk.faults
    }
}

/// A body while it is looked at.
struct Walk<'a> {
    shapes: &'a Value,
    path: String,
    faults: Vec<Fault>,
}

impl Walk<'_> {
    fn fault(&mut self, detail: impl Into<String>) {
        let path = match self.path.as_str() {
            "" => ".".into(),
            path => path.to_owned(),
        };
        if self.faults.len() < MAX_FAULTS {
            let detail = detail.into();
            self.faults.push(Fault { path, detail });
        }
    }

    /// Does something with a part of the value, whose path goes on with `step`.
    fn within(&mut self, step: &str, look: impl FnOnce(&mut Self)) {
        let len = self.path.len();
        self.path.push_str(step);
        look(self);
        self.path.truncate(len);
    }

    fn field(&mut self, name: &str, look: impl FnOnce(&mut Self)) {
        let dot = if self.path.is_empty() { "" } else { "." };
        self.within(&format!("{dot}{name}"), look);
    }

    fn value(&mut self, shape: &Value, value: &Value) {
        if let Some(name) = shape["$ref"].as_str() {
            let name = name.rsplit('/').next().unwrap_or_default();
            return self.value(&self.shapes[name], value);
        }
        if let Some(choices) = shape["oneOf"].as_array() {
            let mut choices = choices.iter().filter(|shape| shape["type"] != "null");
            return match choices.next() {
                Some(shape) if !value.is_null() => self.value(shape, value),
                _ => (),
            };
        }
        if !types(shape).any(|kind| is(kind, value)) {
            return self.fault(format!("must be {}, not {}", wanted(shape), found(value)));
        }
        match value {
            Value::Object(fields) => self.object(shape, fields),
            Value::Array(items) => self.array(shape, items),
            Value::Number(number) => self.number(shape, number),
            _ => (),
        }
    }

    fn object(&mut self, shape: &Value, fields: &Map<String, Value>) {
        let Some(known) = shape["properties"].as_object() else {
            return;
        };
        for name in shape["required"].as_array().into_iter().flatten() {
            let name = name.as_str().unwrap_or_default();
            if !fields.contains_key(name) {
                self.field(name, |walk| walk.fault("is missing"));
            }
        }
        for (name, value) in fields {
            if self.faults.len() >= MAX_FAULTS {
                return;
            }
            match known.get(name) {
                Some(shape) => self.field(name, |walk| walk.value(shape, value)),
                None => self.field(&shortened(name), |walk| walk.fault(unknown(known))),
            }
        }
    }

    fn array(&mut self, shape: &Value, items: &[Value]) {
        let (least, most) = (shape["minItems"].as_u64(), shape["maxItems"].as_u64());
        let count = items.len() as u64;
        if !between(count, least, most) {
            self.fault(format!("must have {} items", range(least, most)));
        }
        if most.is_some_and(|most| count > most) {
            return;
        }
        for (index, item) in items.iter().enumerate() {
            if self.faults.len() >= MAX_FAULTS {
                return;
            }
            self.within(&format!("[{index}]"), |walk| {
                walk.value(&shape["items"], item);
            });
        }
    }

    fn number(&mut self, shape: &Value, number: &serde_json::Number) {
        let (least, most) = (shape["minimum"].as_u64(), shape["maximum"].as_u64());
        // Within what can be read, the operation says which range it takes: it may be the policy's.
        let readable = number.as_u64().map(u32::try_from);
        if !matches!(readable, Some(Ok(_))) {
            self.fault(format!("must be {}", range(least, most)));
        }
    }
}

fn types(shape: &Value) -> impl Iterator<Item = &str> {
    let kinds = &shape["type"];
    let several = kinds.as_array().into_iter().flatten();
    kinds
        .as_str()
        .into_iter()
        .chain(several.filter_map(Value::as_str))
}

fn is(kind: &str, value: &Value) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        _ => false,
    }
}

/// What a shape takes, in words.
fn wanted(shape: &Value) -> &'static str {
    match types(shape).find(|kind| *kind != "null") {
        Some("object") => "an object",
        Some("array") => "an array",
        Some("string") => "a string",
        Some("integer") => "a whole number",
        Some("number") => "a number",
        Some("boolean") => "true or false",
        _ => "something else",
    }
}

/// What is there, in words; never the thing itself.
fn found(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(number) if number.is_f64() => "a number with a fraction",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn between(number: u64, least: Option<u64>, most: Option<u64>) -> bool {
    least.is_none_or(|least| number >= least) && most.is_none_or(|most| number <= most)
}

fn range(least: Option<u64>, most: Option<u64>) -> String {
    match (least, most) {
        (Some(least), Some(most)) => format!("{least} to {most}"),
        (None, Some(most)) => format!("at most {most}"),
        (least, None) => format!("at least {}", least.unwrap_or_default()),
    }
}

fn unknown(known: &Map<String, Value>) -> String {
    let mut detail = String::from("is not known here; there are");
    for (index, name) in known.keys().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        // Writing to a string can't fail.
        let _ = write!(detail, "{comma} `{name}`");
    }
    detail
}

/// A name that came with a request, as far as it is repeated.
fn shortened(name: &str) -> String {
    match name.char_indices().nth(MAX_ECHO) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}
