"""What a tool call costs beside the tool itself, and what a bad tool server costs the others.

`python -m benchmarks.tool_calls` runs a mesh of processes with a scripted model and calls the same tool in turn:
directly over MCP (stdio), through tools_svc (gRPC, validation), and through the whole mesh: in a chat in which the
model must call it, from the end of the model's round to the beginning of its next one, as the log of inference_svc
says. That is the call with its journal, and what is done before and after it to ask the model.
Then it calls eight tools of a second each at once, and the good server's tool again while another server hangs, floods,
sends a line without an end or one that is too long, once started as an equal, once as usual and once at the lowest
priority, or has a thousand tools that are others all the time, and reads how much memory the service gained and how
late its event loop was. The order of what is compared changes from round to round.
"""

import asyncio
import json
import re
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path
from statistics import quantiles
from time import perf_counter
from typing import TYPE_CHECKING

import httpx2
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters

from tests.chaos.units import Units, mesh_of_units
from threadmesh.api.conversation.v1 import conversation_pb2 as conversation
from threadmesh.api.conversation.v1 import events_pb2 as events
from threadmesh.api.tools.v1 import tools_service_pb2 as pb
from threadmesh.api.tools.v1.tools_service_pb2_grpc import ToolsServiceStub
from threadmesh.rpc.channel import connect

if TYPE_CHECKING:
    from threadmesh.api.tools.v1.tools_service_pb2_grpc import ToolsServiceAsyncStub

_SERVER = Path(__file__).parent / "tool_server.py"
_SERVERS = Path(__file__).parent.parent / "tests" / "servers"
_ECHO, _WAIT = "good__echo", "good__wait"
_CROOKED = ("silent", "flood", "endless", "huge")
_BAD = {
    "equal": _CROOKED,
    "usual": _CROOKED,
    "lowest": _CROOKED,
    "restless": ("stir",),
    "renaming": ("stir",),
}
"""The bad servers, and the tools of each that are called."""
_SECONDS = 120.0
_AT_ONCE = 8
_WARM_CALLS = 5
_BAD_SECONDS = 2
_BAD_EVERY_SECONDS = 0.5
_BETWEEN_SECONDS = 0.02
_ROUNDS = 2
"""Of the model, in a chat with a call."""
_ids = count()

Call = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """The ways to call the tool, by their names, and the service that runs it."""

    calls: Mapping[str, Call]
    tools: "ToolsServiceAsyncStub"


def servers(wanted: Sequence[str]) -> dict[str, object]:
    """Give the servers file: the server that does nothing, and of the bad ones those that are wanted.

    One that breaks the protocol in every way is there as an equal of the service, as it is started without a word, and
    at the lowest priority: what it costs then is not for the CPU that it burns. Two more have a thousand tools, all of
    which change with each call: their descriptions, or their names.
    """
    good = {"command": sys.executable, "args": [str(_SERVER)]}
    bad = {"command": sys.executable, "args": [str(_SERVERS / "crooked.py")], "timeout_seconds": _BAD_SECONDS}
    restless = {"command": sys.executable, "args": [str(_SERVERS / "restless.py")]}
    renaming = {"command": sys.executable, "args": [str(_SERVERS / "restless.py"), "--names"]}
    crooked = {"equal": bad | {"nice": 0}, "usual": bad, "lowest": bad | {"nice": 19}}
    every = crooked | {"restless": restless, "renaming": renaming}
    return {"mcpServers": {"good": good, **{name: every[name] for name in wanted}}}


@asynccontextmanager
async def ways(units: Units) -> AsyncIterator[Ways]:
    """Open a connection for each way to call the tool."""
    async with AsyncExitStack() as stack:
        parameters = StdioServerParameters(command=sys.executable, args=[str(_SERVER)])
        direct = await stack.enter_async_context(Client(parameters))
        tools = ToolsServiceStub(await stack.enter_async_context(connect(units.target("tools"))))
        web = await stack.enter_async_context(httpx2.AsyncClient(base_url=units.url(), timeout=_SECONDS))
        await _known(tools, {_ECHO, _WAIT})

        async def directly() -> None:
            assert not (await direct.call_tool("echo", {"text": "hello"})).is_error

        yield Ways(
            calls={
                "directly over MCP": directly,
                "through tools_svc": lambda: execute(tools, _ECHO, text="hello"),
                "a chat": lambda: chat(web),
                "a chat with the call": lambda: chat(web, tool=_ECHO),
            },
            tools=tools,
        )


