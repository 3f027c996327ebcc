"""Why requests of OpenAI's are refused in parts, and parts of them ignored."""

MODELS = {"delete": "models are files of whoever runs the mesh"}
"""What of the models can be asked for at OpenAI, and is refused."""

_ITEM = r"(input|items)\[\w+\]"
_CONTENT = rf"{_ITEM}\.(content|output)"
_TOLD_AGAIN = "clients send it back with earlier answers; models do not read it"
_CACHED = "prompts are cached by what they begin with"
_HOSTED = "OpenAI runs that tool; the mesh runs those of its own servers"
_TOOLS = (
    "apply_patch|code_interpreter|computer(_use)?(_preview)?|file_search|image_generation|local_shell|namespace|"
    r"programmatic_tool_calling|shell|tool_search|web_search\w*"
)
_CALLS = (
    "additional_tools|(apply_patch|code_interpreter|computer|file_search|image_generation|local_shell|shell|tool_search|"
    "web_search)_call(_output)?|tool_search_output|program(_output)?"
)

REFUSED = {
    r"messages\.role=function": "it is the old form of tools",
    r"messages\.content\[file\]": "files are not kept",
    rf"{_CONTENT}\[input_file\]": "files are not kept",
    rf"{_CONTENT}\[input_image\]\.file_id": "files are not kept; send the image as image_url",
    r"messages\.tool_calls\[custom\]": "tools are functions, whose arguments have a schema",
    r"(tools|tool_choice)\[custom\]": "tools are functions, whose arguments have a schema",
    r"tools\[mcp\]\.(server_url|connector_id|authorization|headers|tunnel_id)": (
        "only servers of the mesh's own configuration are called"
    ),
    rf"(tools|tool_choice)\[({_TOOLS})\]": _HOSTED,
    r"items\[mcp_approval_response\]": "it is answered by POST /v1/responses, or it would reach nobody",
    r"(input|items)\[custom_tool_call(_output)?\]": "tools are functions, whose arguments have a schema",
    r"(input|items)\[compaction_trigger\]": "POST /v1/responses/compact does that",
    rf"(input|items)\[({_CALLS})\]": "it belongs to tools that OpenAI runs",
    r"DELETE models/\{\}": MODELS["delete"],
}
"""Paths, or a path and a value, that a request may not have."""

IGNORED = {
    r"messages\.(audio|function_call|refusal)": _TOLD_AGAIN,
    rf"{_ITEM}\.(id|status|caller|namespace|phase|name|arguments|server_label|tools|error)": _TOLD_AGAIN,
    rf"{_ITEM}\.(approval_request_id|encrypted_content)": _TOLD_AGAIN,
    rf"{_CONTENT}\[output_text\]\.(annotations|logprobs)": _TOLD_AGAIN,
    r"(.*\.)?prompt_cache_\w+": _CACHED,
    r"context_management": "what is too old is left out by itself",
    r"moderation": "there is no moderation model",
    r"personality": "models here have their own",
    r"reasoning\.(context|generate_summary|mode)": "what is thought comes whole, as the model's template has it",
    r"tools\[\w+\]\.(allowed_callers|defer_loading|output_schema)": "models are told of all tools, and call them",
}
"""Paths that mean nothing here."""

IN_VAIN = {
    r"(.*\.)?detail": "a model's own encoder says how closely it looks",
    r"\??include": "what is thought is not encrypted; other values are honoured",
    r"reasoning\.summary": "what is thought comes whole",
    r"service_tier": "there is one",
    r"(.*\.|\?)?include_obfuscation": "streams are not padded",
    r"(text\.)?verbosity": "models here do not know it",
}
"""Paths that are read, and that change nothing, or not with all of their values."""

UNDESCRIBED = {
    r"\?metadata": "read from the query as metadata[name]=value",
    r"\?include": "read from the query as include or include[]; what is thought is not encrypted",
}
"""Paths that are honoured, though the served document cannot say so, and how."""
