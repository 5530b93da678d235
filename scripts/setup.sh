#!/bin/sh
# Installs what Atoll runs against: Debian packages, of which no service is
# started, now or when the machine starts. Silent when nothing is missing.
#
#	setup.sh            looks for Go too, as make does
#	setup.sh packages   the packages alone, as root
set -eu
cd "$(dirname "$0")/.."
root=${DPKG_ROOT:-} # as in Debian's own scripts; tests set it
PATH="$PATH:$root/usr/local/sbin:$root/usr/sbin:$root/sbin" # a user's PATH may lack these
script=$(pwd)/scripts/setup.sh
go=${GO:-go}
policy=$root/usr/sbin/policy-rc.d
mark="# Atoll's scripts/setup.sh installs"
packages="mariadb-server redis-server"

have() { command -v "$1" >/dev/null 2>&1; }

fail() {
	echo "setup: $*" >&2
	exit 1
}

# check_go comes before anything is installed. In this directory Go 1.21 and
# later answer for the toolchain that they would fetch.
check_go() {
	want=$(sed -n 's/^go 1\.\([0-9]*\).*/\1/p' go.mod)
	have "$go" || fail "$go is not on the PATH: install Go 1.$want or later (https://go.dev/dl)"
	version=$("$go" env GOVERSION 2>/dev/null || (cd / && "$go" env GOVERSION)) || version="no Go that runs"
	minor=${version#go1.}
	minor=${minor%%[!0-9]*}
	if [ "$version" = "no Go that runs" ] || { [ -n "$minor" ] && [ "$minor" -lt "$want" ]; }; then
		fail "$go is $version: install Go 1.$want or later (https://go.dev/dl)"
	fi
}

ours() { [ -f "$policy" ] && grep -qF "$mark" "$policy"; }

# begun: a run that was cut short was about to install this package.
begun() { ours && grep -F "$mark" "$policy" | grep -q " $1"; }

known() { dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null || true; }

# lacking lists the packages to install. Their files are there before dpkg is
# done with them, so an installation cut short counts as none.
lacking() {
	list=""
	if have mariadbd && have mariadb-install-db; then :; else list="$list mariadb-server"; fi
	have redis-server || list="$list redis-server"
	for package in $packages; do
		case "$list " in *" $package "*) continue ;; esac
		case $(known "$package") in
		unpacked | half-*) list="$list $package" ;;
		*) if begun "$package"; then list="$list $package"; fi ;;
		esac
	done
	echo "$list"
}

ask_root() {
	if have sudo; then
		line="sudo sh '$script' packages"
	else
		line="su -c \"sh '$script' packages\""
	fi
	fail "missing:$missing: run this, which starts no service, and then make again: $line"
}

# forbid_starts puts a policy in place under which no package starts a service
# while ATOLL_SETUP is set, as it is for our apt-get alone: one that outlives us
# hinders nobody, and tells the next run that this one was cut short. A policy
# of the machine's own stays as it is.
forbid_starts() {
	export ATOLL_SETUP=1
	if [ -e "$policy" ] && ! ours; then
		return
	fi
	printf '#!/bin/sh\n%s%s\n[ -z "${ATOLL_SETUP:-}" ] || exit 101\n' "$mark" "$missing" >"$policy.atoll"
	chmod 755 "$policy.atoll"
	mv "$policy.atoll" "$policy"
}

# allow_starts removes our policy, unless packages stand there half done: the
# next run must know that we brought them.
allow_starts() {
	ours || return 0
	if [ "$status" != 0 ]; then
		[ -z "$(dpkg --audit)" ] || return 0
		for package in $fresh; do
			[ "$(known "$package")" != installed ] || return 0
		done
	fi
	rm -f "$policy"
}

# disable keeps the services that we brought from the machine's next start.
disable() {
	for package in $fresh; do
		case $package in mariadb-server) service=mariadb ;; *) service=$package ;; esac
		if have systemctl; then
			systemctl --root=/ --quiet disable "$service.service" || return 1
		fi
		update-rc.d "$service" disable || return 1
	done
}

fetch() {
	dpkg --configure -a || true # after a run cut short; what this leaves, -f mends
	apt-get update -qq &&
		apt-get install -f -y -qq -o DPkg::Lock::Timeout=120 --no-install-recommends $missing &&
		disable
}

bring() {
	echo "setup: installing$missing" >&2
	fresh=""
	for package in $missing; do
		case $(known "$package") in
		"" | not-installed | config-files) fresh="$fresh $package" ;;
		*) if begun "$package"; then fresh="$fresh $package"; fi ;;
		esac
	done
	log=$(mktemp)
	status=1
	trap 'exit 1' INT TERM HUP # once apt-get has ended
	trap allow_starts EXIT
	forbid_starts
	export DEBIAN_FRONTEND=noninteractive
	fetch >"$log" 2>&1 </dev/null && status=0
	if [ "$status" != 0 ]; then
		tail -n 5 "$log" >&2
		fail "apt-get failed (the whole output is in $log)"
	fi
	rm -f "$log"
}

case ${1:-} in
"") check_go ;;
packages) ;;
*) fail "unknown argument $1: want none, or packages" ;;
esac
missing=$(lacking)
[ -n "$missing" ] || exit 0
have apt-get || fail "missing:$missing; install MariaDB 10.11 and Redis 7 so that mariadbd, mariadb-install-db and redis-server are on the PATH"
[ "$(id -u)" = 0 ] || ask_root
bring
