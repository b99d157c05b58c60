#!/usr/bin/env bash
# Real browsers call each other through vizard; see README.md beside this file.
#   tests/browsers/run.sh [FILTER]     e.g. chromium-firefox-udp
# Environment: VIZARD_BIN (default: target/release/vizard, built first), KEEP=1 keeps the captures.
set -uo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
prefix="vz$$"
LIMIT=540

skip() {
  echo "browser calls NOT run: $1" >&2
  echo "0 passed, 0 failed, 1 skipped"
  exit 0
}

[ "$(id -u)" = 0 ] || skip "network namespaces need root"
for tool in ip nft sysctl tcpdump node chromium firefox-esr timeout; do
  command -v "$tool" >/dev/null || skip "$tool is not installed"
done
ip netns add "$prefix-probe" 2>/dev/null || skip "network namespaces are not available"
directory=$(mktemp -d "/tmp/$prefix.XXXXXX")

# Every process in these namespaces was started by this run: their names are its own.
cleanup() {
  [ -z "${matrix:-}" ] || kill -TERM "$matrix" 2>/dev/null
  for name in $(ip netns list | awk '{print $1}' | grep "^$prefix-"); do
    ip netns pids "$name" | xargs -r kill -KILL 2>/dev/null
    ip netns delete "$name"
  done
  if [ "${KEEP:-0}" = 1 ]; then echo "kept: $directory" >&2; else rm -rf "$directory"; fi
}
trap cleanup EXIT
trap 'exit 130' INT TERM

binary=${VIZARD_BIN:-$root/target/release/vizard}
if [ -z "${VIZARD_BIN:-}" ]; then
  (cd "$root" && cargo build --quiet --release --locked --bin vizard) || exit 1
fi
[ -x "$binary" ] || { echo "no vizard at $binary" >&2; exit 1; }

timeout --signal=TERM --kill-after=10 "$LIMIT" \
  node "$here/matrix.mjs" "$prefix" "$directory" "$binary" "${1:-}" &
matrix=$!
wait "$matrix"
status=$?
matrix=
if [ "$status" -ge 124 ]; then
  echo "stopped: not finished within $LIMIT s" >&2
  echo "0 passed, 1 failed"
fi
[ "$status" = 0 ]
