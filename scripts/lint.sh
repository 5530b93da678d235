#!/bin/sh
# Runs the pinned linters over every module.
set -eu
cd "$(dirname "$0")/.."
bin=$(pwd)/bin/tools
[ -x "$bin/staticcheck" ] || {
	echo "lint: building staticcheck (about a minute)" >&2
	GOBIN="$bin" go install honnef.co/go/tools/cmd/staticcheck@v0.8.2
}
for module in . server e2e; do
	(cd "$module" && "$bin/staticcheck" ./...)
done
