"""Small JSON Schemas of all kinds, and speakers of their grammars."""

import json
from random import Random
from typing import Any

from hypothesis import strategies as st

from inference_svc.domain.grammar_rules import Freedom
from inference_svc.domain.schema_grammar import SchemaGrammar
from tests.inference_svc.gbnf import Speaker

LEAVES = st.sampled_from(
    [
        {"type": "string"},
        {"type": "string", "maxLength": 4},
        {"type": "integer", "minimum": -3, "maximum": 40},
        {"type": "number"},
        {"type": "boolean"},
        {"enum": ["a", 'b"', 3]},
        {"const": {"k": "\\"}},
        {"type": ["null", "integer"]},
    ]
)


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = st.text(max_size=4)
    properties = st.dictionaries(names, inner, max_size=4)
    return st.one_of(
        st.builds(lambda items, least: {"type": "array", "items": items, "minItems": least}, inner, st.integers(0, 2)),
        st.builds(lambda parts: {"anyOf": parts}, st.lists(inner, min_size=1, max_size=3)),
        properties.flatmap(
            lambda found: st.builds(
                lambda required: {
                    "type": "object",
                    "properties": found,
                    "required": required,
                    "additionalProperties": False,
                },
                st.lists(st.sampled_from(sorted(found)), unique=True) if found else st.just([]),
            )
        ),
    )


def schemas() -> st.SearchStrategy[Any]:
    return st.recursive(LEAVES, nested, max_leaves=6)


def speaker(schema: Any, seed: int, *, freedom: Freedom | None = None) -> Speaker:
    grammar = SchemaGrammar(freedom=freedom or Freedom(depth=2))
    return Speaker(grammar.text(grammar.schema(json.dumps(schema), field="schema")), Random(seed))
