# shellcheck shell=bash
# The role and the database of Sophia in this machine's Postgres, and their address in the env file.
# What is there already is taken over only with its right password, proved; nothing of other people's
# is changed: neither a line of pg_hba.conf, nor another role or database.

PG_ROTATED=no # in this run

postgres_check() {
  system_python >/dev/null || return
  pg_read_store
  if [[ $STORE_KIND != local && ${ROTATE:-no} == no ]]; then
    say pg_elsewhere
    return 0
  fi
  [[ $STORE_KIND == local ]] || return
  [[ ${ROTATE:-no} == no || $PG_ROTATED == yes ]] && [[ $STORE_HAS_NEXT == no ]] &&
    [[ $STORE_HAS_URL == yes && $STORE_HAS_PASSWORD == yes ]] && pg_choose &&
    [[ $PG_STATUS == online* ]] && pg_look 2>/dev/null && [[ $STORE_PORT == "$PG_PORT" ]] &&
    [[ $ROLE_STATE == plain && $DB_ENCODING == UTF8 && $DB_OWNER == "$PG_ROLE" ]] &&
    postgres_public_settled && pg_password current | pg_matches && pg_listens &&
    pg_password current | pg_login 2>/dev/null
}

postgres_apply() {
  if [[ $STORE_KIND != local ]]; then
    fail 2 S357 "$(text pg_no_rotation)" "$(text pg_no_rotation_why)" ""
  fi
  postgres_reach
  postgres_guard
  postgres_password
  postgres_role
  postgres_database
  postgres_revoke
  postgres_address
  if [[ ${ROTATE:-no} == yes && $PG_ROTATED == no ]] || [[ $STORE_HAS_NEXT == yes ]]; then postgres_rotate; fi
}

postgres_verify() {
  local file line method
  pg_read_store
  pg_look || return
  postgres_prove current
  IFS=$'\t' read -r file line method < <(pg_deciding_line) || return
  if [[ $method == trust ]]; then say pg_trust "$line" "$file"; fi
  postgres_check
}

# A cluster that runs, and what is in it.
postgres_reach() {
  local hba
  if ! pg_choose; then
    pg_make_cluster
    pg_choose || fail 5 S342 "$(text pg_missing)" "$(text pg_missing_why "$PG_OLDEST")" \
      "$(text pg_missing_remedy)"
  fi
  pg_start
  if ! pg_look; then
    hba=/etc/postgresql/$PG_CLUSTER/pg_hba.conf
    fail 5 S344 "$(text pg_no_super "$PG_CLUSTER")" "$(text pg_no_super_why "$PG_OWNER")" \
      "$(text pg_no_super_remedy "$hba")"
  fi
  say pg_place "$PG_CLUSTER" "$PG_PORT"
  step_note postgres "$PG_CLUSTER"
  step_note postgres_port "$PG_PORT"
}

# Everything that ends the step, before anything is changed.
postgres_guard() {
  if [[ -n $DB_ENCODING && $DB_OWNER != "$PG_ROLE" ]]; then
    fail 3 S348 "$(text pg_foreign_database "$PG_DATABASE" "$DB_OWNER")" \
      "$(text pg_foreign_database_why "$PG_ROLE")" "$(text pg_foreign_database_remedy)"
  fi
  if [[ -n $DB_ENCODING && $DB_ENCODING != UTF8 ]]; then
    fail 3 S347 "$(text pg_encoding "$PG_DATABASE" "$DB_ENCODING")" "$(text pg_encoding_why)" \
      "$(text pg_encoding_remedy)"
  fi
  [[ $ROLE_STATE != absent && ${ROTATE:-no} == no ]] || return 0
  if [[ $STORE_HAS_PASSWORD == no ]]; then postgres_unknown; fi
  local which=current
  if ! pg_password current | pg_matches; then
    which=next
    if [[ $STORE_HAS_NEXT == no ]] || ! pg_password next | pg_matches; then postgres_wrong; fi
  fi
  if [[ -n $DB_ENCODING && $ROLE_STATE != locked ]]; then postgres_prove "$which"; fi
  if ! pg_made role && [[ $(state_get postgres_adopted || true) != "$PG_CLUSTER" ]]; then
    say pg_adopted "$PG_ROLE"
    state_set postgres_adopted "$PG_CLUSTER"
  fi
}

postgres_unknown() {
  fail 3 S340 "$(text pg_unknown_password "$PG_ROLE")" "$(text pg_unknown_password_why)" \
    "$(text pg_choices_remedy "$ENV_FILE" "$STORE_PASSWORD_KEY")"
}

postgres_wrong() {
  fail 3 S341 "$(text pg_wrong_password "$PG_ROLE")" \
    "$(text pg_wrong_password_why "$PG_CLUSTER" "$PG_PORT")" \
    "$(text pg_choices_remedy "$ENV_FILE" "$STORE_PASSWORD_KEY")"
}

# Asked by the step `env` before it writes: a password that is not the role's must not take the place
# of one that is in force.
postgres_may_write() {
  pg_read_store
  postgres_move_aside
  if [[ $STORE_KIND != local || ${ROTATE:-no} == yes ]] || ! pg_choose; then return 0; fi
  postgres_reach >/dev/null
  [[ $ROLE_STATE != absent ]] || return 0
  if [[ $STORE_HAS_PASSWORD == no ]]; then postgres_unknown; fi
  if ! pg_given | pg_tool password "$ENV_FILE" given | pg_matches; then
    if [[ $STORE_HAS_NEXT == no ]] || ! pg_password next | pg_matches; then postgres_wrong; fi
  fi
}

