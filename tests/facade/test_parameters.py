"""A run's parameters survive being written down."""

from hypothesis import given
from hypothesis import strategies as st

from facade.domain.parameters import ResponseFormat, ServerTools, TurnParameters
from threadmesh.conversation import ToolChoice, ToolChoiceMode, ToolDefinition
from threadmesh.sampling import Dry, Mirostat, Sampling, Xtc

_FLOATS = st.none() | st.floats(-100, 100)
_SAMPLING = st.builds(
    Sampling,
    temperature=_FLOATS,
    top_p=_FLOATS,
    seed=st.none() | st.integers(-(2**63), 2**63 - 1),
    logit_bias=st.dictionaries(st.integers(0, 2**31), st.floats(-100, 100), max_size=3),
    repeat_last_n=st.none() | st.integers(0, 8192),
    dry=st.none() | st.builds(Dry, multiplier=st.floats(0, 9), sequence_breakers=st.tuples(st.text(min_size=1))),
    mirostat=st.none() | st.builds(Mirostat, mode=st.integers(1, 2), tau=st.floats(0, 10)),
    ignore_eos=st.booleans(),
    xtc=st.none() | st.builds(Xtc, probability=st.floats(0, 1)),
)
_PARAMETERS = st.builds(
    TurnParameters,
    model=st.text(max_size=5),
    sampling=_SAMPLING,
    max_tokens=st.none() | st.integers(1, 10_000),
    stop=st.lists(st.text(max_size=3), max_size=4).map(tuple),
    response_format=st.builds(ResponseFormat, type=st.sampled_from(["text", "json_schema"]), schema_json=st.text()),
    tools=st.lists(st.builds(ToolDefinition, name=st.text(), strict=st.booleans()), max_size=2).map(tuple),
    tool_choice=st.none() | st.builds(ToolChoice, mode=st.sampled_from(ToolChoiceMode), name=st.text(max_size=3)),
    parallel_tool_calls=st.none() | st.booleans(),
    server_tools=st.builds(
        ServerTools, everything=st.booleans(), names=st.lists(st.text(max_size=3), max_size=2).map(tuple)
    ),
    forced_tools=st.lists(st.text(max_size=3), max_size=2).map(tuple),
    narrowed=st.booleans(),
    top_logprobs=st.none() | st.integers(0, 20),
    thinking=st.none() | st.booleans(),
    reasoning_effort=st.sampled_from(["", "high"]),
    written=st.dictionaries(st.text(), st.text(), max_size=2),
    whole_thread=st.booleans(),
    shortens_input=st.booleans(),
)


@given(_PARAMETERS)
def test_what_is_read_is_what_was_written(parameters: TurnParameters) -> None:
    assert TurnParameters.from_json(parameters.to_json()) == parameters


OLDER = (
    '{"model":"m","sampling":{"temperature":0.5,"top_p":null,"top_k":null,"min_p":null,"presence_penalty":null,'
    '"frequency_penalty":null,"repeat_penalty":null,"seed":7,"logit_bias":{"3":1.5}},"max_tokens":5,"stop":["x"],'
    '"response_format":{"type":"text","name":"","schema_json":""},"tools":[],"tool_choice":null,'
    '"parallel_tool_calls":null,"server_tools":{"everything":false,"names":[]},"top_logprobs":null}'
)


def test_what_an_older_version_wrote_is_read() -> None:
    sampling = Sampling(temperature=0.5, seed=7, logit_bias={3: 1.5})

    assert TurnParameters.from_json(OLDER) == TurnParameters(
        model="m", sampling=sampling, max_tokens=5, stop=("x",), thinking=None, reasoning_effort=""
    )


def test_server_tools_are_none_all_or_names() -> None:
    assert not ServerTools.parse("none")
    assert ServerTools.parse("all").everything
    assert ServerTools.parse("a__b, c__d").names == ("a__b", "c__d")
