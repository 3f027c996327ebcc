from dataclasses import replace

import pytest

from tools_svc.domain.policy import ServerPolicy, ToolPolicy
from tools_svc.domain.tool import ApprovalRule, Effect, Hints
from tools_svc.domain.verify import Verify

POLICY = ServerPolicy(
    timeout_seconds=1,
    effects={"reads": Effect.READ_ONLY, "sets": Effect.IDEMPOTENT, "keyed": Effect.KEYED, "risks": Effect.UNSAFE},
)


def test_a_tool_that_nobody_classified_is_unsafe_whatever_its_server_says() -> None:
    assert POLICY.effect("other", Hints(read_only=True, idempotent=True)) is Effect.UNSAFE


@pytest.mark.parametrize(
    ("tool", "hints", "effect"),
    [
        ("other", Hints(), Effect.UNSAFE),
        ("other", Hints(read_only=True), Effect.READ_ONLY),
        ("other", Hints(read_only=False, idempotent=True), Effect.IDEMPOTENT),
        ("risks", Hints(read_only=True), Effect.UNSAFE),
    ],
)
def test_the_word_of_a_server_that_the_operator_wrote_holds_where_the_operator_has_none(
    tool: str, hints: Hints, effect: Effect
) -> None:
    assert replace(POLICY, hints_trusted=True).effect(tool, hints) is effect


@pytest.mark.parametrize(
    ("tool", "hints", "effect"),
    [
        ("reads", Hints(), Effect.READ_ONLY),
        ("reads", Hints(read_only=True), Effect.READ_ONLY),
        ("reads", Hints(read_only=False), Effect.UNSAFE),
        ("reads", Hints(read_only=False, idempotent=True), Effect.IDEMPOTENT),
        ("reads", Hints(read_only=True, destructive=False), Effect.READ_ONLY),
        ("reads", Hints(destructive=True), Effect.UNSAFE),
        ("reads", Hints(read_only=True, destructive=True), Effect.UNSAFE),
        ("sets", Hints(), Effect.IDEMPOTENT),
        ("sets", Hints(idempotent=True, destructive=True), Effect.IDEMPOTENT),
        ("sets", Hints(idempotent=False), Effect.UNSAFE),
        ("sets", Hints(read_only=True, idempotent=False), Effect.IDEMPOTENT),
        ("keyed", Hints(read_only=False, idempotent=False), Effect.KEYED),
        ("risks", Hints(read_only=True), Effect.UNSAFE),
    ],
)
def test_hints_only_make_the_operators_word_stricter(tool: str, hints: Hints, effect: Effect) -> None:
    assert POLICY.effect(tool, hints) is effect


def test_the_longest_call_is_that_of_the_most_patient_tool() -> None:
    tools = {"scale": ToolPolicy(timeout_seconds=600), "get": ToolPolicy(timeout_seconds=5), "put": ToolPolicy()}

    assert ServerPolicy(timeout_seconds=30, tools=tools).longest_seconds == 600
    assert ServerPolicy(timeout_seconds=30).longest_seconds == 30


def test_a_tools_own_word_on_approval_goes_before_its_servers() -> None:
    never, always, sometimes = ApprovalRule.NEVER, ApprovalRule.ALWAYS, ApprovalRule.AFTER_UNTRUSTED
    tools = {"reads": ToolPolicy(approval=never), "risks": ToolPolicy(approval=always)}

    strict, lax = (ServerPolicy(timeout_seconds=1, approval=approval, tools=tools) for approval in (sometimes, never))

    assert [strict.approval_of(tool) for tool in ("reads", "risks", "other")] == [never, always, sometimes]
    assert [lax.approval_of(tool) for tool in ("reads", "risks", "other")] == [never, always, never]


@pytest.mark.parametrize(
    ("tool", "server", "hint", "expected"),
    [
        (None, None, None, False),
        (None, None, False, False),
        (None, None, True, True),
        (None, True, None, True),
        (None, True, False, True),
        (None, False, True, False),
        (True, False, None, True),
        (False, True, True, False),
    ],
)
def test_the_operators_word_on_who_wrote_results_goes_before_a_hint_which_can_only_doubt(
    tool: bool | None, server: bool | None, hint: bool | None, expected: bool
) -> None:
    policy = ServerPolicy(timeout_seconds=1, untrusted=server, tools={"get": ToolPolicy(untrusted=tool)})

    assert policy.distrusts("get", {"get": Hints(open_world=hint)}) is expected


@pytest.mark.parametrize(("said", "expected"), [(None, True), (False, False)])
def test_a_tool_says_what_is_asked_to_verify_it(said: bool | None, expected: bool) -> None:
    verify = Verify(tool="find", arguments={}, done="/found")
    policy = ServerPolicy(timeout_seconds=1, tools={"put": ToolPolicy(untrusted=said, verify=verify)})

    assert policy.distrusts("put", {"find": Hints(open_world=True)}) is expected