# An operator's DATABASE_URL is about to take the place of ours: the store stays where it is, under
# the keys of its own, with its password. In this order each half is one that Sophia works with.
postgres_move_aside() {
  local now
  now=$(pg_tool store "$ENV_FILE" </dev/null)
  [[ $now == *url_key=DATABASE_URL*has_url=yes* && $STORE_URL_KEY == SOPHIA_STORE_URL ]] || return 0
  pg_password current | env_set SOPHIA_STORE_PASS
  pg_tool address "$ENV_FILE" "$(sed -n 's/^port=//p' <<<"$now")" | env_set SOPHIA_STORE_URL
  env_unset DB_PASS # of another database: theirs must not learn it
  pg_read_store
}

# The password where it is not DB_PASS: the store beside an operator's own DATABASE_URL.
postgres_password() {
  [[ $STORE_HAS_PASSWORD == no ]] || return 0
  secret_new | env_set "$STORE_PASSWORD_KEY"
  STORE_HAS_PASSWORD=yes
}

postgres_sql() { # WHAT (for the message) DATABASE; SQL on standard input
  pg_super "$2" >>"$LOG_FILE" || fail 1 S350 "$(text pg_sql_failed "$PG_CLUSTER" "$1")" "" \
    "$(text pg_log_remedy "$LOG_FILE")"
}

postgres_role() {
  case $ROLE_STATE in
    absent)
      pg_note_made role # before: whatever kills us, it is known as ours
      pg_password current | pg_tool statement create "$PG_ROLE" | postgres_sql 'CREATE ROLE' postgres
      ;;
    mighty)
      ask_yes pg_ask_lower no "$PG_ROLE" ||
        fail 3 S349 "$(text pg_mighty "$PG_ROLE")" "$(text pg_mighty_why)" "$(text pg_mighty_remedy)"
      postgres_lower
      ;;
    locked) postgres_lower ;;
  esac
  state_set postgres_cluster "$PG_CLUSTER"
}

postgres_lower() {
  postgres_sql 'ALTER ROLE' postgres <<SQL
ALTER ROLE $PG_ROLE LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS
  VALID UNTIL 'infinity';
SQL
}

# UTF8 whatever the cluster has: template0 may be copied into any encoding, and C.UTF-8 is a locale
# that no upgrade of the system changes.
postgres_database() {
  [[ -z $DB_ENCODING ]] || return 0
  pg_note_made database # before, as the role
  postgres_sql 'CREATE DATABASE' postgres <<SQL
CREATE DATABASE $PG_DATABASE OWNER $PG_ROLE TEMPLATE template0 ENCODING 'UTF8'
  LOCALE_PROVIDER libc LOCALE 'C.UTF-8';
SQL
}

postgres_public_settled() {
  [[ $DB_PUBLIC == f || $(state_get postgres_public || true) == kept ]]
}

# A database that was there before may be used by other roles through PUBLIC: then it is asked.
postgres_revoke() {
  pg_look
  ! postgres_public_settled || return 0
  if ! pg_made database && ! ask_yes pg_ask_revoke no "$PG_DATABASE"; then
    state_set postgres_public kept
    say pg_kept_public "$PG_DATABASE"
    return 0
  fi
  postgres_sql REVOKE "$PG_DATABASE" <<SQL
BEGIN;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
REVOKE ALL ON DATABASE $PG_DATABASE FROM PUBLIC;
COMMIT;
SQL
}

# The address with the port that Postgres itself says; a password in it stays there.
postgres_address() {
  [[ $STORE_HAS_URL == no || $STORE_PORT != "$PG_PORT" ]] || return 0
  if [[ $STORE_PASSWORD_IN_URL == yes ]]; then pg_password current | env_set "$STORE_PASSWORD_KEY"; fi
  pg_tool address "$ENV_FILE" "$PG_PORT" | env_set "$STORE_URL_KEY"
}

# A real login over TCP, and why it is refused where it is.
postgres_prove() { # current or next
  local file='' line='' method=''
  pg_listens || postgres_not_listening
  if pg_password "$1" | pg_login; then return; fi
  IFS=$'\t' read -r file line method < <(pg_deciding_line) || true
  case $method in
    scram-sha-256 | md5 | password | trust)
      fail 5 S345 "$(text pg_no_login "$PG_ROLE" "$PG_PORT")" "$(text pg_no_login_other)" \
        "$(text pg_no_login_other_remedy)"
      ;;
    '')
      file=$(pg_super postgres <<<'SHOW hba_file')
      fail 5 S345 "$(text pg_no_login "$PG_ROLE" "$PG_PORT")" "$(text pg_no_login_none "$file")" \
        "$(text pg_no_login_remedy '')"
      ;;
    *)
      fail 5 S345 "$(text pg_no_login "$PG_ROLE" "$PG_PORT")" \
        "$(text pg_no_login_line "$line" "$file" "$method")" \
        "$(text pg_no_login_remedy "$(text pg_above_line "$line")")"
      ;;
  esac
}

postgres_not_listening() {
  local holder why
  holder=$(pg_port_holder)
  if [[ -n $holder ]]; then
    why=$(text pg_port_taken "$PG_PORT" "$holder")
  else
    why=$(text pg_no_login_listen "$PG_LISTEN")
  fi
  fail 5 S346 "$(text pg_no_login "$PG_ROLE" "$PG_PORT")" "$why" \
    "$(text pg_no_login_listen_remedy "${PG_CLUSTER/\// }" "${PG_CLUSTER/\// }" "${PG_CLUSTER/\//-}")"
}
