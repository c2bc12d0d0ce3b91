# shellcheck shell=bash
# This machine's Postgres as the installer sees it: which cluster, on which port, with what in it.
# Passwords go from program to program by pipes (postgres.py); no variable here ever holds one.

readonly PG_ROLE=sophia PG_DATABASE=sophia
readonly PG_OLDEST=15 # Sophia's SQL needs it

# Nothing that Postgres' own log could keep, whatever the cluster is set to: neither statements nor
# those that failed.
readonly PG_QUIET='-c log_min_error_statement=panic -c log_statement=none -c log_duration=off
  -c log_min_duration_statement=-1 -c log_min_duration_sample=-1 -c log_transaction_sample_rate=0
  -c pg_stat_statements.track_utility=off -c pgaudit.log=none -c lc_messages=C'

# What the installer made in the cluster, and so may drop with --purge: noted here by the step
# `postgres`, asked there and by uninstall.sh. A role that was taken over is not made.
pg_note_made() { state_set "postgres_made_$1" "$PG_CLUSTER"; } # database|role, of PG_CLUSTER
pg_made() { [[ -n $PG_CLUSTER && $(state_get "postgres_made_$1" || true) == "$PG_CLUSTER" ]]; }

pg_tool() { # VERB [ARG...]; see postgres.py
  local python
  python=$(system_python) || return 3
  PYTHONDONTWRITEBYTECODE=1 "$python" -I -B -X utf8 "$ROOT/installer/lib/postgres.py" "$@"
}

# ---- where the store is to be

# What was given for this run and goes over the env file, as KEY NUL VALUE NUL.
pg_given() {
  local - && set +x
  local key
  for key in DATABASE_URL DB_PASS SOPHIA_STORE_URL SOPHIA_STORE_PASS; do
    [[ -z ${GIVEN[$key]:-} ]] || printf '%s\0%s\0' "$key" "${GIVEN[$key]}"
  done
}

# Sets STORE_KIND, STORE_URL_KEY, STORE_PASSWORD_KEY, STORE_HAS_URL, STORE_PORT,
# STORE_PASSWORD_IN_URL, STORE_HAS_PASSWORD, STORE_HAS_NEXT from the env file, and from what was given
# for this run where that is not written yet.
pg_read_store() {
  local - && set +x
  local key value facts
  facts=$(pg_given | pg_tool store "$ENV_FILE") || fail 1 S356 "$(text pg_env_unreadable "$ENV_FILE")" "" \
    "$(text pg_env_unreadable_remedy)"
  while IFS='=' read -r key value; do
    printf -v "STORE_${key^^}" '%s' "$value"
  done <<<"$facts"
}

# ---- which cluster

# Lines of Debian's pg_lsclusters: version name port status owner folder log
pg_clusters() {
  command -v pg_lsclusters >/dev/null || return 0
  LC_ALL=C.UTF-8 pg_lsclusters --no-header 2>/dev/null |
    awk -v oldest="$PG_OLDEST" '$1 + 0 >= oldest && $4 !~ /recovery|missing/'
}

# Sets PG_CLUSTER (as 15/main), PG_PORT, PG_STATUS and PG_OWNER from one line of pg_clusters.
pg_take() { # LINE
  local version name
  read -r version name PG_PORT PG_STATUS PG_OWNER _ <<<"$1"
  PG_CLUSTER=$version/$name
}

