# shellcheck shell=bash
# Looks at the machine and refuses before anything is changed. Changes nothing itself, so it has
# nothing to apply: whatever is wrong ends the program.

readonly NEEDED_MEMORY=3000 # MB; the training was measured at 2,100 to 2,800
readonly LEAST_MEMORY=2200
readonly NEEDED_DISK_NEW=4000 # MB; packages, pip's downloads, model, database, runs
readonly NEEDED_DISK_AGAIN=1500

preflight_check() {
  preflight_system
  preflight_python
  preflight_checkout
  preflight_packages
  preflight_room
}

preflight_apply() { :; }

preflight_verify() { :; }

preflight_system() {
  local name machine
  name=$(os_field PRETTY_NAME)
  case $(os_support) in
    similar) say os_similar "$name" ;;
    unknown) fail 1 S301 "$(text os_unknown "${name:-?}")" "$(text os_unknown_why)" \
      "$(text os_unknown_remedy)" ;;
  esac
  machine=$(uname -m)
  case $machine in
    x86_64 | aarch64) ;;
    *) fail 1 S302 "$(text machine_unknown "$machine")" "$(text machine_unknown_why)" "" ;;
  esac
}

preflight_python() {
  if [[ -n ${SOPHIA_PYTHON:-} ]] && ! python_suits "$SOPHIA_PYTHON"; then
    fail 2 S303 "$(text old_python "$SOPHIA_PYTHON")" "$(text old_python_why)" \
      "$(text old_python_remedy)"
  fi
}

# As an ordinary user, what is missing is named at once, with the one command that brings it.
preflight_packages() {
  local packages
  packages=$(missing_packages)
  [[ -n $packages ]] || return 0
  if ! is_root; then
    fail 3 S304 "$(text needs_packages "$packages")" "$(text needs_packages_why)" \
      "$(text needs_packages_remedy "sudo sh -c 'apt-get update && apt-get install --yes $packages'")"
  fi
}

preflight_checkout() {
  local path
  for path in "$ROOT" "$VENV"; do
    [[ ! -e $path || -w $path ]] || fail 3 S305 "$(text no_write "$path")" \
      "$(text no_write_why "$(stat -c %U -- "$path")" "$(id -un)")" "$(text no_write_remedy)"
  done
  venv_replaceable || fail 1 S306 "$(text strange_venv "$VENV")" "$(text strange_venv_why)" \
    "$(text strange_venv_remedy)"
}

preflight_room() {
  local disk memory python needed=$NEEDED_DISK_NEW
  python=$(find_python) || python=
  [[ ! -f $VENV/.sophia-packages ]] || needed=$NEEDED_DISK_AGAIN
  disk=$(free_megabytes "$ROOT")
  memory=$(available_megabytes)
  say facts "$([[ -z $python ]] || "$python" -I -c 'import platform; print(platform.python_version())')" \
    "$disk" "$memory" "$DATA"
  room_for "$ROOT" "$needed"
  same_disk "$ROOT" "$DATA" || room_for "$DATA" "$NEEDED_DISK_AGAIN"
  if ((memory < LEAST_MEMORY)); then
    fail 1 S308 "$(text little_memory)" "$(text little_memory_why "$memory" "$NEEDED_MEMORY")" \
      "$(text little_memory_remedy)"
  elif ((memory < NEEDED_MEMORY)); then
    say some_memory "$memory" "$NEEDED_MEMORY"
  fi
}

room_for() { # PATH MEGABYTES
  local free
  free=$(free_megabytes "$1")
  ((free >= $2)) || fail 1 S307 "$(text little_disk "$1")" "$(text little_disk_why "$free" "$2")" \
    "$(text little_disk_remedy)"
}
