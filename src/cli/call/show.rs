//! Answers of the control API in words.

use serde_json::Value;
use std::fmt::Write as _;

/// A call: what the API answers to opening, showing and answering one.
pub(super) fn call(answer: &Value) -> String {
    let mut shown = format!("call {}\n", text(answer, "id"));
    for name in ["phase", "route", "expires_at", "apply"] {
        if answer.get(name).is_some_and(|value| !value.is_null()) {
            line(&mut shown, 2, &name.replace('_', " "), &text(answer, name));
        }
    }
    reasons(&mut shown, answer);
    for (id, party) in answer
        .get("parties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let _ = writeln!(shown, "  {id}");
        configuration(&mut shown, party);
        for (name, device) in party
            .get("devices")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            line(&mut shown, 4, "device", name);
            configuration(&mut shown, device);
        }
        usage(&mut shown, party);
    }
    shown
}

/// What would be decided of a call.
pub(super) fn decision(answer: &Value) -> String {
    let mut shown = format!("{}\n", text(answer, "route"));
    reasons(&mut shown, answer);
    shown
}

/// A list of calls, one per line.
pub(super) fn list(answer: &Value) -> String {
    let mut shown = String::new();
    for call in answer
        .get("calls")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let (id, phase, route) = (text(call, "id"), text(call, "phase"), text(call, "route"));
        let _ = writeln!(
            shown,
            "{id}  {phase:<8}  {route:<6}  {}",
            text(call, "expires_at")
        );
    }
    if shown.is_empty() {
        "no calls\n".into()
    } else {
        shown
    }
}

fn reasons(shown: &mut String, answer: &Value) {
    for reason in answer
        .get("why")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let rule = text(reason, "rule");
        let because = match reason.get("party").and_then(Value::as_str) {
            Some(party) => format!("{rule} ({party})"),
            None => rule,
        };
        line(shown, 2, "because", &because);
    }
}

fn configuration(shown: &mut String, party: &Value) {
    let Some(configuration) = party.get("rtc_configuration") else {
        return;
    };
    for server in configuration
        .get("iceServers")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        for url in server
            .get("urls")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            line(shown, 4, "url", url.as_str().unwrap_or_default());
        }
        line(shown, 4, "username", &text(server, "username"));
        line(shown, 4, "credential", &text(server, "credential"));
    }
    line(
        shown,
        4,
        "ice policy",
        &text(configuration, "iceTransportPolicy"),
    );
}

fn usage(shown: &mut String, party: &Value) {
    for (name, value) in party
        .get("usage")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        line(shown, 4, &name.replace('_', " "), &plain(value));
    }
}

fn line(shown: &mut String, indent: usize, name: &str, value: &str) {
    // Writing to a String does not fail.
    let _ = writeln!(shown, "{:indent$}{name:<12}{value}", "");
}

fn text(object: &Value, name: &str) -> String {
    object.get(name).map(plain).unwrap_or_default()
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".into(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_call_is_told_in_lines() {
        let answer = json!({
            "id": "01", "phase": "ringing", "route": "masked", "expires_at": "2026-11-22T12:00:00Z",
            "why": [{"party": "bob", "rule": "default-reveal-nobody"}],
            "parties": {"alice": {"rtc_configuration": {
                "iceServers": [{"urls": ["turn:relay.example:3478"], "username": "u", "credential": "c"}],
                "iceTransportPolicy": "relay"}}}
        });
        let expected = "call 01\n  phase       ringing\n  route       masked\n  \
            expires at  2026-11-22T12:00:00Z\n  because     default-reveal-nobody (bob)\n  alice\n    \
            url         turn:relay.example:3478\n    username    u\n    credential  c\n    \
            ice policy  relay\n";
        assert_eq!(call(&answer), expected);
    }

    #[test]
    fn an_empty_list_says_so() {
        assert_eq!(list(&json!({"calls": []})), "no calls\n");
        let one = json!({"calls": [{"id": "01", "phase": "ended", "route": "masked", "expires_at": "t"}]});
        assert_eq!(list(&one), "01  ended     masked  t\n");
    }
}
