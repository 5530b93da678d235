#!/bin/sh
# Runs every negative control RUNS times: each must end in verdict "fail" with
# exit status 1, for a reason of its own. Those of the demo are found by the
# auditor, those of chaos by the history checker. Arguments name the controls
# to run; without any all are run.
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
wanted=" $* "
control() {
	run=$1
	name=$2
	reasons=$3
	units=${4:-2}
	case $wanted in
	"  " | *" $name "*) ;;
	*) return 0 ;;
	esac
	n=1
	while [ "$n" -le "$runs" ]; do
		status=0
		: >"$report"
		bin/atoll sandbox "$run" --dir "$dir" --port-base "$base" --seconds "$seconds" --rate "$rate" \
			--units "$units" --break "$name" --report "$report" >/dev/null 2>&1 || status=$?
		reason=$(sed -n 's/^  "reason": "\(.*\)",$/\1/p' "$report")
		if [ "$status" = 1 ] && printf '%s' "$reason" | grep -Eq "$reasons"; then
			printf '%-16s run %d  fails as it must: %s\n' "$name" "$n" "$reason"
		else
			printf '%-16s run %d  NOT CAUGHT (exit status %s): %s\n' "$name" "$n" "$status" "$reason"
			bad=$((bad + 1))
		fi
		n=$((n + 1))
	done
}

control demo no-fence 'owner violations'
control demo no-barrier 'stale reads|orders lost'
control demo drop-row '1 rows different'
control demo no-route 'stale reads|refused'
control demo no-loop-guard 'rows came back'
control demo no-in-band 'orders lost.*rows parked by lanes' 3
control chaos ok-without-write 'lost update [0-9]'
control chaos write-twice 'doubled effect [0-9]'
control chaos stale-read 'stale read [0-9]'
control chaos reorder 'reordered effect [0-9]'

[ "$bad" = 0 ] || {
	echo "demo-controls: $bad runs were not caught" >&2
	exit 1
}
