#!/usr/bin/env bash
# Writes requirements.lock anew: the versions that a clean environment with all extras gets today.
# It is used as a constraints file, so it holds no addresses, digests or local version suffixes.

set -Eeuo pipefail
shopt -s inherit_errexit

main() {
  local root work
  root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
  work=$(mktemp -d)
  # shellcheck disable=SC2064 # the folder of now
  trap "rm -rf -- '$work'" EXIT
  python3 -m venv "$work/venv"
  mkdir -p "$work/project/sophia_tui" "$work/project/finetune"
  cp -- "$root"/pyproject.toml "$root"/README.md "$root"/LICENSE "$work/project/"
  cp -- "$root/sophia_tui/__init__.py" "$work/project/sophia_tui/"
  cp -- "$root/finetune/__init__.py" "$work/project/finetune/"
  "$work/venv/bin/pip" install --quiet --upgrade pip
  "$work/venv/bin/pip" install --quiet "$(sed -n 's/^ *"\(torch==[^"]*\)".*/\1/p' "$root/pyproject.toml")"
  "$work/venv/bin/pip" install --quiet "$work/project[training,quantization,api,hosted,serving,evaluation,development,benchmarks]"
  {
    printf '%s\n' '# The tested versions, as constraints for pip. Written by installer/make-lock.sh.'
    "$work/venv/bin/pip" freeze | sed -n '/^sophia-tui/d; s/^\([A-Za-z0-9._-]*==[^+ ;]*\).*/\1/p'
  } >"$work/lock"
  mv -- "$work/lock" "$root/requirements.lock"
}

main "$@"
