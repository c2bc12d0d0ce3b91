#!/usr/bin/env bash
# Sets Sophia up: a server, or with --demo the whole loop in this folder; see --help. The work is in
# installer/. Nothing runs before the last line, so that half a file does nothing.

# shellcheck disable=SC2034 # what is set here is read there

set -Eeuo pipefail
{ set +x; } 2>/dev/null # secrets would stand in a trace
shopt -s inherit_errexit
umask 022

ROOT=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")" && pwd -P)
VENV=$ROOT/.venv

for file in "$ROOT"/installer/lib/*.sh "$ROOT"/installer/steps/*.sh; do
  # shellcheck source=/dev/null
  source "$file"
done
unset file

usage() {
  if [[ $MODE == demo ]]; then say usage_demo "$DATA"; else say usage; fi
}

# Sets MODE, the flags and the language. --lang counts for every message, wherever it stands.
# What is wrong is told after all was read, in the language that was asked for.
read_flags() {
  local language='' wrong='' missing='' value
  MODE=server AUTO=no ASSUME_YES=no OPEN_MENU=no DRY_RUN=no JSON=no HELP=no
  UNINSTALL=no PURGE=no UPGRADE=no ROTATE=no SSH_PORT='' AUTO_ENV='' ONE_STEP=''
  while (($#)); do
    case $1 in
      --lang | --auto-env | --ssh-port | --step)
        (($# > 1)) || missing=$1
        value=${2-?}
        ;;
      --lang=* | --auto-env=* | --ssh-port=* | --step=*)
        value=${1#*=}
        [[ -n $value ]] || missing=${1%%=*}
        ;;
    esac
    case $1 in
      --demo) MODE=demo ;;
      --auto) AUTO=yes ;;
      --auto-env | --auto-env=*) AUTO_ENV=$value ;;
      --auto-open-menu) OPEN_MENU=yes ;;
      --auto-assume-yes) ASSUME_YES=yes ;;
      --dry-run) DRY_RUN=yes ;;
      --uninstall) UNINSTALL=yes ;;
      --purge) PURGE=yes ;;
      --upgrade) UPGRADE=yes ;;
      --rotate-db-password) ROTATE=yes ;;
      --ssh-port | --ssh-port=*) SSH_PORT=$value ;;
      --step | --step=*) ONE_STEP=$value ;;
      --json) JSON=yes ;;
      --lang | --lang=*) language=$value ;;
      -h | --help) HELP=yes ;;
      *) wrong=${wrong:-$1} ;;
    esac
    case $1 in
      --lang | --auto-env | --ssh-port | --step) shift $(($# > 1 ? 1 : 0)) ;;
    esac
    shift
  done
  choose_language "$language"
  case ${language,,} in
    '' | en | en[_.-]* | pt | pt[_.-]*) ;;
    *) fail 2 U303 "$(text bad_lang "$(printf '%q' "$language")")" "" "$(text bad_lang_remedy)" ;;
  esac
  [[ -z $wrong ]] || fail 2 U302 "$(text bad_flag "$(printf '%q' "$wrong")")" "" "$(text see_help)"
  [[ -z $missing ]] || fail 2 U305 "$(text flag_needs_value "$missing")" "" "$(text see_help)"
  [[ $HELP == yes ]] || check_flags
}

# Refuses what does not go together.
check_flags() {
  local each chosen=() server_only=()
  [[ $UNINSTALL == no ]] || chosen+=(--uninstall)
  [[ $UPGRADE == no ]] || chosen+=(--upgrade)
  [[ $ROTATE == no ]] || chosen+=(--rotate-db-password)
  [[ -z $ONE_STEP ]] || chosen+=(--step)
  ((${#chosen[@]} < 2)) || fail 2 U306 "$(text flags_exclude "${chosen[0]}" "${chosen[1]}")" "" "$(text see_help)"
  [[ $PURGE == no || $UNINSTALL == yes ]] ||
    fail 2 U306 "$(text flag_needs --purge --uninstall)" "" "$(text see_help)"
  if [[ $MODE == demo ]]; then
    server_only=("${chosen[@]}")
    [[ -z $AUTO_ENV ]] || server_only+=(--auto-env)
    [[ -z $SSH_PORT ]] || server_only+=(--ssh-port)
    [[ $JSON == no ]] || server_only+=(--json)
    [[ $OPEN_MENU == no ]] || server_only+=(--auto-open-menu)
    for each in "${server_only[@]}"; do
      fail 2 U306 "$(text flags_exclude --demo "$each")" "" "$(text see_help)"
    done
  fi
  if [[ -n $SSH_PORT ]]; then
    [[ $SSH_PORT =~ ^[1-9][0-9]{0,4}$ && $SSH_PORT -le 65535 ]] ||
      fail 2 U307 "$(text bad_port "$(printf '%q' "$SSH_PORT")")" "" "$(text see_help)"
  fi
  [[ -z $ONE_STEP || " ${SERVER_STEPS[*]} " == *" $ONE_STEP "* ]] ||
    fail 2 U308 "$(text bad_step "$(printf '%q' "$ONE_STEP")")" "" "$(text see_help)"
}

# Makes a folder, and those above it, if it is not there; MODE is for a new one only.
make_folder() { # PATH MODE
  [[ -d $1 ]] || { mkdir -p -- "$1" && chmod "$2" -- "$1"; }
}

# The data folder and the log in it; as root others may pass through to what is meant for them.
make_data_folder() {
  if ! make_folder "$DATA" "$(if is_root; then echo 0711; else echo 0700; fi)" ||
    ! make_folder "$DATA/logs" 0700 || ! open_log "$DATA/logs/install.log"; then
    fail 1 S317 "$(text no_folder "$DATA")" "" "$(text no_folder_remedy)"
  fi
}

run_demo() {
  local number=0 name
  STEPS=("${DEMO_STEPS[@]}")
  take_lock 0
  for name in "${STEPS[@]}"; do
    number=$((number + 1))
    run_step "$name" "$number"
    if [[ $name == preflight && $DRY_RUN == no ]]; then make_data_folder; fi
  done
  if [[ $DRY_RUN == yes ]]; then
    say plan_done
  else
    say summary "$VENV/bin/sophia"
  fi
}

main() {
  ARGUMENTS=("$@")
  choose_language ''
  DATA=$(data_folder)
  LOG_FILE=/dev/null CURRENT_STEP='' FAILED_MARK=''
  read_flags "$@"
  if [[ $HELP == yes ]]; then
    usage
    return
  fi
  export SOPHIA_LANG=$SOPHIA_UI_LANG
  clean_python_environment
  watch_signals
  watch_errors
  if [[ $MODE == demo ]]; then run_demo; else run_server; fi
}

main "$@"
