#!/usr/bin/env bash
# Prints the folder of an Emscripten (emcc >= 4.0) that can build Sotto, fetching one when there is
# none. In this order: SOTTO_EMSCRIPTEN (a folder with emcc), an emcc on PATH, the one in Sotto's
# cache, Debian's package from a newer suite. The last is unpacked into the cache and made to run on
# this system's older libc: the tools get their own loader and libraries through patchelf, so the
# folder must stay where it is. `.ready` in it says that it is whole and has compiled a program.
set -euo pipefail
. "$(dirname "$0")/debian-apt.sh"
DEST=$SOTTO_CACHE/emscripten

new_enough() {  # FOLDER: emcc in it answers with a version of 4.0 or later
  local version
  version=$("$1/emcc" --version 2>/dev/null | sed -nE '1s/.* ([0-9]+)\.[0-9]+\.[0-9]+.*/\1/p')
  [ "${version:-0}" -ge 4 ]
}

# The node that emcc shall use for good: not one inside some project's node_modules.
system_node() { type -ap node | grep -v node_modules | head -n 1; }

# What the closure of `emscripten` names but this system has, or a cross compiler never needs.
not_needed='^(nodejs|node-.*|libnode.*|libicu.*|python3.*|libpython3.*'
not_needed+='|perl.*|libperl.*|libgcc-.*-dev|libstdc.*-dev|libobjc.*|libc6-dev|libc-dev-bin|linux-libc-dev'
not_needed+='|binutils.*|libbinutils|libgprofng.*|libctf.*|lib(a|t|l|hwa|ub)san.*|libgomp.*|libitm.*|libquadmath.*'
not_needed+='|tzdata|ccache|libhiredis.*|rpcsvc-proto|media-types|netbase|libsqlite.*|libllhttp.*|libsimdjson.*'
not_needed+='|libsimdutf.*|libada.*|ca-certificates|openssl.*|debconf|sensible-utils|llvm-[0-9]+-dev)$'

