# shellcheck shell=bash
# Asks the API that runs: its health, a route without the token and one with it, and whether the
# worker runs. Says whether the set-up works, not whether its files are there.

health_check() {
  [[ -x $CURRENT/venv/bin/python ]] && health_ask 0 2>/dev/null && health_worker
}

health_ask() { # SECONDS to wait
  "$CURRENT/venv/bin/python" -I "$CURRENT/src/installer/lib/health.py" "$ENV_FILE" "$1"
}

health_worker() { systemctl is-active --quiet sophia-worker.service; }

# Services may be starting; what does not come up in time is shown with the end of its journal.
health_apply() {
  local unit answer
  if answer=$(health_ask 90 2>&1) && health_worker; then
    return
  fi
  for unit in sophia-api.service sophia-worker.service; do
    if ! systemctl is-active --quiet "$unit" || [[ $unit == sophia-api.service ]]; then
      printf '\n%s\n' "$unit" >&2
      journalctl --unit "$unit" --lines 15 --no-pager --output cat 2>/dev/null | tr -d '\000-\010\013-\037\177' |
        redacted | sed 's/^/    | /' >&2
    fi
  done
  fail 5 S334 "$(text not_healthy)" "$answer" "$(text not_healthy_remedy "$(resume_command)")"
}

health_verify() { health_check; }
