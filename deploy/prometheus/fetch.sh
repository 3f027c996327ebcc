#!/bin/sh
# Puts promtool at FOLDER/usr/bin/promtool (default: .build/prometheus), out of Debian's package. Nothing is installed or
# started. A promtool that is installed already is only linked.
set -eu
folder=${1:-"$(dirname "$0")/../../.build/prometheus"}
mkdir -p "$folder"
cd "$folder"
mkdir -p usr/bin
if installed=$(command -v promtool); then
    ln -sf "$installed" usr/bin/promtool
    exit 0
fi
apt-get download -qq prometheus || { apt-get update -qq && apt-get download -qq prometheus; }
dpkg -x prometheus_*.deb .
rm prometheus_*.deb
