# shellcheck shell=bash
# The whole loop on the sample data. It runs anew each time: that is what --demo is asked for.

demo_check() { return 1; }

demo_apply() {
  local status=0
  give_lock_back
  "$VENV/bin/sophia" demo || status=$?
  case $status in
    0) ;;
    130 | 143) interrupted "$status" ;;
    *) fail "$status" S316 "$(text demo_failed "$status")" "" "$(text demo_failed_remedy)" ;;
  esac
}

demo_verify() { :; }
