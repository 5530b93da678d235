#!/bin/sh
# Runs the pinned lint set (.golangci.yml) over every module. Arguments go to
# golangci-lint: scripts/lint.sh --fix.
set -eu
cd "$(dirname "$0")/.."
version=v2.15.0
# One folder per version and Go: a linter reads only what its own Go writes.
tools=$(pwd)/bin/tools
linter=$tools/$version-$(go env GOVERSION)/golangci-lint
[ -x "$linter" ] || {
	echo "lint: building golangci-lint $version (some minutes, once)" >&2
	GOBIN=$(dirname "$linter") go install "github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$version"
}
GOLANGCI_LINT_CACHE=$tools/cache exec "$linter" run "$@" ./... ./server/... ./e2e/...
