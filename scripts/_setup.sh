# Sourced by the other scripts: makes .venv in the checkout and node_modules, and keeps both up to date.
# shellcheck shell=bash
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
VENV="$ROOT/.venv"
export PIP_DISABLE_PIP_VERSION_CHECK=1

die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

find_python() {
  local candidate
  for candidate in "${PYTHON:-}" python3.11 python3.12 python3.13 python3; do
    [ -n "$candidate" ] || continue
    if "$candidate" -c 'import sys; raise SystemExit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  die "Python 3.11 or later is needed; set PYTHON to one, e.g. PYTHON=/usr/bin/python3.11 $0"
}

# use_python LOCK: install the hashed LOCK and the package itself, unless that is done already.
use_python() {
  local lock="$ROOT/requirements/$1" stamp="$VENV/.installed-$1" wanted
  wanted=$(cat "$lock" "$ROOT/pyproject.toml" | cksum)
  [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && return
  if [ ! -x "$VENV/bin/python" ]; then
    "$(find_python)" -m venv "$VENV" || die "cannot make $VENV; on Debian: apt-get install python3-venv"
  fi
  printf 'Installing %s into .venv (once; one to three minutes) ...\n' "$1" >&2
  "$VENV/bin/python" -m pip install --quiet --require-hashes -r "$lock" >&2 || die "could not install $lock"
  "$VENV/bin/python" -m pip install --quiet --no-deps --no-build-isolation -e "$ROOT" >&2 ||
    die "could not install the package"
  printf '%s' "$wanted" >"$stamp"
}

have_node() {
  command -v npm >/dev/null && node -e 'process.exit(Number(process.versions.node.split(".")[0]) >= 20 ? 0 : 1)' 2>/dev/null
}

# use_node: install the locked npm packages, unless that is done already.
use_node() {
  local stamp="$ROOT/node_modules/.installed" wanted
  wanted=$(cat "$ROOT/package-lock.json" "$ROOT/package.json" | cksum)
  [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && return
  printf 'Installing the packages of package.json into node_modules (once) ...\n' >&2
  (cd "$ROOT" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) >&2 || die "npm ci failed"
  printf '%s' "$wanted" >"$stamp"
}
