# shellcheck shell=bash
# A small copy of the checkout's installer in a folder of its own, and a fake operating system.

make_checkout() {
  REPOSITORY=$(cd -- "$BATS_TEST_DIRNAME/../.." && pwd -P)
  CHECKOUT=$BATS_TEST_TMPDIR/checkout
  mkdir -p "$CHECKOUT" "$BATS_TEST_TMPDIR/home"
  cp -r -- "$REPOSITORY/installer" "$REPOSITORY/install_sophia_llm.sh" \
    "$REPOSITORY/pyproject.toml" "$REPOSITORY/requirements.lock" "$CHECKOUT/"
  export HOME=$BATS_TEST_TMPDIR/home SOPHIA_DATA_DIR=$BATS_TEST_TMPDIR/data
  export LANG=C.UTF-8
  unset LC_ALL LC_MESSAGES SOPHIA_LANG
  VENV=$CHECKOUT/.venv
  roomy_disk
}

# A df that finds plenty of room: the temporary folder of a small machine may lie in memory.
roomy_disk() {
  mkdir -p "$BATS_TEST_TMPDIR/roomy"
  printf '#!/bin/sh\necho Filesystem\necho disk 100000000 1 99999999 1%% /\n' \
    >"$BATS_TEST_TMPDIR/roomy/df"
  chmod +x "$BATS_TEST_TMPDIR/roomy/df"
  export PATH=$BATS_TEST_TMPDIR/roomy:$PATH
}

# The env file and the state of a test, in its own folder; the parser comes with the checkout.
make_server_folders() {
  mkdir -p "$CHECKOUT/sophia_tui"
  cp -- "$REPOSITORY"/sophia_tui/{__init__,envfile,errors,files,i18n}.py "$CHECKOUT/sophia_tui/"
  ENV_FILE=$BATS_TEST_TMPDIR/etc/sophia.env
  STATE_FOLDER=$BATS_TEST_TMPDIR/state
  mkdir -p "${ENV_FILE%/*}"
}

# The installer's functions in this process: ROOT, VENV, DATA and LOG_FILE as it sets them.
load_library() {
  make_checkout
  ROOT=$CHECKOUT DATA=$SOPHIA_DATA_DIR LOG_FILE=$BATS_TEST_TMPDIR/log
  local file
  for file in "$CHECKOUT"/installer/lib/*.sh; do
    # shellcheck source=/dev/null
    source "$file"
  done
  choose_language en
  export ROOT DATA LOG_FILE
}

install_sh() { bash "$CHECKOUT/install_sophia_llm.sh" "$@"; }

# Everything under the folders an installer may write to, to compare before and after.
footprint() { find "$CHECKOUT" "$HOME" "$BATS_TEST_TMPDIR/data" 2>/dev/null | sort; }

# A Python without ensurepip, as Debian's without python3-venv is: fake_python FOLDER
fake_python_without_venv() {
  local real
  real=$(command -v python3)
  mkdir -p "$1"
  cat >"$1/python3" <<FAKE
#!/usr/bin/env bash
for each in "\$@"; do
  case \$each in *ensurepip* | venv) echo 'ensurepip is not available' >&2; exit 1 ;; esac
done
exec "$real" "\$@"
FAKE
  chmod +x "$1/python3"
  local version
  for version in 3.11 3.12 3.13 3.14; do
    printf '#!/bin/sh\nexit 1\n' >"$1/python$version"
    chmod +x "$1/python$version"
  done
}
