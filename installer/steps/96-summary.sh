# shellcheck shell=bash
# What stands now, where things are and what to type next; as JSON too, with --json. Changes nothing.

summary_check() {
  step_note version "$(basename -- "$(readlink -f -- "$CURRENT" || true)")"
  step_note env_file "$ENV_FILE"
  step_note data "$SERVER_DATA"
  step_note api http://127.0.0.1:8000
  step_note log "$LOG_FILE"
  [[ $DRY_RUN == yes ]] || summary_text
  if [[ $JSON == yes ]]; then json_summary "$(run_result)"; fi
}

summary_apply() { :; }

summary_verify() { :; }

summary_text() {
  say summary_server "${CHANGED_STEPS[*]:-$(text word_nothing)}" "$ENV_FILE" "$SERVER_DATA" "$LOG_FILE"
  [[ ! -v NOTES[firewall_command] ]] || say firewall_off "${NOTES[firewall_command]}"
  [[ ! -v NOTES[joined] ]] || say summary_joined "${NOTES[joined]}"
}
