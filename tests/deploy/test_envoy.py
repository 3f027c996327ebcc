"""Through a real Envoy, gRPC and HTTP reach the unit they are meant for, and every refusal has a body that says why."""

import json
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx2
import pytest
from cryptography import x509
from websockets.asyncio.client import connect as connect_socket

from facade.app import app
from facade.settings import FacadeSettings
from tests.deploy.manifests import load
from tests.deploy.mesh import KEY, Mesh
from tests.e2e.mesh import eventually
from threadmesh.api.context.v1 import runs_service_pb2 as runs
from threadmesh.api.context.v1 import runs_service_pb2_grpc as runs_rpc
from threadmesh.api.context.v1 import threads_service_pb2 as threads
from threadmesh.api.context.v1 import threads_service_pb2_grpc as threads_rpc
from threadmesh.api.inference.v1 import inference_service_pb2 as inference
from threadmesh.api.inference.v1 import inference_service_pb2_grpc as inference_rpc
from threadmesh.api.tools.v1 import tools_service_pb2 as tools
from threadmesh.api.tools.v1 import tools_service_pb2_grpc as tools_rpc
from threadmesh.cli.certs import make
from threadmesh.errors import DeadlineExceeded, RunNotFound, ThreadNotFound
from threadmesh.rpc.channel import MeshChannel, connect, translated
from threadmesh.telemetry.metrics import new_registry

pytestmark = pytest.mark.mesh

AUTHORIZED = {"authorization": f"Bearer {KEY}"}
SSE = {"accept": "text/event-stream"}
QUESTION = {"model": "scripted", "messages": [{"role": "ROLE_USER", "parts": [{"text": "hello"}]}]}
UNKNOWN_MODEL = QUESTION | {"model": "nobody"}


@pytest.fixture
async def channel(mesh: Mesh) -> AsyncIterator[MeshChannel]:
    """A channel to Envoy, as any gRPC client opens one."""
    async with connect(mesh.target) as opened:
        yield opened


@pytest.fixture
def http(mesh: Mesh) -> Iterator[httpx2.Client]:
    """An HTTP client of Envoy."""
    with httpx2.Client(base_url=mesh.url, timeout=30) as client:
        yield client


async def test_grpc_reaches_the_inference_service(channel: MeshChannel) -> None:
    answer = await inference_rpc.InferenceServiceStub(channel).ListModels(inference.ListModelsRequest(), timeout=30)

    assert "scripted" in {model.name for model in answer.models}


async def test_grpc_reaches_the_tools_service(channel: MeshChannel) -> None:
    answer = await tools_rpc.ToolsServiceStub(channel).ListTools(tools.ListToolsRequest(), timeout=30)

    assert {server.name for server in answer.servers} == {"git", "time"}


async def test_grpc_reaches_the_threads_service_and_brings_its_errors_back_whole(channel: MeshChannel) -> None:
    with pytest.raises(ThreadNotFound) as caught:
        async with translated(peer="context"):
            await threads_rpc.ThreadsServiceStub(channel).GetThread(
                threads.GetThreadRequest(thread_id="nobody"), timeout=30
            )

    assert caught.value.reason == "THREAD_NOT_FOUND"


async def test_grpc_reaches_the_runs_service(channel: MeshChannel) -> None:
    with pytest.raises(RunNotFound):
        async with translated(peer="context"):
            await runs_rpc.RunsServiceStub(channel).GetRun(runs.GetRunRequest(run_id="nobody"), timeout=30)


async def test_a_stream_passes_message_by_message_until_its_end(channel: MeshChannel) -> None:
    request = inference.GenerateRequest(model="scripted")
    request.messages.add(role=3).parts.add(text="hello")

    events = [event async for event in inference_rpc.InferenceServiceStub(channel).Generate(request, timeout=30)]

    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert events[-1].WhichOneof("event") == "finished"


async def test_the_callers_deadline_ends_a_call_that_envoy_itself_would_never_end(channel: MeshChannel) -> None:
    watch = tools_rpc.ToolsServiceStub(channel).WatchTools(tools.WatchToolsRequest(), timeout=0.5)

    with pytest.raises(DeadlineExceeded):
        async with translated(peer="tools"):
            async for _ in watch:
                pass


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/rpc/v1/inference/models", "models"),
        ("/rpc/v1/tools", "servers"),
        ("/rpc/v1/threads", "threads"),
        ("/rpc/v1/runs", "runs"),
    ],
)
def test_a_unary_rpc_of_each_service_is_a_get(http: httpx2.Client, path: str, field: str) -> None:
    answer = http.get(path)

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert isinstance(answer.json()[field], list)


