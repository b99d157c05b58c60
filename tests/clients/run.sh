#!/usr/bin/env bash
# What a backend developer gets: clients generated from docs/openapi.json, the README's own examples,
# and the API against requests made up from its description (schemathesis, four seeds).
# Environment: VIZARD_BIN (default: target/release/vizard, built first), KEEP=1 keeps what was made.
set -uo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
. "$root/tests/packages.sh"
home=$root/target/clients
passed=0
failed=0

finish() {
  echo "$passed passed, $failed failed"
  [ "$failed" = 0 ] && exit 0
  exit 1
}

give_up() {
  echo "$1" >&2
  failed=$((failed + 1))
  finish
}

for tool in node npm python3 timeout; do
  command -v "$tool" >/dev/null || { echo "clients NOT run: $tool is not installed" >&2; finish; }
done

once python_packages requirements.txt "$here" "$home" || give_up "openapi-python-client and schemathesis can't be installed"
once node_packages package-lock.json "$here" "$home" || give_up "openapi-typescript and typescript can't be installed"
export PYTHONDONTWRITEBYTECODE=1 PATH="$home/python/bin:$PATH"

binary=${VIZARD_BIN:-$root/target/release/vizard}
if [ -z "${VIZARD_BIN:-}" ]; then
  (cd "$root" && cargo build --quiet --release --locked --bin vizard) || give_up "vizard can't be built"
fi

directory=$(mktemp -d /tmp/vc.XXXXXX)
cleanup() {
  [ -z "${node:-}" ] || { kill -TERM "$node" 2>/dev/null; wait "$node"; }
  if [ "${KEEP:-0}" = 1 ]; then echo "kept: $directory" >&2; else rm -rf "$directory"; fi
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# Counts a step; what it says is shown if it fails.
step() {
  local name=$1
  shift
  if timeout 120 "$@" >"$directory/said" 2>&1; then
    passed=$((passed + 1))
    echo "ok $name"
  else
    failed=$((failed + 1))
    echo "FAILED $name"
    tail -n 60 "$directory/said"
  fi
}

# The README's examples, as they stand there.
example() {
  awk -v fence="\`\`\`$1" '/^### From a backend/ { here = 1 } here && $0 == fence { on = 1; next }
    /^```$/ && on { exit } on' "$root/README.md"
}

cat >"$directory/vizard.toml" <<'T'
[relay]
udp = ["127.0.0.1:0"]
tcp = ["127.0.0.1:0"]
workers = 1
[control]
listen = "127.0.0.1:0"
T
VIZARD_STATE_DIR=$directory/state "$binary" serve --config "$directory/vizard.toml" \
  >"$directory/out" 2>"$directory/err" &
node=$!
for _ in $(seq 100); do
  grep -q "API key" "$directory/out" && break
  sleep 0.1
done
VIZARD_API=$(sed -nE 's/^listening: .*; API (.*)/\1/p' "$directory/out")
VIZARD_API_KEY=$(cat "$directory/state/api.key")
export VIZARD_API VIZARD_API_KEY
[ -n "$VIZARD_API" ] || give_up "vizard did not start: $(cat "$directory/err")"

mkdir "$directory/typescript"
cp "$here/check.ts" "$here/tsconfig.json" "$directory/typescript"
step "a TypeScript client is generated" node "$home/node/node_modules/openapi-typescript/bin/cli.js" \
  "$root/docs/openapi.json" -o "$directory/typescript/api.ts"
step "it compiles with tsc --strict" node "$home/node/node_modules/typescript/bin/tsc" -p "$directory/typescript"
step "a Python client is generated" openapi-python-client generate --path "$root/docs/openapi.json" \
  --output-path "$directory/client" --meta none
cp "$here/check.py" "$directory"
step "it holds a call" python "$directory/check.py"

example js >"$directory/example.mjs"
example python >"$directory/example.py"
for file in "$directory/example.mjs" "$directory/example.py"; do
  [ "$(wc -l <"$file")" -ge 10 ] || give_up "the README has no example for ${file##*.}"
done
step "the README's Node example runs" node "$directory/example.mjs"
step "the README's Python example runs" python "$directory/example.py"

# Draining is left out: after it no call is opened.
for seed in 1 2 3 4; do
  step "made-up requests, seed $seed" env -C "$directory" st run "$root/docs/openapi.json" --url "$VIZARD_API" \
    --header "Authorization: Bearer $VIZARD_API_KEY" --exclude-path /v1/node/drain --seed "$seed" \
    --max-examples 20 --phases examples,coverage,fuzzing \
    --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance
done
step "the node has no error in its log" sh -c "! grep -E ' ERROR |panicked' '$directory/err'"
finish
