# shellcheck shell=bash
# A new password for the database role. Old and new one stand in the env file side by side until a
# login has proved the new one, and Sophia tries both (SOPHIA_NEXT_PASS): so it can be cut off at
# any moment, and a further run of the step `postgres` goes on from there.

postgres_rotate() {
  say pg_rotating
  if [[ $STORE_HAS_NEXT == no ]]; then secret_new | env_set SOPHIA_NEXT_PASS; fi
  rotation_restart # what runs read the env file when it began; from now on it knows both
  pg_password next | pg_tool statement alter "$PG_ROLE" | postgres_sql 'ALTER ROLE' postgres
  pg_password next | pg_login || fail 5 S352 "$(text pg_rotation_failed)" \
    "$(text pg_rotation_failed_why)" "$(text pg_rotation_failed_remedy)"
  rotation_settle
  rotation_restart
  # shellcheck disable=SC2034 # read by the step
  PG_ROTATED=yes
  say pg_rotated "$PG_ROLE"
}

# The new password takes the place of the old one; it is gone from beside only after that.
rotation_settle() {
  pg_password next | env_set "$STORE_PASSWORD_KEY"
  if [[ $STORE_PASSWORD_IN_URL == yes ]]; then
    pg_tool address "$ENV_FILE" "$PG_PORT" | env_set "$STORE_URL_KEY"
  fi
  env_unset SOPHIA_NEXT_PASS
}

# Restarts those of Sophia's services that run. They let their work end; trainings go on by themselves.
rotation_restart() {
  local unit
  for unit in sophia-api.service sophia-worker.service; do
    systemctl is-active --quiet "$unit" || continue
    say pg_restarting "$unit"
    systemctl reset-failed "$unit" || true # two restarts are no crash loop
    systemctl restart "$unit" || fail 1 S351 "$(text pg_restart_failed "$unit")" "" \
      "$(text pg_restart_failed_remedy "$unit")"
  done
}