def test_a_body_reaches_the_rpc_and_its_answer_comes_back(http: httpx2.Client) -> None:
    made = http.post("/rpc/v1/threads:resolve", json={"key": "discord:1:2"}).raise_for_status().json()
    found = http.post("/rpc/v1/threads:resolve", json={"key": "discord:1:2"}).raise_for_status().json()

    assert (made["created"], found["created"]) == (True, False)
    assert http.get(f"/rpc/v1/threads/{made['thread']['id']}").json()["thread"]["key"] == "discord:1:2"


def test_a_stream_is_one_json_object_a_line(http: httpx2.Client) -> None:
    answer = http.post("/rpc/v1/inference:generate", json=QUESTION).raise_for_status()

    events = [json.loads(line) for line in answer.text.splitlines()]
    assert answer.headers["content-type"] == "application/json"
    assert len(events) > 2
    assert "started" in events[0]
    assert "finished" in events[-1]


def test_a_stream_is_server_sent_events_for_who_asks_for_them(http: httpx2.Client) -> None:
    answer = http.post("/rpc/v1/inference:generate", json=QUESTION, headers=SSE).raise_for_status()

    frames = answer.text.strip().split("\n\n")
    events = [json.loads(frame.removeprefix("data: ")) for frame in frames]
    assert answer.headers["content-type"] == "text/event-stream"
    assert all(frame.startswith("data: ") for frame in frames)
    assert "started" in events[0]
    assert "finished" in events[-1]


def test_a_streams_first_event_comes_before_its_end(http: httpx2.Client) -> None:
    """The catalogue is watched for as long as the client stays, so only a stream can give its first state."""
    with http.stream("GET", "/rpc/v1/tools:watch", headers=SSE) as answer:
        first = next(answer.iter_lines())

    assert "catalogue" in json.loads(first.removeprefix("data: "))


@pytest.mark.parametrize("headers", [{}, SSE])
def test_an_error_before_the_first_message_is_a_status_with_details(
    http: httpx2.Client, headers: dict[str, str]
) -> None:
    answer = http.post("/rpc/v1/inference:generate", json=UNKNOWN_MODEL, headers=headers)

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["code"] == 5
    assert answer.json()["details"][0]["reason"] == "MODEL_NOT_FOUND"


def test_a_request_that_breaks_a_rule_of_the_protos_is_told_which(http: httpx2.Client) -> None:
    answer = http.post("/rpc/v1/inference:generate", json={"messages": []})

    assert answer.status_code == 400
    violations = [each for each in answer.json()["details"] if "field_violations" in each]
    assert violations[0]["field_violations"][0]["field"] == "messages"


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/rpc/v1/threads?colour=red", 3),
        ("GET", "/rpc/v1/threads/a/b/c", 5),
        ("PUT", "/rpc/v1/tools", 5),
    ],
)
def test_what_envoy_refuses_is_refused_as_the_services_do(
    http: httpx2.Client, method: str, path: str, code: int
) -> None:
    answer = http.request(method, path)

    assert answer.status_code == {3: 400, 5: 404}[code]
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["code"] == code
    assert answer.json()["message"]


def test_a_body_that_is_not_json_is_refused_with_json(http: httpx2.Client) -> None:
    answer = http.post("/rpc/v1/inference:generate", content=b"{not json")

    assert answer.status_code == 400
    assert answer.json()["code"] == 3


def test_every_other_path_is_the_facades(http: httpx2.Client) -> None:
    models, nowhere = http.get("/v1/models", headers=AUTHORIZED), http.get("/v1/nowhere")

    assert models.json()["object"] == "list"
    assert nowhere.status_code == 404
    assert nowhere.json()["error"]["type"] == "invalid_request_error"


def test_a_chat_streams_through_envoy(http: httpx2.Client) -> None:
    question = {"model": "scripted", "stream": True, "messages": [{"role": "user", "content": "hello"}]}
    answer = http.post("/v1/chat/completions", json=question, headers=AUTHORIZED).raise_for_status()

    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text.rstrip().endswith("data: [DONE]")


