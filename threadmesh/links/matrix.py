"""Who may call what: the whole table. What does not stand here is refused."""

from collections.abc import Mapping

Methods = frozenset[str] | None
"""Names of methods; None is all of a service's."""

INFERENCE = "threadmesh.api.inference.v1.InferenceService"
TOOLS = "threadmesh.api.tools.v1.ToolsService"
THREADS = "threadmesh.api.context.v1.ThreadsService"
RUNS = "threadmesh.api.context.v1.RunsService"
HEALTH = "grpc.health.v1.Health"
REFLECTION = "grpc.reflection.v1alpha.ServerReflection"
CHANNELZ = "grpc.channelz.v1.Channelz"

EVERYBODY: Mapping[str, Methods] = {HEALTH: None, REFLECTION: None}
"""What each member may call: neither shows what anybody has said."""

_OURS: Mapping[str, Methods] = {INFERENCE: None, TOOLS: None, THREADS: None, RUNS: None}

MATRIX: Mapping[str, Mapping[str, Methods]] = {
    # It answers people: it decides nothing that an operator decides.
    "facade": {
        INFERENCE: frozenset({"CountTokens", "Detokenize", "Embed", "Generate", "ListModels", "Tokenize", "Warm"}),
        TOOLS: frozenset({"ExecuteTools", "ListTools", "CancelCall", "WatchCalls", "ListTasks"}),
        THREADS: frozenset(
            {
                *("ResolveThread", "CreateThread", "GetThread", "ListThreads", "UpdateThread", "DeleteThread"),
                *("AppendItems", "GetItem", "ListItems", "DeleteItem", "PinItem", "UnpinItem"),
                # Of all threads at once only an operator removes something: PruneThreads.
                *("AssembleWindow", "AppendSummary", "GetRetention", "PruneThread", "GetUsage"),
            }
        ),
        RUNS: frozenset(
            {
                *("StartRun", "GetRun", "ListRuns", "ClaimRun", "TakeOverRun", "HandOverRun", "RenewRun", "CancelRun"),
                "DeleteRun",
                *("AppendToRuns", "WatchRun", "RequireAction", "ResolveCall", "AnswerCall", "ListCalls"),
                "ListWaitingInput",
            }
        ),
    },
    # They are called and call nobody. A worker works for tools_svc through its store and its broker.
    "inference": {},
    "tools": {},
    "context": {},
    "worker": {},
    # The front door offers the services as they are; who may come to it, the network decides.
    "envoy": _OURS,
    # Operators: the command line, grpcurl.
    "cli": {**_OURS, CHANNELZ: None},
}

MEMBERS = tuple(MATRIX)
"""Everybody who can have an identity: `spiffe://threadmesh/<member>`."""


def allowed(member: str, service: str, method: str) -> bool:
    """Say whether a member may call a method of a service."""
    for table in (MATRIX.get(member, {}), EVERYBODY if member in MATRIX else {}):
        if service in table:
            methods = table[service]
            return methods is None or method in methods
    return False