download() {  # SUITE: its packages, unpacked into $APT_DIR/root
  say "Debian $1: reading the index"
  private_apt "$1"
  apt_do install -y --print-uris emscripten >"$APT_DIR/uris"
  # 'http://.../name_version_arch.deb' name_version_arch.deb size hash
  sed -nE "s/^'[^']*' ([^_ ]*)_[^ ]*\.deb .*/\1/p" "$APT_DIR/uris" | grep -vE "$not_needed" \
    >"$APT_DIR/names"
  mkdir "$APT_DIR/debs" "$APT_DIR/root"
  say "Debian $1: fetching $(wc -l <"$APT_DIR/names") packages"
  (cd "$APT_DIR/debs" && xargs -a "$APT_DIR/names" apt-get "${APT_OPTIONS[@]}" download >&2)
  say "unpacking"
  local deb
  for deb in "$APT_DIR"/debs/*.deb; do
    dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$APT_DIR/root" \
      --exclude='./usr/share/doc' --exclude='./usr/share/man' --exclude='./usr/share/locale' \
      --exclude='./usr/share/emscripten/test' --exclude='./usr/share/emscripten/docs'
    rm "$deb"
  done
}

assemble() {  # the tools out of $APT_DIR/root into $DEST
  local root=$APT_DIR/root llvm tool
  llvm=$(ls -d "$root"/usr/lib/llvm-* | sort -V | tail -n 1)
  rm -rf "$DEST"
  mkdir -p "$DEST"/{bin,lib,llvm/bin,llvm/lib}
  cp -a "$root/usr/share/emscripten" "$DEST/emscripten"
  for tool in clang lld llvm-{ar,nm,objcopy,objdump,readobj,size,dwarfdump,dwp,cxxfilt,symbolizer}; do
    cp -L "$llvm/bin/$tool" "$DEST/llvm/bin/$tool"
  done
  ln -s clang "$DEST/llvm/bin/clang++"
  ln -s lld "$DEST/llvm/bin/wasm-ld"
  ln -s llvm-ar "$DEST/llvm/bin/llvm-ranlib"
  ln -s llvm-objcopy "$DEST/llvm/bin/llvm-strip"
  ln -s llvm-readobj "$DEST/llvm/bin/llvm-readelf"
  # The compiler's own headers are a link into a folder that depends on the version.
  cp -rL "$llvm/lib/clang" "$DEST/llvm/lib/" 2>/dev/null || cp -rL "$root/usr/lib/clang" "$DEST/llvm/lib/"
  for tool in "$root"/usr/bin/wasm*; do
    if [ -f "$tool" ] && [ ! -L "$tool" ]; then cp -a "$tool" "$DEST/bin/"; fi
  done
}

own_libraries() {  # gives every tool the loader and libraries that it was built with
  local root=$APT_DIR/root name folder found file
  local folders=("$root"/usr/lib/x86_64-linux-gnu "$root"/lib/x86_64-linux-gnu "$root"/usr/lib/llvm-*/lib
    "$root"/usr/lib/x86_64-linux-gnu/binaryen "$root"/usr/lib)
  local wanted=(ld-linux-x86-64.so.2)
  for file in "$DEST"/llvm/bin/* "$DEST"/bin/*; do wanted+=($(patchelf --print-needed "$file")); done
  while [ ${#wanted[@]} -gt 0 ]; do
    name=${wanted[0]}
    wanted=("${wanted[@]:1}")
    if [ -e "$DEST/lib/$name" ]; then continue; fi
    found=
    for folder in "${folders[@]}"; do
      if [ -e "$folder/$name" ]; then found=$folder/$name; break; fi
    done
    if [ -z "$found" ]; then echo "the package closure lacks $name" >&2; return 1; fi
    cp -L "$found" "$DEST/lib/$name"
    wanted+=($(patchelf --print-needed "$DEST/lib/$name"))
  done
  for file in "$DEST"/llvm/bin/* "$DEST"/bin/*; do
    if [ -L "$file" ]; then continue; fi
    patchelf --set-interpreter "$DEST/lib/ld-linux-x86-64.so.2" "$file"
    patchelf --force-rpath --set-rpath "$DEST/lib" "$file"
  done
  for file in "$DEST"/lib/*.so*; do  # only those that look for more than the loader gives them
    if [ -n "$(patchelf --print-rpath "$file" 2>/dev/null)" ]; then
      patchelf --force-rpath --set-rpath "$DEST/lib" "$file"
    fi
  done
}

configure() {  # JavaScript parts of emcc, and its configuration
  say "the JavaScript parts of emcc (npm)"
  cd "$DEST/emscripten"
  echo '{"private":true}' >package.json
  NODE_NO_WARNINGS=1 npm install --silent --no-fund --no-audit --ignore-scripts \
    acorn@8.19.0 acorn-import-phases@1.0.4 google-closure-compiler@20260927.0.0 typescript@5.9.3 >&2
  local cache=$DEST/cache
  if [ -d cache ]; then cache=$DEST/emscripten/cache; fi  # some suites ship one, built
  cat >.emscripten <<CONFIG
LLVM_ROOT = '$DEST/llvm/bin'
BINARYEN_ROOT = '$DEST'
NODE_JS = '$(system_node)'
CACHE = '$cache'
CLOSURE_COMPILER = ['$DEST/emscripten/node_modules/.bin/google-closure-compiler']
CONFIG
  cd - >/dev/null
}

try_out() {  # compiles a program with the flags that matter, and runs it
  say "trying it out (the first link builds its C++ library)"
  local dir=$APT_DIR/try
  mkdir "$dir"
  cat >"$dir/try.cc" <<'SOURCE'
#include <wasm_simd128.h>
#include <cstdio>
#include <vector>
int main(int argc, char**) {
  std::vector<float> v(4, static_cast<float>(argc));
  const v128_t x = wasm_v128_load(v.data());
  std::printf("%g\n", wasm_f32x4_extract_lane(wasm_f32x4_add(x, x), 3));
}
SOURCE
  "$DEST/emscripten/em++" -O2 -std=c++20 -msimd128 -fno-exceptions -fno-rtti "$dir/try.cc" \
    -o "$dir/try.js" >"$dir/log" 2>&1 || { cat "$dir/log" >&2; return 1; }
  [ "$("$(system_node)" "$dir/try.js")" = 2 ]
}

if [ "${1:-}" = --from ]; then
  trap 'rm -rf "${APT_DIR:-}"' EXIT
  download "$2"
  assemble
  own_libraries
  configure
  try_out
  touch "$DEST/.ready"
  say "ready: $("$DEST/emscripten/emcc" --version | head -n 1)"
  exit
fi

if [ -n "${SOTTO_EMSCRIPTEN:-}" ]; then echo "$SOTTO_EMSCRIPTEN"; exit; fi
if on_path=$(command -v emcc); then
  on_path=$(dirname "$(readlink -f "$on_path")")
  if [ -d "$on_path/../libexec/cmake" ]; then on_path=$(realpath "$on_path/../libexec"); fi  # Homebrew
  if new_enough "$on_path"; then echo "$on_path"; exit; fi
fi
if [ -e "$DEST/.ready" ]; then echo "$DEST/emscripten"; exit; fi

if ! is_debian || [ "$(uname -m)" != x86_64 ]; then
  echo "Install Emscripten 4.0 or later (https://emscripten.org/docs/getting_started) so that" \
    "emcc is on PATH." >&2
  exit 1
fi
for tool in patchelf node npm python3; do
  command -v $tool >/dev/null || { echo "Install $tool first." >&2; exit 1; }
done

mkdir -p "$SOTTO_CACHE"
exec 9>"$SOTTO_CACHE/emscripten.lock"
flock 9
if [ -e "$DEST/.ready" ]; then echo "$DEST/emscripten"; exit; fi
# A try runs in a process of its own: inside a condition bash would not stop at a failed command.
for suite in $SUITES; do
  if bash "$0" --from "$suite"; then
    echo "$DEST/emscripten"
    exit
  fi
  say "Debian $suite did not give a working Emscripten"
done
echo "Emscripten could not be fetched from Debian ($SUITES): install 4.0 or later so that emcc is on PATH." >&2
exit 1