# Chooses the cluster: the one that SOPHIA_PG_CLUSTER names, else the one of an earlier run, else one
# that holds our role or database already, else the newest main, else the newest. Returns 1 where
# there is none.
pg_choose() {
  local line lines=() wanted=${SOPHIA_PG_CLUSTER:-} best=''
  mapfile -t lines < <(pg_clusters | sort -k1,1rn -k2,2)
  PG_CLUSTER=
  [[ -n $wanted ]] || wanted=$(state_get postgres_cluster) || wanted=
  for line in "${lines[@]}"; do
    pg_take "$line"
    [[ $PG_CLUSTER != "$wanted" ]] || return 0
  done
  PG_CLUSTER=
  if [[ -n ${SOPHIA_PG_CLUSTER:-} ]]; then
    fail 4 S355 "$(text pg_no_such_cluster "$(printf '%q' "$SOPHIA_PG_CLUSTER")")" \
      "$(text pg_no_such_cluster_why "$(pg_names "${lines[@]}")")" "$(text pg_no_such_cluster_remedy)"
  fi
  for line in "${lines[@]}"; do
    pg_take "$line"
    if [[ $PG_STATUS == online* && $(pg_something_there) == yes ]]; then return 0; fi
    if [[ -z $best || ($best != *' main '* && $PG_CLUSTER == */main) ]]; then best=$line; fi
  done
  PG_CLUSTER=
  [[ -n $best ]] || return 1
  pg_take "$best"
}

pg_names() { # LINE...
  local line
  for line in "$@"; do
    awk '{printf "%s/%s ", $1, $2}' <<<"$line"
  done
}

# Makes a cluster where the system has none. Debian makes none when the locale of the environment
# is not generated; C.UTF-8 is always there.
pg_make_cluster() {
  local version
  version=$(pg_newest_program) || fail 5 S342 "$(text pg_missing)" "$(text pg_missing_why "$PG_OLDEST")" \
    "$(text pg_missing_remedy)"
  run_logged "pg_createcluster $version main" env LC_ALL=C.UTF-8 pg_createcluster --locale C.UTF-8 \
    --encoding UTF8 "$version" main || fail 1 S343 "$(text pg_not_made "$version/main")" "" \
    "$(text pg_log_remedy "$LOG_FILE")"
  systemctl daemon-reload # the generator makes a unit for each cluster
}