async def _known(tools: "ToolsServiceAsyncStub", wanted: set[str]) -> None:
    async with asyncio.timeout(_SECONDS):
        async for state in tools.WatchTools(pb.WatchToolsRequest()):
            if wanted <= {tool.definition.name for tool in state.catalogue.tools}:
                return


async def execute(tools: "ToolsServiceAsyncStub", *names: str, expected: bool = True, **arguments: object) -> None:
    """Run a batch of one call of each name."""
    calls = [
        conversation.ToolCall(id=f"call_{next(_ids)}", name=name, arguments_json=json.dumps(arguments))
        for name in names
    ]
    stream = tools.ExecuteTools(pb.ExecuteToolsRequest(calls=calls), timeout=_SECONDS)
    outcomes = [event.finished.outcome async for event in stream if event.HasField("finished")]
    assert len(outcomes) == len(calls)
    assert not expected or set(outcomes) == {events.CALL_OUTCOME_SUCCEEDED}, outcomes


async def chat(web: httpx2.AsyncClient, *, tool: str = "") -> None:
    """Ask the scripted model, which must call the tool if one is named."""
    body: dict[str, object] = {"model": "scripted", "messages": [{"role": "user", "content": "hello"}]}
    if tool:
        body |= {
            "metadata": {"tools": tool},
            "tool_choice": {"type": "function", "function": {"name": tool}},
        }
    answer = await web.post("/v1/chat/completions", json=body)
    assert answer.status_code == httpx2.codes.OK, answer.text


async def timed(call: Call, *, times: int) -> list[float]:
    """Call one time after the other; gives the milliseconds of each."""
    found = []
    for _ in range(times):
        began = perf_counter()
        await call()
        found.append(1e3 * (perf_counter() - began))
    return found


async def beside_a_bad_server(found: Ways, server: str, *, times: int) -> list[float]:
    """Call the good server's tool while the bad one `server` is called in all its ways, each twice a second at most."""
    over = asyncio.Event()

    async def pester(name: str) -> None:
        while not over.is_set():
            due = perf_counter() + _BAD_EVERY_SECONDS
            await execute(found.tools, name, expected=False)
            # What a call does is measured, not how many calls a client can make in that time.
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), max(0.0, due - perf_counter()))

    async with asyncio.TaskGroup() as tasks:
        for name in _BAD[server]:
            tasks.create_task(pester(f"{server}__{name}"))
        samples = await alone(found, times=times)
        over.set()
    return samples


async def alone(found: Ways, *, times: int) -> list[float]:
    """Call the good server's tool as often, with the same pauses."""
    samples = []
    for _ in range(times):
        samples += await timed(found.calls["through tools_svc"], times=1)
        await asyncio.sleep(_BETWEEN_SECONDS)
    return samples


def report(name: str, samples: Sequence[float]) -> tuple[float, float]:
    """Write one row; gives its median and its p95."""
    spread = quantiles(samples, n=100)
    print(f"{name:32} p50 {spread[49]:8.2f}   p95 {spread[94]:8.2f} ms   ({len(samples)} calls)", flush=True)
    return spread[49], spread[94]


async def measure(asked: Namespace, units: Units) -> None:
    """Measure everything and print it."""
    async with ways(units) as found:
        samples: dict[str, list[float]] = {name: [] for name in found.calls}
        for call in found.calls.values():
            await timed(call, times=_WARM_CALLS)
        for number in range(asked.rounds):
            for name in turned(list(found.calls), number):
                samples[name] += await timed(found.calls[name], times=asked.calls)
        medians = {name: report(name, each)[0] for name, each in samples.items()}
        between = report("between two rounds of the model", between_rounds(units["inference"].log))[0]
        direct = medians["directly over MCP"]
        print(f"tools_svc adds {medians['through tools_svc'] - direct:.2f} ms at the median")
        print(f"the mesh adds {between - direct:.2f} ms at the median; target 5")
        together = await timed(lambda: execute(found.tools, *[_WAIT] * _AT_ONCE, seconds=1.0), times=asked.rounds)
        report(f"{_AT_ONCE} calls of 1 s at once", [*together, *together])
        process = units["tools"].process
        assert process is not None
        await isolation(asked, found, process.pid, metrics=f"http://127.0.0.1:{units.ports['tools_metrics']}/metrics")


