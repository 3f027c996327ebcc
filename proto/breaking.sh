#!/bin/sh
# Compares the protos with those of the latest release (a tag such as v0.1.0): what was published stays compatible.
set -eu
cd "$(dirname "$0")/.."
release=$(git describe --tags --abbrev=0 --match 'v*' 2>/dev/null || true)
if [ -z "$release" ]; then
    echo "buf breaking: nothing is released yet, so there is nothing to compare with"
    exit 0
fi
base=.build/release
rm -rf "$base"
mkdir -p "$base"
git archive "$release" proto | tar -x -C "$base"
"$BIN/python" proto/generate.py --descriptors-only --source "$base/proto" --build "$base"
"$BIN/buf" breaking .build/threadmesh.binpb --against "$base/threadmesh.binpb"