async def test_every_path_of_the_facade_asks_for_its_key_through_envoy_too(http: httpx2.Client) -> None:
    async with app(FacadeSettings(), new_registry()) as facade:
        paths = facade.openapi()["paths"]
    asked = [(method, path) for path, item in paths.items() for method in item if path.startswith("/v1/")]
    answers = [http.request(method.upper(), re.sub(r"\{\w+\}", "x", path)) for method, path in asked]

    assert len(asked) > 40
    assert {(answer.status_code, answer.json()["error"]["code"]) for answer in answers} == {(401, "invalid_api_key")}


def test_threads_and_runs_are_the_facades_and_those_of_the_rpcs_stand_beside_them(http: httpx2.Client) -> None:
    made = http.post("/v1/threads", json={"key": "discord:3:4"}, headers=AUTHORIZED).raise_for_status().json()
    runs = http.get("/v1/runs", headers=AUTHORIZED).raise_for_status().json()
    read = http.get(f"/rpc/v1/threads/{made['id']}").raise_for_status().json()

    assert made["object"] == "threadmesh.thread"
    assert runs["object"] == "list"
    assert read["thread"]["key"] == "discord:3:4"
    assert "object" not in read["thread"]


async def test_a_websocket_reaches_the_facade_through_envoy(mesh: Mesh) -> None:
    address = f"ws://{mesh.target}/v1/responses"
    async with connect_socket(address, additional_headers=AUTHORIZED) as socket:
        await socket.send(json.dumps({"type": "response.create", "model": "scripted", "input": "hello"}))
        kinds = [json.loads(await socket.recv())["type"]]
        while kinds[-1] not in {"response.completed", "error"}:
            kinds.append(json.loads(await socket.recv())["type"])

    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"


def test_the_facades_figures_are_not_for_clients(http: httpx2.Client) -> None:
    assert http.get("/metrics").status_code == 404


def test_a_request_id_is_given_back(http: httpx2.Client) -> None:
    assert (
        http.get("/rpc/v1/tools", headers={"x-request-id": "the-clients-own"}).headers["x-request-id"]
        == "the-clients-own"
    )


def test_the_last_command_of_envoys_pod_makes_it_unready_and_leaves_it_serving(mesh: Mesh) -> None:
    ready, admin = f"http://127.0.0.1:{mesh.operations}/readyz", f"http://127.0.0.1:{mesh.admin}"
    shell, flag, script = load("deploy/k8s").container("envoy")["lifecycle"]["preStop"]["exec"]["command"]
    here = re.sub(r"sleep \d+", "true", script.replace("/9901;", f"/{mesh.admin};"))
    try:
        subprocess.run([shell, flag, here], check=True, capture_output=True, timeout=30)

        assert httpx2.get(ready, timeout=30).status_code == 503
        assert httpx2.get(f"{mesh.url}/rpc/v1/tools", timeout=30).is_success
    finally:
        httpx2.post(f"{admin}/healthcheck/ok", timeout=30).raise_for_status()
    assert httpx2.get(ready, timeout=30).is_success


def test_operators_find_envoys_health_and_metrics_beside_the_door(mesh: Mesh) -> None:
    operations = f"http://127.0.0.1:{mesh.operations}"

    assert httpx2.get(f"{operations}/livez", timeout=30).is_success
    assert httpx2.get(f"{operations}/readyz", timeout=30).is_success
    assert "envoy_cluster_upstream_rq_total" in httpx2.get(f"{operations}/metrics", timeout=30).text
    assert httpx2.get(f"{operations}/stats", timeout=30).status_code == 404


def test_envoy_takes_a_replaced_certificate_without_a_restart(mesh: Mesh, http: httpx2.Client) -> None:
    make(mesh.certificates, ["envoy"])
    admin = f"http://127.0.0.1:{mesh.admin}"

    def taken() -> bool:
        shown = httpx2.get(f"{admin}/certs", timeout=30).json()["certificates"]
        serials = {int(each["serial_number"], 16) for entry in shown for each in entry["cert_chain"]}
        return serials == {certificate_serial(mesh.certificates / "envoy.pem")}

    eventually(taken)
    assert http.get("/rpc/v1/tools").status_code == 200


def certificate_serial(path: Path) -> int:
    return x509.load_pem_x509_certificate(path.read_bytes()).serial_number
