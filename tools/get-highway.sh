#!/usr/bin/env bash
# Fetches the sources of Highway (Debian's source package of a newer suite) into Sotto's cache and
# prints their folder. SOTTO_HIGHWAY_DIR names another tree to use instead.
set -euo pipefail
. "$(dirname "$0")/debian-apt.sh"

if [ -n "${SOTTO_HIGHWAY_DIR:-}" ]; then echo "$SOTTO_HIGHWAY_DIR"; exit; fi
newest() { ls -d "$SOTTO_CACHE"/highway-[0-9]* 2>/dev/null | sort -V | tail -n 1; }
mkdir -p "$SOTTO_CACHE"
exec 9>"$SOTTO_CACHE/highway.lock"
flock 9
if [ -n "$(newest)" ]; then newest; exit; fi

if ! is_debian; then
  echo "Unpack Highway 1.3 (github.com/google/highway) and set SOTTO_HIGHWAY_DIR to its folder." >&2
  exit 1
fi
cleanup() { rm -rf "${APT_DIR:-}"; }
trap cleanup EXIT
for suite in $SUITES; do
  say "Highway's sources from Debian $suite"
  private_apt "$suite"
  if (cd "$APT_DIR" && apt_do source --download-only highway >&2); then
    tarball=$(ls "$APT_DIR"/highway_*.orig.tar.*)
    mkdir "$APT_DIR/tree"
    tar -xf "$tarball" -C "$APT_DIR/tree" --strip-components=1
    version=$(basename "$tarball" | sed -E 's/highway_([0-9.]+)\.orig.*/\1/')
    mv -T "$APT_DIR/tree" "$SOTTO_CACHE/highway-$version"
    newest
    exit
  fi
  cleanup
done
echo "Highway's sources could not be fetched from Debian ($SUITES): is the network reachable?" >&2
exit 1
