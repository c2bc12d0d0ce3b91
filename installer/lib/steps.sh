# shellcheck shell=bash
# Runs the steps. Each file of installer/steps/ declares one by three functions:
#   NAME_check   0 when everything is right already (it runs as a condition: errexit is off there)
#   NAME_apply   makes it right; ends the program by fail where it can't
#   NAME_verify  0 when the result is as it must be

readonly STEPS=(preflight system_packages venv packages model command demo)

run_step() { # NAME NUMBER
  local name=$1 begin=$SECONDS
  say step "$2" "${#STEPS[@]}" "$(text "title_$name")"
  if "${name}_check"; then
    say step_unchanged
    return
  fi
  if [[ $DRY_RUN == yes ]]; then
    say step_planned "$(text "plan_$name")"
    return
  fi
  "${name}_apply"
  if ! "${name}_verify"; then
    fail 1 S310 "$(text verify_failed "$(text "title_$name")")" "" \
      "$(text verify_failed_remedy "$LOG_FILE")"
  fi
  say step_changed "$(elapsed "$begin")"
}

# One set-up at a time in one checkout. The lock is on the folder itself, so no file is left; it is
# given back before anything is started that lives on (it would keep the lock).
take_lock() { # SECONDS to wait
  exec 9<"$ROOT"
  flock --timeout "$1" 9 || fail 1 S309 "$(text busy)" "" "$(text busy_remedy)"
}

give_lock_back() { exec 9<&-; }
