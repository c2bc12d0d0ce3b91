#!/usr/bin/env bats
# What the installer finds on the machine, and what it refuses before anything is changed.

setup() {
  load helpers
  make_checkout
}

os_release() {
  printf '%s\n' "$@" >"$BATS_TEST_TMPDIR/os-release"
  export SOPHIA_TEST_OS_RELEASE=$BATS_TEST_TMPDIR/os-release
}

@test "Debian 12, 13 and Ubuntu 24.04 pass without a note" {
  local pair
  for pair in 'debian 12' 'debian 13' 'ubuntu 24.04'; do
    os_release "ID=${pair% *}" "VERSION_ID=\"${pair#* }\""
    run install_sh --demo --dry-run
    [ "$status" -eq 0 ]
    [[ $output != *'not one of the systems'* ]]
  done
}

@test "a relative of Debian passes with a note" {
  os_release 'PRETTY_NAME="Linux Mint 22"' ID=linuxmint 'ID_LIKE="ubuntu debian"' 'VERSION_ID="22"'
  run install_sh --demo --dry-run
  [ "$status" -eq 0 ]
  [[ $output == *'Linux Mint 22 is not one of the systems'* ]]
}

@test "another operating system is refused, named, with nothing changed" {
  local before
  before=$(footprint)
  os_release 'PRETTY_NAME="Fedora Linux 42"' ID=fedora VERSION_ID=42
  run install_sh --demo
  [ "$status" -eq 1 ]
  [[ $output == *'SOPHIA-S301'*'Fedora Linux 42'* ]]
  [ "$before" = "$(footprint)" ]
}

@test "os-release is read, never run" {
  os_release 'ID=debian' 'VERSION_ID="12"' "PRETTY_NAME=\"\$(touch $BATS_TEST_TMPDIR/ran)\""
  run install_sh --demo --dry-run
  [ ! -e "$BATS_TEST_TMPDIR/ran" ]
}

@test "an ordinary user without python3-venv is told the one command, with nothing changed" {
  load_library
  fake_python_without_venv "$BATS_TEST_TMPDIR/bin"
  # shellcheck source=/dev/null
  source "$CHECKOUT/installer/steps/10-preflight.sh"
  is_root() { false; }
  local before
  before=$(footprint)
  PATH=$BATS_TEST_TMPDIR/bin:$PATH run preflight_packages
  [ "$status" -eq 3 ]
  [[ $output == *'SOPHIA-S304'*"apt-get install --yes python"*-venv* ]]
  [ "$before" = "$(footprint)" ]
}

@test "a Python that is too old or not there is refused" {
  printf '#!/bin/sh\nexit 1\n' >"$BATS_TEST_TMPDIR/old"
  chmod +x "$BATS_TEST_TMPDIR/old"
  SOPHIA_PYTHON=$BATS_TEST_TMPDIR/old run install_sh --demo --dry-run
  [ "$status" -eq 2 ]
  [[ $output == *'SOPHIA-S303'* ]]
}

@test "too little room on the disk is refused with both figures" {
  load_library
  # shellcheck source=/dev/null
  source "$CHECKOUT/installer/steps/10-preflight.sh"
  run room_for "$CHECKOUT" 999999999
  [ "$status" -eq 1 ]
  [[ $output == *'SOPHIA-S307'*999999999* ]]
}

@test "too little memory is refused, little is noted" {
  load_library
  # shellcheck source=/dev/null
  source "$CHECKOUT/installer/steps/10-preflight.sh"
  available_megabytes() { echo 900; }
  run preflight_room
  [ "$status" -eq 1 ]
  [[ $output == *'SOPHIA-S308'*900* ]]
  available_megabytes() { echo 2500; }
  run preflight_room
  [ "$status" -eq 0 ]
  [[ $output == *'2500 MB of memory are available'* ]]
}