def between_rounds(log: Path) -> list[float]:
    """Give the milliseconds between the rounds of the runs that had two, in their order."""
    rounds: dict[str, list[tuple[float, float]]] = {}
    for line in log.read_text().splitlines():
        told = json.loads(line) if line.startswith("{") else {}
        if told.get("method", "").endswith("/Generate") and told["code"] == "OK":
            end = datetime.fromisoformat(told["timestamp"]).timestamp()
            rounds.setdefault(told["run_id"], []).append((end - told["seconds"], end))
    return [1e3 * (later[0] - earlier[1]) for earlier, later in (run for run in rounds.values() if len(run) == _ROUNDS)]


async def isolation(asked: Namespace, found: Ways, pid: int, *, metrics: str) -> None:
    """Measure what a bad server costs a good one, and what it does to the service `pid`: its memory, its event loop."""
    samples: dict[str, list[float]] = {"": [], **{server: [] for server in asked.servers}}
    late: dict[str, float] = dict.fromkeys(samples, 0.0)
    began = resident(pid)
    for number in range(asked.rounds):
        for server in turned(list(samples), number):
            before = await lags(metrics)
            samples[server] += await (
                beside_a_bad_server(found, server, times=asked.calls) if server else alone(found, times=asked.calls)
            )
            late[server] = max(late[server], largest(before, await lags(metrics)))
    quiet = report("alone", samples[""])[1]
    for server in asked.servers:
        loud = report(f"beside a bad server, {server}", samples[server])[1]
        print(f"p95 {loud / quiet:.2f} x alone; target 1.10")
    for server, seconds in late.items():
        print(f"event loop late by at most {1e3 * seconds:.0f} ms {f'({server})' if server else 'alone'}; target 50")
    print(f"tools_svc grew by {resident(pid) - began:.1f} MiB; target 64")


def turned(names: Sequence[str], number: int) -> Sequence[str]:
    """Give the order of a round: each other one goes backwards, so that what warms up or tires favours nobody."""
    return names if number % 2 == 0 else names[::-1]


async def lags(address: str) -> dict[float, float]:
    """Give how often the service's event loop was late by at most so many seconds, as its metrics say."""
    async with httpx2.AsyncClient() as web:
        text = (await web.get(address)).text
    found = re.findall(r'^threadmesh_tools_loop_lag_seconds_bucket\{le="([^"]+)"\} (\S+)', text, re.MULTILINE)
    return {float(bound): float(count) for bound, count in found}


def largest(before: Mapping[float, float], after: Mapping[float, float]) -> float:
    """Give the smallest bound that nothing exceeded between two looks."""
    new = {bound: seen - before[bound] for bound, seen in after.items()}
    return min(bound for bound, seen in new.items() if seen == max(new.values()))


def resident(pid: int) -> float:
    """Give the memory of a process in MiB."""
    (line,) = [each for each in Path(f"/proc/{pid}/status").read_text().splitlines() if each.startswith("VmRSS:")]
    return int(line.split()[1]) / 1024


def main() -> int:
    """Do what the command line asks."""
    parser = ArgumentParser(prog="python -m benchmarks.tool_calls", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--calls", type=int, default=80, help="calls of each way in a round")
    parser.add_argument("--servers", nargs="+", choices=_BAD, default=list(_BAD), help="the bad servers")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tool-calls-") as name, mesh_of_units(Path(name)) as units:
        units["tools"].end()
        (Path(name) / "servers.json").write_text(json.dumps(servers(asked.servers)))
        units["tools"].start()
        units.models_are_ready()
        asyncio.run(measure(asked, units))
    return 0


if __name__ == "__main__":
    sys.exit(main())
