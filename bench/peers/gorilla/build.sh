#!/bin/sh
# Builds the gorilla/websocket peer from Debian's packages alone: no module download, the versions are the
# distribution's. Installs the two packages when they are missing and we may; else says what to install.
#
# usage: build.sh OUTPUT
set -eu

output=${1:?usage: build.sh OUTPUT}
source_dir=$(dirname "$0")
library=/usr/share/gocode/src/github.com/gorilla/websocket
packages="golang-go golang-github-gorilla-websocket-dev"

if ! command -v go >/dev/null 2>&1 || [ ! -d "$library" ]; then
    if [ "$(id -u)" -ne 0 ]; then
        echo "The gorilla/websocket peer needs: sudo apt-get install --no-install-recommends $packages" >&2
        exit 1
    fi
    apt-get update -qq
    # shellcheck disable=SC2086 # two package names, to be split
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages
fi

mkdir -p "$(dirname "$output")"
GO111MODULE=off GOPATH=/usr/share/gocode go build -o "$output" "$source_dir/main.go"
