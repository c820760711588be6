# Sourced: packages of a newer Debian, unpacked beside the system. `private_apt SUITE` makes an apt
# configuration of its own in a temporary folder ($APT_DIR), so that nothing of the system changes;
# `apt_do` then calls apt-get with it. Debian's signatures are verified as ever.

SOTTO_CACHE=${SOTTO_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sotto}
SUITES=${SOTTO_SUITES:-forky trixie}  # the newer one first

say() { echo "  $*" >&2; }

is_debian() { command -v apt-get >/dev/null && [ -r /usr/share/keyrings/debian-archive-keyring.gpg ]; }

private_apt() {
  local suite=$1 mirror
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Label: Debian' 2>/dev/null | head -n 1)
  mirror=${SOTTO_DEBIAN_MIRROR:-${mirror:-http://deb.debian.org/debian}}
  APT_DIR=$(mktemp -d "$SOTTO_CACHE/apt.XXXXXX")
  mkdir -p "$APT_DIR"/{state/lists/partial,cache/archives/partial,etc}
  : >"$APT_DIR/state/status"
  local key='signed-by=/usr/share/keyrings/debian-archive-keyring.gpg'
  # A mirror that is a snapshot keeps indexes past their date: hence check-valid-until=no.
  for type in deb deb-src; do
    echo "$type [$key check-valid-until=no] $mirror $suite main"
  done >"$APT_DIR/etc/sources.list"
  APT_OPTIONS=(-qq
    -o Dir::Etc="$APT_DIR/etc" -o Dir::Etc::sourcelist="$APT_DIR/etc/sources.list"
    -o Dir::Etc::sourceparts=/dev/null -o Dir::Etc::preferencesparts=/dev/null
    -o Dir::State="$APT_DIR/state" -o Dir::State::lists="$APT_DIR/state/lists"
    -o Dir::State::status="$APT_DIR/state/status"
    -o Dir::Cache="$APT_DIR/cache" -o Dir::Cache::archives="$APT_DIR/cache/archives"
    -o Debug::NoLocking=1 -o APT::Sandbox::User="$(id -un)" -o APT::Install-Recommends=0
    -o Acquire::Languages=none -o Acquire::Retries=3)
  apt_do update
}

apt_do() { apt-get "${APT_OPTIONS[@]}" "$@"; }
