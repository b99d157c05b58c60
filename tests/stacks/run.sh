#!/usr/bin/env bash
# Client stacks that are no browsers call each other through vizard; see README.md beside this file.
#   tests/stacks/run.sh [smoke|soak] [FILTER]     e.g. smoke aiortc-werift
# Environment: VIZARD_BIN (default: target/release/vizard, built first), KEEP=1 keeps captures and
# logs, VIZARD_SOAK_SECONDS (default 660).
set -uo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
. "$root/tests/packages.sh"
home=$root/target/stacks
prefix="vs$$"
run=${1:-smoke}
limit=240
[ "$run" = smoke ] || limit=$((${VIZARD_SOAK_SECONDS:-660} + 120))

skip() {
  echo "client stacks NOT run: $1" >&2
  echo "0 passed, 0 failed, 1 skipped"
  exit 0
}

give_up() {
  echo "$1" >&2
  echo "0 passed, 1 failed"
  exit 1
}

[ "$(id -u)" = 0 ] || skip "network namespaces need root"
for tool in ip nft sysctl tcpdump node npm python3 timeout; do
  command -v "$tool" >/dev/null || skip "$tool is not installed"
done
ip netns add "$prefix-probe" 2>/dev/null || skip "network namespaces are not available"
directory=$(mktemp -d "/tmp/$prefix.XXXXXX")

# Every process in these namespaces was started by this run: their names are its own.
cleanup() {
  [ -z "${play:-}" ] || kill -TERM "$play" 2>/dev/null
  for name in $(ip netns list | awk '{print $1}' | grep "^$prefix-"); do
    ip netns pids "$name" | xargs -r kill -KILL 2>/dev/null
    ip netns delete "$name"
  done
  if [ "${KEEP:-0}" = 1 ]; then echo "kept: $directory" >&2; else rm -rf "$directory"; fi
}
trap cleanup EXIT
trap 'exit 130' INT TERM

once python_packages requirements.txt "$here" "$home" || give_up "aiortc and aioice can't be installed"
once node_packages package-lock.json "$here" "$home" || give_up "werift can't be installed"
export STACKS_PYTHON=$home/python/bin/python STACKS_MODULES=$home/node STACKS_WITHOUT=
export PYTHONDONTWRITEBYTECODE=1
# Its binary is a package of its own, for common systems only.
if ! (cd "$home/node" && node -e 'require("node-datachannel")') 2>/dev/null; then
  echo "libdatachannel NOT run: node-datachannel has no binary for this machine" >&2
  STACKS_WITHOUT=libdatachannel
fi

binary=${VIZARD_BIN:-$root/target/release/vizard}
if [ -z "${VIZARD_BIN:-}" ]; then
  (cd "$root" && cargo build --quiet --release --locked --bin vizard) || give_up "vizard can't be built"
fi
[ -x "$binary" ] || give_up "no vizard at $binary"

timeout --signal=TERM --kill-after=10 "$limit" \
  node "$here/$run.mjs" "$prefix" "$directory" "$binary" "${2:-}" &
play=$!
wait "$play"
status=$?
play=
[ "$status" -lt 124 ] || give_up "stopped: not finished within $limit s"
[ "$status" = 0 ]
