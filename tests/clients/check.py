"""A whole call by the client that openapi-python-client makes of docs/openapi.json."""

import os
import sys

from client import AuthenticatedClient
from client.api.calls import answer_call, create_call, decide_call, end_call, get_call, list_calls, renew_call
from client.api.node import get_node, get_readyz
from client.models import (
    AnswerRequest, CallRequest, CallView, OpenedCall, PartyRequest, PhaseView, Problem, RenewRequest, Route,
)

api = AuthenticatedClient(base_url=os.environ["VIZARD_API"], token=os.environ["VIZARD_API_KEY"])
failed = passed = 0


def check(name, ok):
    global failed, passed
    passed, failed = (passed + 1, failed) if ok else (passed, failed + 1)
    if not ok:
        print(f"FAILED {name}", file=sys.stderr)


wanted = CallRequest(parties=[PartyRequest(id="alice"), PartyRequest(id="bob")], caller="alice", ttl=600)
decision = decide_call.sync(client=api, body=wanted)
check("a decision is masked", decision.route is Route.MASKED)

call = create_call.sync(client=api, body=wanted, idempotency_key="generated")
check("a call is opened", isinstance(call, OpenedCall))
alice = call.parties["alice"].rtc_configuration
check("each party has a server", alice.ice_servers[0].urls != [])
again = create_call.sync(client=api, body=wanted, idempotency_key="generated")
check("a repeated key opens no other", again.id == call.id)

answered = answer_call.sync(client=api, id=call.id, body=AnswerRequest(party="bob"))
check("a party answers", answered.phase is PhaseView.ANSWERED)
renewed = renew_call.sync(client=api, id=call.id, body=RenewRequest(ttl=1200))
check("a call is renewed", renewed.expires_at > call.expires_at)
check("and has fresh tickets", renewed.parties["bob"].rtc_configuration.ice_servers[0].username is not None)
listed = list_calls.sync(client=api, phase="answered")
check("it is listed", call.id in [each.id for each in listed.calls])
shown = get_call.sync(client=api, id=call.id)
check("it is shown with what happened", [str(it.event) for it in shown.timeline][0] == "call.ringing")
ended = end_call.sync(client=api, id=call.id)
check("it ends", isinstance(ended, CallView) and ended.phase is PhaseView.ENDED)

late = answer_call.sync(client=api, id=call.id, body=AnswerRequest(party="bob"))
check("a refusal is a problem", isinstance(late, Problem) and late.status == 409)
bad = create_call.sync(client=api, body=CallRequest(parties=[PartyRequest(id="alice")]))
check("a fault names its field", isinstance(bad, Problem) and bad.errors[0].path == "parties")
check("the node says its URLs", get_node.sync(client=api).urls != [])
check("the node is ready", get_readyz.sync(client=api) is not None)

print(f"{passed} passed, {failed} failed")
sys.exit(failed > 0)
