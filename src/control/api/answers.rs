//! Problems that several operations have in common, for the API's description.

use utoipa::IntoResponses;

use crate::control::problem::Problem;

/// A body or parameter that can't be used.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "described, never built")]
pub(super) enum BadRequest {
    /// The body is not JSON, or the Idempotency-Key can't be used.
    #[response(status = 400, content_type = "application/problem+json")]
    NotJson(Problem),
    /// The body took too long to arrive.
    #[response(status = 408, content_type = "application/problem+json")]
    Slow(Problem),
    /// The body is larger than 64 KiB.
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(Problem),
    /// The body is not `application/json`.
    #[response(status = 415, content_type = "application/problem+json")]
    NotDeclared(Problem),
    /// The request can't be understood: `errors` says where and why.
    #[response(status = 422, content_type = "application/problem+json")]
    NotUnderstood(Problem),
}

/// A key that is missing or not enough, or a policy that says no.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "described, never built")]
pub(super) enum Denied {
    /// No key, or one that is not known.
    #[response(status = 401, content_type = "application/problem+json")]
    NoKey(Problem),
    /// The key's scopes are not enough, or the policy refuses the call.
    #[response(status = 403, content_type = "application/problem+json")]
    Refused(Problem),
}

/// A call that does not exist.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "described, never built")]
pub(super) enum NoSuchCall {
    /// It never existed, or was forgotten ten minutes after its tickets expired.
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(Problem),
}

/// A node that can't.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "described, never built")]
pub(super) enum Unavailable {
    /// The relay has no room, the store can't be written, or there is too much to do. Nothing was
    /// promised or changed.
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(Problem),
}
