# shellcheck shell=bash
# shellcheck disable=SC2034 # lists that the entry and server.sh read
# Runs the steps. Each file of installer/steps/ declares one by three functions:
#   NAME_check   0 when everything is right already (it runs as a condition: errexit is off there)
#   NAME_apply   makes it right; ends the program by fail where it can't
#   NAME_verify  0 when the result is as it must be
# A server's step is remembered in the state file while it is under way, so that a killed run is
# seen by the next one.

readonly DEMO_STEPS=(preflight system_packages venv packages model command demo)
readonly SERVER_STEPS=(
  machine server_packages account env postgres application migrate units firewall health summary
)

# The steps of this run, in order; set from MODE (and --step) by the entry.
declare -ga STEPS=("${DEMO_STEPS[@]}")

# For the summary: which steps changed something, and what they noted.
declare -ga CHANGED_STEPS=() UNCHANGED_STEPS=() NOTED=()
declare -gA NOTES=()

# Adds a fact to the summary of --json: step_note KEY VALUE
step_note() {
  [[ -v NOTES[$1] ]] || NOTED+=("$1")
  NOTES[$1]=$2
}

run_step() { # NAME NUMBER
  local name=$1 begin=$SECONDS
  CURRENT_STEP=$name
  say step "$2" "${#STEPS[@]}" "$(text "title_$name")"
  log_line "step $name"
  if "${name}_check"; then
    UNCHANGED_STEPS+=("$name")
    say step_unchanged
    CURRENT_STEP=
    return
  fi
  if [[ $DRY_RUN == yes ]]; then
    say step_planned "$(text "plan_$name")"
    CURRENT_STEP=
    return
  fi
  remember_step "$name"
  "${name}_apply"
  if ! "${name}_verify"; then
    fail 1 S310 "$(text verify_failed "$(text "title_$name")")" "" \
      "$(text verify_failed_remedy "$LOG_FILE")"
  fi
  CHANGED_STEPS+=("$name")
  say step_changed "$(elapsed "$begin")"
  log_line "step $name changed ($(elapsed "$begin"))"
  forget_step
  CURRENT_STEP=
}

# The step that is under way, for the run after a kill or a power cut.
remember_step() { [[ $MODE != server ]] || state_set step "$1"; } # NAME

forget_step() { [[ $MODE != server ]] || state_clear step; }

# One set-up at a time: in one checkout, and on one machine for a server. The lock is on a folder
# that is there, so no file is left; it is given back before anything is started that lives on (it
# would keep the lock).
take_lock() { # SECONDS to wait [FOLDER]
  exec 9<"${2:-$ROOT}"
  flock --timeout "$1" 9 || fail 75 S309 "$(text busy)" "" "$(text busy_remedy)"
}

give_lock_back() { exec 9<&-; }
