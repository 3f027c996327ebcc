import subprocess
import sys

import pytest

from tests.cli.conftest import CommandLine

COMMANDS = [
    ["up"],
    ["down"],
    ["status"],
    ["chat"],
    ["mcp"],
    ["tools", "list"],
    ["tools", "call"],
    ["tools", "approve"],
    ["tasks", "list"],
    ["tasks", "cancel"],
    ["worker"],
    ["tools", "resources"],
    ["tools", "read"],
    ["tools", "prompts"],
    ["tools", "prompt"],
    ["calls", "list"],
    ["calls", "approve"],
    ["calls", "deny"],
    ["calls", "resolve"],
    ["calls", "answer"],
    ["threads", "list"],
    ["threads", "show"],
    ["threads", "export"],
    ["threads", "import"],
    ["threads", "prune"],
    ["threads", "delete"],
    ["keys", "create"],
    ["keys", "list"],
    ["keys", "revoke"],
    ["certs", "create"],
    ["certs", "show"],
    ["doctor"],
    ["version"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself_with_an_example(threadmesh: CommandLine, command: list[str]) -> None:
    ran = threadmesh(*command, "--help")

    assert ran.status == 0
    assert "Example" in ran.out
    assert f"threadmesh {' '.join(command)}" in ran.out


def test_the_help_lists_every_command_and_the_exit_statuses(threadmesh: CommandLine) -> None:
    ran = threadmesh("--help")

    assert ran.status == 0
    assert all(command[0] in ran.out for command in COMMANDS)
    assert "78 wrong configuration" in " ".join(ran.out.split())


def test_the_version_is_told(threadmesh: CommandLine) -> None:
    assert threadmesh("version").out.startswith("threadmesh 0.")


@pytest.mark.parametrize("words", [["fly"], ["up", "--port", "many"], ["threads", "show"], ["up", "--colour"]])
def test_wrong_usage_ends_with_2(threadmesh: CommandLine, words: list[str]) -> None:
    assert threadmesh(*words).status == 2


def test_help_does_not_wait_for_heavy_libraries() -> None:
    code = "import sys, threadmesh.cli.app; print({'grpc', 'httpx2', 'pydantic'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ran.stdout.strip() == "set()"
