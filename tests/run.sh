#!/usr/bin/env bash
# Runs all stages, or those named as arguments, and ends with the closing line of each and their
# sum. A stage that fails does not stop the others. Exit code 1 if anything failed.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

logs=target/test-logs
mkdir -p "$logs"
wanted=("$@")
closing=()
passed=0
failed=0

packages=(chromium firefox-esr coturn tcpdump nftables iproute2 procps util-linux)
command -v node >/dev/null || packages+=(nodejs)
command -v npm >/dev/null || packages+=(npm)
python3 -c 'import venv, ensurepip' 2>/dev/null || packages+=(python3 python3-venv)

as_root() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi; }

install_needs() {
  local missing=()
  for package in "${packages[@]}"; do
    dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package")
  done
  if [ ${#missing[@]} -gt 0 ]; then
    # coturn's package would start a server on the port that the tests use.
    as_root apt-get update -qq &&
      as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
        apt-get install -y -qq --no-install-recommends "${missing[@]}" || return 1
  fi
  command -v cargo-deny >/dev/null || cargo install cargo-deny --locked || return 1
  cargo fetch --locked
}

deny() {
  cargo deny --locked check licenses bans sources || return 1
  if ! cargo deny --locked fetch db >/dev/null 2>&1; then
    echo "advisories NOT checked: the advisory database can't be reached"
    return 0
  fi
  cargo deny --locked check --disable-fetch advisories
}

# Without a TTY cargo prints no progress; the numbers are for reading, not for judging.
benches() { cargo bench --locked --workspace --bench '*' -- --quick --noplot; }

documentation() { RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps; }

# "P F" for a stage's log: what its runner counted, or one for the stage itself.
tally() {
  local log=$1 status=$2 counts
  counts=$(sed -nE 's/^test result: .* ([0-9]+) passed; ([0-9]+) failed;.*/\1 \2/p;
                    s/^([0-9]+) passed, ([0-9]+) failed.*/\1 \2/p' "$log" |
    awk '{ p += $1; f += $2 } END { if (NR) print p, f }')
  if [ -z "$counts" ]; then
    counts=$([ "$status" -eq 0 ] && echo "1 0" || echo "0 1")
  elif [ "$status" -ne 0 ] && [ "${counts#* }" -eq 0 ]; then
    counts="${counts% *} 1"
  fi
  echo "$counts"
}

stage() {
  local name=$1 log="$logs/$1.log" start=$SECONDS status p f
  shift
  if [ ${#wanted[@]} -gt 0 ] && [[ " ${wanted[*]} " != *" $name "* ]]; then return; fi
  echo "=== $name"
  "$@" 2>&1 | tee "$log"
  status=${PIPESTATUS[0]}
  read -r p f <<<"$(tally "$log" "$status")"
  passed=$((passed + p))
  failed=$((failed + f))
  local line
  line=$(printf '%-10s %s passed, %s failed (%d s)' "$name:" "$p" "$f" $((SECONDS - start)))
  if grep -q "NOT checked\|NOT run\|SKIPPED" "$log"; then line+="; $(grep -m1 'NOT checked\|NOT run\|SKIPPED' "$log")"; fi
  echo "$line"
  closing+=("$line")
}

stage install install_needs
stage format cargo fmt --all --check
stage clippy cargo clippy --locked --workspace --all-targets -- -D warnings
stage docs documentation
stage deny deny
stage tests cargo test --locked --workspace --no-fail-fast
stage benches benches
stage release cargo build --locked --release
stage clients tests/clients/run.sh
stage stacks tests/stacks/run.sh
stage browsers tests/browsers/run.sh

echo
printf '%s\n' "${closing[@]}"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
