import pytest

from tools_svc.adapters.written_secrets import address_holds_secret, arguments_with_secrets, holds_secret


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("KEY", "sk-abcdef1234567890"),
        ("KEY", "hunter2"),
        ("GH_PAT", "ghp_0123456789abcdef"),
        ("ghPat", "hunter2"),
        ("X-Auth", "Bearer hunter2"),
        ("X-Anything", "Bearer hunter2hunter"),
        ("ANYTHING", "github_pat_0123456789"),
        ("ANYTHING", "xoxb-0123456789-abc"),
        ("ANYTHING", "AKIAIOSFODNN7EXAMPLE"),
        ("ANYTHING", "AIzaSyA0123456789012345678901234567890"),
        ("ANYTHING", "glpat-0123456789abcdefghij"),
        ("ANYTHING", "--flag=sk-abcdef1234567890"),
        ("GITHUB_TOKEN", "hunter2"),
        ("GITHUB_TOKEN", "hunter"),
        ("GITHUB_TOKEN", "ghp_literal${env:HOME}"),
        ("GITHUB_TOKEN", "hunter${env:HOME}"),
        ("GITHUB_TOKEN", "${env:HOME}hunter"),
        ("GITHUB_TOKEN", "hunter2 ${env:HOME}"),
        ("PASSWORD", "123456"),
        ("DB_PASSWORD", "true"),
        ("DATABASE_URL", "postgres://me:hunter2@db.example/tools"),
        ("DATABASE_URL", "postgres://me:hunter2${env:HOME}@db.example/tools"),
        ("ENDPOINT", "https://tools.example/?token=hunter2"),
        ("ENDPOINT", "https://tools.example/?a=1&api_key=hunter2"),
    ],
)
def test_a_secret_is_found_by_its_name_or_its_look(name: str, text: str) -> None:
    assert holds_secret(name, text)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("GITHUB_TOKEN", ""),
        ("GITHUB_TOKEN", "${env:GITHUB_TOKEN}"),
        ("Authorization", "Bearer ${env:A_TOKEN}"),
        ("Authorization", "Basic ${file:/run/secrets/basic}"),
        ("Cookie", "session=${env:SESSION}; Path=/"),
        ("DATABASE_URL", "postgres://me:${env:PASSWORD}@db1.example:5432/tools"),
        ("DATABASE_URL", "postgres://me@db.example/tools"),
        ("ENDPOINT", "https://tools.example/?token=${env:TOKEN}&page=2"),
        ("ENDPOINT", "https://tools.example/?sort_key=name&max_tokens=100"),
        ("MAX_TOKENS", "4096"),
        ("TOKEN_LIMIT", "4k"),
        ("TOKENIZER", "cl100k_base"),
        ("TOKENIZERS_PARALLELISM", "false"),
        ("SORT_KEY", "created_at"),
        ("AUTH_TYPE", "oauth2"),
        ("AUTH", "oauth"),
        ("TOKEN_FILE", "/run/secrets/token1"),
        ("GOOGLE_APPLICATION_CREDENTIALS", "/etc/google/key-1.json"),
        ("SSH_KEY", "~/.ssh/id_ed25519"),
        ("KEYBOARD", "qwertz1"),
        ("MONKEY", "hunter2"),
        ("PATH", "/usr/bin:/bin"),
        ("PATTERN", "a1.*"),
        ("X-Version", "2026-07-28"),
        ("LANGUAGE", "sk-SK"),
        ("TOPIC", "the bearer of good news"),
    ],
)
def test_what_is_no_secret_passes(name: str, text: str) -> None:
    assert not holds_secret(name, text)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--token=hunter2"],
        ["--api-key", "hunter2"],
        ["-e", "API_KEY=hunter2"],
        ["--header", "Authorization: Bearer hunter2"],
        ["--header", "X-Auth:hunter2"],
        ["ghp_0123456789abcdef"],
        ["postgres://me:hunter2@db.example/tools"],
        ["https://tools.example/mcp?key=hunter2"],
    ],
)
def test_secrets_among_arguments_are_found(arguments: list[str]) -> None:
    assert list(arguments_with_secrets(["-y", "server", *arguments])) == [1 + len(arguments)]


def test_harmless_arguments_pass() -> None:
    harmless = [
        *("-y", "@scope/server@1.2.3", "--token-file=/run/secrets/token", "--token-limit", "4096", "--auth", "none"),
        *("-e", "GITHUB_TOKEN", "--header", "Authorization: Bearer ${AUTH_TOKEN}", "--header", "X-Key:$KEY"),
        *("/srv/files", "postgres://localhost/db", "https://tools.example/mcp?page=2", "--secret", "--verbose"),
        *("-c", "import time; token = time.time()", "--port=8080", "C:\\tools", "--monkey=hunter2"),
    ]

    assert list(arguments_with_secrets(harmless)) == []


def test_only_an_address_is_looked_at_for_parameters() -> None:
    assert address_holds_secret("https://tools.example/?token=hunter2")
    assert not address_holds_secret("what?token=hunter2")
