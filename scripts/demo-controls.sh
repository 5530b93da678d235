#!/bin/sh
# Runs every negative control RUNS times: each must end in verdict "fail" with
# exit status 1, for a reason of its own.
set -eu
cd "$(dirname "$0")/.."
runs=${RUNS:-5}
seconds=${DEMO_SECONDS:-40}
rate=${DEMO_RATE:-150}
dir=${DEMO_DIR:-.atoll/controls}
base=${DEMO_PORT_BASE:-7000}
report=$(mktemp)
trap 'rm -f "$report"' EXIT

bad=0
control() {
	name=$1
	reasons=$2
	units=${3:-2}
	n=1
	while [ "$n" -le "$runs" ]; do
		status=0
		: >"$report"
		bin/atoll sandbox demo --dir "$dir" --port-base "$base" --seconds "$seconds" --rate "$rate" \
			--units "$units" --break "$name" --report "$report" >/dev/null 2>&1 || status=$?
		reason=$(sed -n 's/^  "reason": "\(.*\)",$/\1/p' "$report")
		if [ "$status" = 1 ] && printf '%s' "$reason" | grep -Eq "$reasons"; then
			printf '%-13s run %d  fails as it must: %s\n' "$name" "$n" "$reason"
		else
			printf '%-13s run %d  NOT CAUGHT (exit status %s): %s\n' "$name" "$n" "$status" "$reason"
			bad=$((bad + 1))
		fi
		n=$((n + 1))
	done
}

control no-fence 'owner violations'
control no-barrier 'stale reads|orders lost'
control drop-row '1 rows different'
control no-route 'stale reads|refused'
control no-loop-guard 'rows came back'
control no-in-band 'was done while lane' 3

[ "$bad" = 0 ] || {
	echo "demo-controls: $bad runs were not caught" >&2
	exit 1
}
