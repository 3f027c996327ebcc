"""Examples of requests and streams, for the OpenAPI document. The tests send each of them."""

from typing import Any

_HELLO = {"role": "user", "content": "Hello!"}
_WEATHER = {
    "name": "weather",
    "description": "Tells the weather of a place.",
    "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
}
_FORM = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}

CHAT: dict[str, dict[str, Any]] = {
    "hello": {"messages": [_HELLO]},
    "stream": {"messages": [_HELLO], "stream": True, "stream_options": {"include_usage": True}},
    "thread": {"messages": [_HELLO], "metadata": {"thread_key": "discord:1:2", "tools": "all"}},
    "tool": {"messages": [_HELLO], "tools": [{"type": "function", "function": _WEATHER}], "tool_choice": "auto"},
    "form": {
        "messages": [_HELLO],
        "response_format": {"type": "json_schema", "json_schema": {"name": "person", "schema": _FORM}},
        "temperature": 0,
        "seed": 7,
    },
}
CHAT_STREAM = (
    'id: run_01:1\ndata: {"id":"chatcmpl-01","object":"chat.completion.chunk","created":1767225600,"model":"small",'
    '"choices":[{"index":0,"delta":{"content":"Hello!"},"finish_reason":null,"logprobs":null}]}\n\ndata: [DONE]\n\n'
)
RESPONSE: dict[str, dict[str, Any]] = {
    "hello": {"input": "Hello!"},
    "stream": {"input": [_HELLO], "stream": True},
    "tool": {"input": "Hello!", "tools": [{"type": "function", **_WEATHER}]},
    "background": {"input": "Hello!", "background": True, "instructions": "Be brief."},
}
RESPONSE_STREAM = (
    "event: response.output_text.delta\n"
    'data: {"type":"response.output_text.delta","item_id":"msg_01_0","output_index":0,"content_index":0,'
    '"delta":"Hello!","logprobs":[],"sequence_number":4}\n\ndata: [DONE]\n\n'
)
EMBEDDING: dict[str, dict[str, Any]] = {
    "one": {"input": "A text."},
    "several": {"input": ["A text.", "Another one."], "encoding_format": "base64"},
}
APPROVAL: dict[str, dict[str, Any]] = {"yes": {"reason": "Ann has looked at it."}}
DENIAL: dict[str, dict[str, Any]] = {"no": {"reason": "Not this month."}}
SETTLEMENT: dict[str, dict[str, Any]] = {
    "done": {"outcome": "succeeded", "output": "Order 17", "reason": "The order is there."},
    "undone": {"outcome": "failed", "reason": "There is no such order."},
}
ANSWERS: dict[str, dict[str, Any]] = {
    "filled_in": {"content": {"seats": 4, "room": "blue"}, "round": 1},
    "declined": {"action": "decline"},
    "several": {"answers": {"booking": {"content": {"seats": 4}}, "agreement": {"action": "cancel"}}},
}
COMPLETION: dict[str, dict[str, Any]] = {
    "text": {"prompt": "Once upon a time", "max_tokens": 16},
    "several": {"prompt": ["One, two,", "A, b,"], "n": 2, "temperature": 0.8, "stop": "\n"},
    "stream": {"prompt": "Once upon a time", "stream": True},
}
COMPLETION_STREAM = (
    'data: {"id":"cmpl-01","object":"text_completion","created":1767225600,"model":"small",'
    '"choices":[{"index":0,"text":" there","finish_reason":null,"logprobs":null}]}\n\ndata: [DONE]\n\n'
)
COMPLETION_UPDATE: dict[str, dict[str, Any]] = {"topic": {"metadata": {"topic": "weather"}}}
CONVERSATION: dict[str, dict[str, Any]] = {
    "empty": {},
    "begun": {"items": [{"type": "message", "role": "user", "content": "Hello!"}], "metadata": {"topic": "weather"}},
}
CONVERSATION_UPDATE: dict[str, dict[str, Any]] = {"topic": {"metadata": {"topic": "weather"}}}
CONVERSATION_ITEMS: dict[str, dict[str, Any]] = {
    "said": {"items": [{"type": "message", "role": "user", "content": "Hello!"}]}
}
THREAD: dict[str, dict[str, Any]] = {
    "key": {"key": "discord:1:2", "metadata": {"topic": "weather"}},
    "nameless": {},
}
THREAD_UPDATE: dict[str, dict[str, Any]] = {"topic": {"metadata": {"topic": "weather"}}}
PRUNE: dict[str, dict[str, Any]] = {
    "newest": {"max_items": 200},
    "foreseen": {"max_age_seconds": 86400, "dry_run": True},
}
WARM: dict[str, dict[str, Any]] = {
    "plain": {},
    "tool": {"instructions": "Be brief.", "tools": [{"type": "function", "function": _WEATHER}]},
}
SUMMARY: dict[str, dict[str, Any]] = {"whole": {}, "part": {"up_to": "9"}}
TOKENIZE: dict[str, dict[str, Any]] = {
    "text": {"prompt": "Hello!", "return_token_strs": True},
    "messages": {"messages": [_HELLO]},
}
DETOKENIZE: dict[str, dict[str, Any]] = {"tokens": {"tokens": [1, 2, 3]}}
INPUT_TOKENS: dict[str, dict[str, Any]] = {"hello": {"input": "Hello!", "instructions": "Be brief."}}
COMPACT: dict[str, dict[str, Any]] = {"talk": {"input": [_HELLO, {"role": "user", "content": "Are you there?"}]}}
RUN_STREAM = (
    'id: run_01:1\nevent: text\ndata: {"event":"text","seq":1,"round":0,"choice":0,"text":"Hello!"}\n\n'
    "id: run_01:3\nevent: run.finished\n"
    'data: {"event":"run.finished","seq":3,"round":0,"choice":0,"status":"succeeded"}\n\n'
)
