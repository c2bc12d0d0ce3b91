# shellcheck shell=bash
# The program: a release of its own below /opt/sophia, owned by root, with its virtual environment.
# It takes effect by one rename of the link `current`, and the release before stays for going back.

readonly RELEASES=/opt/sophia/releases
readonly RELEASE_PARTS=(
  pyproject.toml requirements.lock README.md LICENSE sophia_tui finetune installer install_sophia_llm.sh
)

# What is installed of Sophia: SOPHIA_EXTRAS, else what is there, else everything.
server_extras() {
  local installed=''
  if [[ -z ${SOPHIA_EXTRAS:-} && -r $CURRENT/venv/.sophia-packages ]]; then
    read -r _ installed <"$CURRENT/venv/.sophia-packages" || installed=
  fi
  echo "${SOPHIA_EXTRAS:-${installed:-$DEMO_EXTRAS}}"
}

# The files of a release below FOLDER, in order.
release_files() { # FOLDER
  (cd -- "$1" && find "${RELEASE_PARTS[@]}" \( -name __pycache__ -o -name '*.egg-info' -o -name '.*' \) -prune \
    -o -type f ! -name '*.pyc' -print0 | LC_ALL=C sort -z)
}

# A name that says what is in it: the version, and 12 digits of the digest of all its files.
release_name() { # [FOLDER]
  local folder=${1:-$ROOT} version
  version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' "$folder/sophia_tui/__init__.py")
  printf '%s-%s\n' "$version" "$(cd -- "$folder" && release_files "$folder" | xargs -0 sha256sum | sha256sum | cut -c 1-12)"
}

# Whether what runs is what this installer would install.
release_current() { [[ $(readlink -f -- "$CURRENT") == "$RELEASES/$(release_name)" ]]; }

# Whether a release with all its packages is there, in use or not.
release_present() {
  local release
  release=$RELEASES/$(release_name)
  [[ -r $release/venv/.sophia-packages ]] || return 1
  release_whole "$release"
}

release_whole() { # RELEASE
  local ROOT=$1/src VENV=$1/venv
  venv_healthy && packages_present "$(server_extras)" >/dev/null
}

application_check() { release_current && release_present; }

application_apply() {
  local release before
  application_build
  release=$RELEASES/$(release_name)
  before=$(readlink -f -- "$CURRENT" || true)
  if [[ -n $before && $before != "$release" && -d $before ]]; then state_set previous_release "$before"; fi
  ln -sfn -- "$release" "$CURRENT.new"
  mv -fT -- "$CURRENT.new" "$CURRENT"
}

# The release with all its packages, beside the one that runs.
application_build() {
  local release
  release=$RELEASES/$(release_name)
  mkdir -p -- "$release"
  application_copy "$release"
  if [[ -n ${SOPHIA_WHEELS:-} ]]; then
    export PIP_NO_INDEX=1 PIP_FIND_LINKS=$SOPHIA_WHEELS
    unset PIP_INDEX_URL PIP_EXTRA_INDEX_URL
  fi
  release_whole "$release" || application_packages "$release"
}

# The source, whole or not at all. Run from the release itself there is nothing to copy.
application_copy() { # RELEASE
  [[ $ROOT != "$1/src" ]] || return 0
  if [[ -d $1/src && "$RELEASES/$(release_name "$1/src")" == "$1" ]]; then return; fi
  rm -rf -- "$1/src" "$1/src.new"
  mkdir -- "$1/src.new"
  (cd -- "$ROOT" && release_files . | tar --create --null --files-from=- --owner=root --group=root \
    --mode=u=rwX,go=rX) | tar --extract --directory="$1/src.new" --no-same-owner
  mv -T -- "$1/src.new" "$1/src"
}

application_packages() { # RELEASE
  local ROOT=$1/src VENV=$1/venv
  if [[ ,$(server_extras), == *,training,* && ! -e /dev/nvidiactl ]] && venv_healthy && torch_brings_cuda; then
    say cuda_note
  fi
  venv_healthy || make_venv ||
    fail 1 S312 "$(text venv_failed)" "" "$(text venv_failed_remedy "$LOG_FILE")"
  install_packages "$(server_extras)" ||
    fail 5 S313 "$(text packages_failed)" "" "$(text packages_failed_remedy "$LOG_FILE")"
  run_logged compileall "$VENV/bin/python" -I -m compileall -q "$ROOT/sophia_tui" "$ROOT/finetune" ||
    fail 1 S313 "$(text packages_failed)" "" "$(text packages_failed_remedy "$LOG_FILE")"
}

application_verify() {
  application_check && "$CURRENT/venv/bin/sophia" --version >/dev/null
}
