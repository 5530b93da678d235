#!/bin/sh
# Installs what Atoll runs against: Debian packages, no service started.
# Silent when nothing is missing.
set -eu

want="mariadb-server redis-server"

have() {
	PATH="$PATH:/usr/sbin:/sbin:/usr/local/sbin" command -v "$1" >/dev/null 2>&1
}

missing=""
have mariadbd && have mariadb-install-db || missing="$missing mariadb-server"
have redis-server || missing="$missing redis-server"
if [ -n "$missing" ]; then
	if ! have apt-get; then
		echo "setup: missing:$missing; install MariaDB 10.11 and Redis 7 so that mariadbd, mariadb-install-db and redis-server are on the PATH" >&2
		exit 1
	fi
	if [ "$(id -u)" != 0 ]; then
		echo "setup: missing:$missing; run this and then make again:" >&2
		echo "  sudo sh -c 'apt-get update && apt-get install -y --no-install-recommends $want'" >&2
		exit 1
	fi
	echo "setup: installing$missing" >&2
	# A policy of our own keeps the packages from starting their services; a
	# policy that stands already is left as it is.
	policy=/usr/sbin/policy-rc.d
	ours=""
	if [ ! -e "$policy" ]; then
		printf '#!/bin/sh\nexit 101\n' >"$policy"
		chmod 755 "$policy"
		ours=yes
	fi
	log=$(mktemp)
	status=0
	{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $want; } >"$log" 2>&1 || status=$?
	[ -z "$ours" ] || rm -f "$policy"
	if [ "$status" != 0 ]; then
		tail -n 20 "$log" >&2
		echo "setup: apt-get failed (the whole output is in $log)" >&2
		exit 1
	fi
	rm -f "$log"
fi

if ! have go; then
	echo "setup: go is missing: install Go 1.26 or later" >&2
	exit 1
fi
