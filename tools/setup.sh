#!/usr/bin/env bash
# Installs what a build needs and is missing: Debian packages (as root), Emscripten and Highway into
# Sotto's cache, npm packages into node_modules. One line a step; what is there costs nothing.
#   tools/setup.sh          all of it
#   tools/setup.sh start    only what building and serving the demos needs
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/debian-apt.sh

# package:what shows that it is there (a command or a file)
build_packages=(cmake:cmake ninja-build:ninja patchelf:patchelf ccache:ccache python3-minimal:python3
  nodejs:node npm:npm rapidjson-dev:/usr/include/rapidjson/reader.h
  ca-certificates:/etc/ssl/certs/ca-certificates.crt)
test_packages=(clang-19:clang++-19 clang-format-19:clang-format-19 clang-tidy-19:clang-tidy-19
  libclang-rt-19-dev:/usr/lib/llvm-19/lib/clang/19/lib/linux/libclang_rt.fuzzer-x86_64.a
  googletest:/usr/src/googletest/CMakeLists.txt chromium:chromium firefox-esr:firefox-esr
  fonts-dejavu-core:/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf)

step() { printf '%s\n' "setup: $*"; }

missing_packages() {  # package:evidence...
  local entry evidence
  for entry in "$@"; do
    evidence=${entry#*:}
    case $evidence in
      /*) [ -e "$evidence" ] || [ -e "${evidence/x86_64/$(uname -m)}" ] || echo "${entry%%:*}" ;;
      *) command -v "$evidence" >/dev/null || echo "${entry%%:*}" ;;
    esac
  done
}

packages=("${build_packages[@]}")
if [ "${1:-all}" = all ]; then packages+=("${test_packages[@]}"); fi
missing=$(missing_packages "${packages[@]}" | tr "\n" " ")
if [ -n "$missing" ]; then
  if ! is_debian || [ "$(id -u)" != 0 ]; then
    echo "Sotto needs these, under Debian's names: ${missing% }. Install them (as root:" \
      "apt-get install ${missing% }), and on a system without Debian's packages Emscripten 4.0 or later too." >&2
    exit 1
  fi
  step "Debian packages: $missing"
  export DEBIAN_FRONTEND=noninteractive
  log=$(mktemp)
  if ! { apt-get -qq -o Acquire::Retries=3 update &&
    apt-get -qq -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300 install -y --no-install-recommends $missing; } \
    >"$log" 2>&1 </dev/null; then
    tail -n 20 "$log" >&2
    echo "apt-get could not install: $missing" >&2
    exit 1
  fi
  rm -f "$log"
fi

# What the lock file asks for is there when npm's own record of node_modules is no older.
if [ ! -e node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.sotto-installed ]; then
  step "npm packages"
  npm ci --no-audit --no-fund --loglevel=error </dev/null
  touch node_modules/.sotto-installed
fi

if [ -z "$(ls -d "$SOTTO_CACHE"/highway-[0-9]* 2>/dev/null)" ] && [ -z "${SOTTO_HIGHWAY_DIR:-}" ]; then
  step "Highway's sources"
fi
highway=$(bash tools/get-highway.sh)
if [ ! -e "$SOTTO_CACHE/emscripten/.ready" ] && ! command -v emcc >/dev/null; then
  step "Emscripten (about two minutes)"
fi
emscripten=$(bash tools/get-emscripten.sh)
step "ready: $highway, $emscripten"
