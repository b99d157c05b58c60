//! Why something can't be done, in the API's words.

use super::{Live, Wanted};
use crate::control::calls::AnswerError;
use crate::control::policy::{self, Decision, Policy};
use crate::control::problem::{Because, Kind, Problem};

/// What the API says of `reasons`.
pub(in crate::control) fn because<'a>(
    reasons: &[policy::Reason],
    name: impl Fn(usize) -> Option<&'a str>,
) -> Vec<Because> {
    reasons
        .iter()
        .map(|reason| Because {
            party: reason
                .party
                .and_then(|index| name(index).map(str::to_owned)),
            rule: reason.rule,
        })
        .collect()
}

/// Whether there is a URL to hand out. A masked call without one would be no masked call.
pub(in crate::control) fn reachable(live: &Live) -> Result<(), Problem> {
    if live.ice_urls.is_empty() {
        let detail = "The node has no address that clients could be given; its log says why.";
        return Err(Problem::new(Kind::CannotMask, detail));
    }
    Ok(())
}

pub(super) fn time_to_live(policy: &Policy, wanted: &Wanted) -> Result<u32, Problem> {
    let ttl = wanted.ttl.unwrap_or(policy.ticket_ttl);
    if (policy::MIN_TTL..=policy.ticket_ttl).contains(&ttl) {
        return Ok(ttl);
    }
    let (least, most) = (policy::MIN_TTL, policy.ticket_ttl);
    Err(Problem::fault(
        "ttl",
        format!("must be {least} to {most} seconds (policy.ticket_ttl)"),
    ))
}

pub(super) fn refused(wanted: &Wanted, decision: &Decision) -> Problem {
    let name = |index: usize| wanted.names.get(index).map(|(id, _)| id.as_str());
    Problem {
        why: because(&decision.why, name),
        public_reason: Some(Decision::PUBLIC_REASON),
        ..Problem::new(
            Kind::CallRefused,
            "`why` is for the platform, `public_reason` for the caller.",
        )
    }
}

pub(super) fn forgotten(problem: Problem) -> Problem {
    match problem.kind {
        Kind::CallNotFound => Problem::new(
            Kind::CallForgotten,
            "Open a call with a new Idempotency-Key.",
        ),
        _ => problem,
    }
}

pub(super) fn not_answered(error: AnswerError) -> Problem {
    match error {
        AnswerError::Ended => Problem::new(Kind::CallEnded, ""),
        AnswerError::Elsewhere => Problem::new(Kind::AnsweredElsewhere, ""),
        AnswerError::NoSuchParty => Problem::fault("party", "is no party of this call"),
        AnswerError::IsCaller => Problem::fault("party", "is the caller, who does not answer"),
        AnswerError::DeviceRequired => {
            Problem::fault("device", "the party has several: which one?")
        }
        AnswerError::NoSuchDevice => Problem::fault("device", "is no device of this party"),
    }
}
