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
    timeline(&mut shown, answer);
    exposure(&mut shown, answer);
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
    let calls = of_list(answer, "calls");
    if calls.is_empty() {
        return "no calls\n".into();
    }
    let row = |id: &str, phase: &str, route: &str, expires: &str, parties: &str| {
        format!("{id:<36}  {phase:<8}  {route:<6}  {expires:<20}  {parties}\n")
    };
    let mut shown = row("ID", "PHASE", "ROUTE", "EXPIRES", "PARTIES");
    for call in calls {
        let [id, phase, route, expires] =
            ["id", "phase", "route", "expires_at"].map(|name| text(call, name));
        let parties = call.get("parties").and_then(Value::as_object);
        let names: Vec<&str> = parties
            .into_iter()
            .flatten()
            .map(|(id, _)| id.as_str())
            .collect();
        shown += &row(&id, &phase, &route, &expires, &names.join(", "));
    }
    shown
}

/// What happened, in order.
fn timeline(shown: &mut String, answer: &Value) {
    for moment in of_list(answer, "timeline") {
        let mut what = text(moment, "event");
        if let Some(party) = moment.get("party").and_then(Value::as_str) {
            what = format!("{what} ({party})");
        }
        line(shown, 2, &text(moment, "at"), &format!("  {what}"));
    }
}

/// Who could have learned what of whom.
fn exposure(shown: &mut String, answer: &Value) {
    for pair in of_list(answer, "exposure") {
        let [to, of, what] = ["to", "of", "what"].map(|name| text(pair, name));
        line(
            shown,
            2,
            "exposure",
            &format!("{to} could learn of {of}: {what}"),
        );
    }
}

fn of_list<'a>(answer: &'a Value, name: &str) -> &'a [Value] {
    let list = answer.get(name).and_then(Value::as_array);
    list.map(Vec::as_slice).unwrap_or_default()
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
        let one = json!({"calls": [{"id": "01", "phase": "ended", "route": "masked", "expires_at": "t",
            "parties": {"alice": {}, "bob": {}}}]});
        let shown = list(&one);
        let lines: Vec<Vec<&str>> = shown
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(lines[0], ["ID", "PHASE", "ROUTE", "EXPIRES", "PARTIES"]);
        assert_eq!(lines[1], ["01", "ended", "masked", "t", "alice,", "bob"]);
    }

    #[test]
    fn what_happened_and_who_learned_what_are_told() {
        let answer = json!({
            "id": "01",
            "timeline": [{"at": "2026-11-22T12:00:00Z", "event": "party.answered", "party": "bob"}],
            "exposure": [{"to": "alice", "of": "bob", "what": "nothing"}]
        });
        let shown = call(&answer);
        assert!(
            shown.contains("2026-11-22T12:00:00Z  party.answered (bob)"),
            "{shown}"
        );
        assert!(
            shown.contains("alice could learn of bob: nothing"),
            "{shown}"
        );
    }
}