pg_newest_program() {
  local folder newest=
  for folder in /usr/lib/postgresql/*/bin/initdb; do
    [[ -x $folder ]] || continue
    folder=${folder#/usr/lib/postgresql/}
    folder=${folder%%/*}
    if [[ $folder =~ ^[0-9]+$ ]] && ((folder >= PG_OLDEST && folder > ${newest:-0})); then newest=$folder; fi
  done
  [[ -n $newest ]] && echo "$newest"
}

# Starts the chosen cluster where it stands still, and says why where it does not start.
pg_start() {
  local unit=postgresql@${PG_CLUSTER/\//-}.service holder
  [[ $PG_STATUS != online* ]] || return 0
  say pg_starting "$PG_CLUSTER"
  if ! run_logged "systemctl start $unit" systemctl start "$unit"; then
    holder=$(pg_port_holder)
    fail 5 S343 "$(text pg_not_started "$PG_CLUSTER" "$PG_PORT")" \
      "$([[ -z $holder ]] || text pg_port_taken "$PG_PORT" "$holder")" \
      "$(text pg_not_started_remedy "$unit" "${PG_CLUSTER/\// }")"
  fi
  PG_STATUS=online
  if [[ $(cat "/etc/postgresql/$PG_CLUSTER/start.conf" 2>/dev/null) != *auto* ]]; then
    say pg_not_at_boot "$PG_CLUSTER" "/etc/postgresql/$PG_CLUSTER/start.conf"
  fi
}

# ---- what is in it

# Runs the SQL on standard input as the cluster's superuser, over its socket; unaligned rows come out.
pg_super() { # DATABASE
  (
    cd /
    runuser -u "$PG_OWNER" -- env -i "PATH=$PATH" LC_ALL=C.UTF-8 "PGOPTIONS=${PG_QUIET//$'\n'/ }" \
      psql --cluster "$PG_CLUSTER" --no-psqlrc --quiet --tuples-only --no-align --no-password \
      --field-separator=$'\t' --set=ON_ERROR_STOP=1 --set=VERBOSITY=terse --username=postgres \
      --dbname="$1"
  )
}

# yes where our role or our database is in the chosen cluster.
pg_something_there() {
  pg_super postgres <<SQL 2>/dev/null || true
SELECT 'yes' FROM pg_catalog.pg_roles WHERE rolname = '$PG_ROLE'
UNION SELECT 'yes' FROM pg_catalog.pg_database WHERE datname = '$PG_DATABASE';
SQL
}

# Sets PG_PORT (as the server says it), PG_LISTEN, ROLE_STATE (absent, plain, mighty, locked),
# DB_ENCODING (empty: no such database), DB_OWNER, DB_PUBLIC (whether just anybody may use it).
# Returns 1 where the superuser can't get in.
pg_look() {
  local facts
  facts=$(
    pg_super postgres <<SQL
SELECT current_setting('port'), '[' || current_setting('listen_addresses') || ']', coalesce(
  (SELECT CASE
      WHEN rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls THEN 'mighty'
      WHEN NOT rolcanlogin OR rolvaliduntil < now() THEN 'locked'
      ELSE 'plain' END
    FROM pg_catalog.pg_roles WHERE rolname = '$PG_ROLE'), 'absent');
SELECT pg_catalog.pg_encoding_to_char(encoding), EXISTS (
    SELECT FROM aclexplode(coalesce(datacl, acldefault('d', datdba))) WHERE grantee = 0
  ), pg_catalog.pg_get_userbyid(datdba)
FROM pg_catalog.pg_database WHERE datname = '$PG_DATABASE';
SQL
  ) || return 1
  DB_ENCODING='' DB_PUBLIC='' DB_OWNER=''
  {
    # shellcheck disable=SC2034 # read by the step
    IFS=$'\t' read -r PG_PORT PG_LISTEN ROLE_STATE
    # shellcheck disable=SC2034
    IFS=$'\t' read -r DB_ENCODING DB_PUBLIC DB_OWNER || true
  } <<<"$facts"
}

# Whether the password on standard input is the role's. Looked up in what the server keeps, so that
# it counts too where pg_hba.conf lets everybody in. 1: another one; 4: the role has none.
pg_matches() {
  pg_tool matches "$PG_ROLE" 3< <(
    pg_super postgres <<<"SELECT rolpassword FROM pg_catalog.pg_authid WHERE rolname = '$PG_ROLE';"
  )
}

# The programs that listen on the cluster's port, as ss tells them: address users:(("name",...
pg_listeners() { ss --no-header --listening --tcp --numeric --processes "sport = :$PG_PORT" | awk '{print $4, $6}'; }

# Whether it is Postgres that answers at 127.0.0.1. It starts also where another program has taken
# its port there, and that one could ask for the password.
pg_listens() { grep -qE '^(127\.0\.0\.1|0\.0\.0\.0|\*|\[::\]):.*"postgres"' <<<"$(pg_listeners)"; }

# Which other program holds the port; nothing where none does.
pg_port_holder() {
  pg_listeners | awk -F '"' '$2 != "postgres" && $3 ~ /pid=/ {sub(/^,pid=/, "", $3); sub(/,.*/, "", $3)
    print $2 " (" $3 ")"; exit}'
}

# A real login over TCP with the password on standard input.
pg_login() { pg_tool login "$PG_PORT" "$PG_ROLE" "$PG_DATABASE"; }

pg_password() { pg_tool password "$ENV_FILE" "$1"; } # current or next

# The line of pg_hba.conf that decides over our role from 127.0.0.1: file, number, method; nothing
# where no line is meant for it.
pg_deciding_line() {
  pg_super postgres <<SQL
SELECT current_setting('hba_file'), line_number, auth_method
FROM pg_catalog.pg_hba_file_rules
WHERE error IS NULL AND type <> 'local'
  AND database && ARRAY['all', 'sameuser', '$PG_DATABASE']
  AND user_name && ARRAY['all', '$PG_ROLE']
  AND CASE
    WHEN address IN ('all', 'samehost', 'samenet', 'localhost') THEN true
    WHEN address ~ '^[0-9.]+\$' AND netmask ~ '^[0-9.]+\$'
      THEN ('127.0.0.1'::inet & netmask::inet) = (address::inet & netmask::inet)
    ELSE false END
ORDER BY line_number LIMIT 1;
SQL
}
