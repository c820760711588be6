#!/bin/sh
# Runs every fuzz target of a build (preset `fuzz`) for so many seconds each, one after another, and
# prints its last line: runs, coverage. New inputs go to a folder beside the program, not to the corpus.
# usage: tests/fuzz/run.sh build/fuzz [seconds]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
build=$1
seconds=${2:-300}
for program in "$build"/tests/fuzz/*_fuzz; do
  name=$(basename "$program" _fuzz)
  found=$program.found
  mkdir -p "$found"
  dict=
  [ -f "$here/$name.dict" ] && dict=-dict=$here/$name.dict
  echo "$name: $seconds seconds"
  # shellcheck disable=SC2086
  nice -n "${NICE:-19}" "$program" -max_total_time="$seconds" -timeout=60 -rss_limit_mb=2048 -max_len=8192 \
    -artifact_prefix="$found/../$name-" $dict "$found" "$here/corpus/$name" 2> "$program.log" ||
    { tail -n 40 "$program.log"; exit 1; }
  grep -E 'DONE|Done' "$program.log" | tail -n 2
done
