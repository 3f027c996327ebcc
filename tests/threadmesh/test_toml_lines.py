"""Complaints about a TOML file name the line."""

from threadmesh.toml_lines import line_of


def test_lines_are_found_in_nested_tables_and_quoted_keys() -> None:
    text = '[a]\nx = 1\n[a.b]\n"y" = 2\n[[c]]\nz.w = 3\n'

    assert line_of(text, ("a", "x")) == 2
    assert line_of(text, ("a", "b", "y")) == 4
    assert line_of(text, ("c", "z", "w")) == 6
    assert line_of(text, ("a", "absent")) is None


def test_a_name_in_quotes_may_hold_a_dot() -> None:
    assert line_of('[models."qwen2.5"]\npath = "a"\n', ("models", "qwen2.5", "path")) == 2
