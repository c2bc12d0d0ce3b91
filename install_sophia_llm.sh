#!/usr/bin/env bash
# Sets Sophia up. This version knows --demo; see --help. The work is in installer/.

set -Eeuo pipefail
shopt -s inherit_errexit
umask 022

ROOT=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")" && pwd -P)
VENV=$ROOT/.venv
readonly ROOT VENV

# shellcheck source=installer/lib/messages.sh
source "$ROOT/installer/lib/messages.sh"
# shellcheck source=installer/lib/log.sh
source "$ROOT/installer/lib/log.sh"
# shellcheck source=installer/lib/system.sh
source "$ROOT/installer/lib/system.sh"
# shellcheck source=installer/lib/python.sh
source "$ROOT/installer/lib/python.sh"
# shellcheck source=installer/lib/steps.sh
source "$ROOT/installer/lib/steps.sh"
for step in "$ROOT"/installer/steps/*.sh; do
  # shellcheck source=/dev/null
  source "$step"
done

usage() { say usage "$DATA"; }

refuse_later() { # FLAG
  fail 2 U301 "$(text later_flag "$1")" "" "$(text later_flag_remedy)"
}

# Sets DEMO, DRY_RUN, HELP and the language. --lang counts for every message, wherever it stands.
read_flags() {
  local language='' wrong='' later=''
  DEMO=no DRY_RUN=no HELP=no
  while (($#)); do
    case $1 in
      --demo) DEMO=yes ;;
      --dry-run) DRY_RUN=yes ;;
      --lang)
        language=${2:-?}
        shift $(($# > 1 ? 1 : 0))
        ;;
      --lang=*) language=${1#*=} ;;
      -h | --help) HELP=yes ;;
      --auto-env)
        later=${later:-$1}
        shift $(($# > 1 ? 1 : 0)) # its FILE
        ;;
      --auto | --auto-env=* | --auto-open-menu | --auto-assume-yes) later=${later:-${1%%=*}} ;;
      *) wrong=${wrong:-$1} ;;
    esac
    shift
  done
  choose_language "$language"
  case ${language,,} in
    '' | en | en[_.-]* | pt | pt[_.-]*) ;;
    *) fail 2 U303 "$(text bad_lang "$(printf '%q' "$language")")" "" "$(text bad_lang_remedy)" ;;
  esac
  [[ -z $wrong ]] || fail 2 U302 "$(text bad_flag "$(printf '%q' "$wrong")")" "" "$(text see_help)"
  [[ -z $later || $HELP == yes ]] || refuse_later "$later"
}

# Makes a folder, and those above it, if it is not there; MODE is for a new one only.
make_folder() { # PATH MODE
  [[ -d $1 ]] || { mkdir -p -- "$1" && chmod "$2" -- "$1"; }
}

# The data folder and the log in it; as root others may pass through to what is meant for them.
make_data_folder() {
  if ! make_folder "$DATA" "$(if is_root; then echo 0711; else echo 0700; fi)" ||
    ! make_folder "$DATA/logs" 0700 || ! : 2>/dev/null >>"$DATA/logs/install.log"; then
    fail 1 S317 "$(text no_folder "$DATA")" "" "$(text no_folder_remedy)"
  fi
  LOG_FILE=$DATA/logs/install.log
}

main() {
  local number=0 name
  choose_language ''
  DATA=$(data_folder)
  LOG_FILE=/dev/null
  read_flags "$@"
  if [[ $HELP == yes ]]; then
    usage
    return
  fi
  if [[ $DEMO == no ]]; then
    fail 2 U304 "$(text no_flag)" "" "$(text later_flag_remedy)"
  fi
  export SOPHIA_LANG=$SOPHIA_UI_LANG
  clean_python_environment
  watch_signals
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

main "$@"
