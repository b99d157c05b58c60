//! Why something can't be done, in the API's words.

use super::{Live, Wanted};
use crate::control::calls::AnswerError;
use crate::control::policy::{self, Decision, Policy};
use crate::control::problem::{Because, Kind, Problem};

// The relay refuses tickets that nobody can have minted by then.
const _: () = assert!(policy::MAX_TTL as u64 <= vizard_proto::auth::ticket::LONGEST_SECS);

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
    if live.offers.is_empty() {
        let detail = "The node has no address that clients could be given; its log says why.";
        return Err(Problem::new(Kind::CannotMask, detail));
    }
    Ok(())
}

/// How long tickets live when that is asked for.
pub(super) fn time_to_live(policy: &Policy, ttl: Option<u32>) -> Result<u32, Problem> {
    let (least, most) = (policy::MIN_TTL, policy.max_call);
    match ttl {
        None => Ok(policy.ticket_ttl),
        Some(ttl) if (least..=most).contains(&ttl) => Ok(ttl),
        Some(_) => Err(Problem::fault(
            "ttl",
            format!("must be {least} to {most} seconds (policy.max_call)"),
        )),
    }
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
