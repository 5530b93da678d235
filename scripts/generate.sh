#!/bin/sh
# Regenerates the code of the console's protocol with pinned generators.
set -eu
cd "$(dirname "$0")/.."
command -v protoc >/dev/null 2>&1 || {
	echo "generate: protoc is missing: apt-get install protobuf-compiler" >&2
	exit 1
}
bin=$(pwd)/bin/tools
GOBIN="$bin" go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
GOBIN="$bin" go install connectrpc.com/connect/cmd/protoc-gen-connect-go@v1.21.1
PATH="$bin:$PATH" protoc -I api \
	--go_out=api --go_opt=paths=source_relative \
	--connect-go_out=api --connect-go_opt=paths=source_relative \
	api/atoll/v1/console.proto
