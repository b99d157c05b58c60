#!/usr/bin/env bash
# fuzz/run.sh SECONDS [TARGET...]: that long on each target (all four without a name). What was
# found stays in fuzz/artifacts, the exit code is 1 then. The corpora are text, one input a line in
# hexadecimal; with LEARN=1 they take up what is new, and are made as small as they can be.
#
# It needs a C++ compiler for libFuzzer, but neither cargo-fuzz nor a nightly toolchain: the
# instrumentation is the compiler's own. There is no address sanitizer, since neither the core nor
# these targets have a line of unsafe code. `cargo fuzz run` works as well where it is installed.
set -euo pipefail
cd "$(dirname "$0")"

seconds=${1:?usage: fuzz/run.sh SECONDS [TARGET...]}
shift
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(message frames relay noninterference)

host=$(rustc -vV | sed -n 's/^host: //p')
export RUSTFLAGS="--cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module
  -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
  -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
# With a target named, build scripts and macros are spared the instrumentation.
${CARGO:-cargo} build --release --target "$host"

# expand TEXT FOLDER: each line of the text becomes a file.
expand() {
  rm -rf "$2" && mkdir -p "$2"
  perl -ne 'BEGIN { $to = shift } chomp; open my $file, ">:raw", "$to/$." or die; print $file pack "H*", $_' "$2" <"$1"
}

# as_text FILE...: each file becomes a line.
as_text() {
  local file
  for file; do
    od -An -v -tx1 "$file" | tr -d ' \n'
    echo
  done
}

passed=0
failed=0
for target in "${targets[@]}"; do
  mkdir -p "artifacts/$target" "target/found/$target"
  expand "corpus/$target.hex" "target/corpus/$target"
  echo "=== $target, $seconds s"
  if "target/$host/release/$target" -max_total_time="$seconds" -max_len=1024 -timeout=20 \
    -print_final_stats=1 -verbosity=0 -artifact_prefix="artifacts/$target/" \
    "target/found/$target" "target/corpus/$target" 2>&1 | sed '/#.*Recommended/,/#.*End of/d'; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
  fi
  if [ "${LEARN:-0}" = 1 ]; then
    mkdir -p "target/smaller/$target"
    rm -f "target/smaller/$target"/*
    "target/$host/release/$target" -set_cover_merge=1 -max_len=1024 "target/smaller/$target" \
      "target/corpus/$target" "target/found/$target" >/dev/null 2>&1
    # Two hundred of them at most, of all sizes: a start, not an archive.
    mapfile -t files < <(ls -Sr "target/smaller/$target")
    step=$(((${#files[@]} + 199) / 200))
    for ((index = 0; index < ${#files[@]}; index += step)); do
      as_text "target/smaller/$target/${files[index]}"
    done | sort >"corpus/$target.hex"
  fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
