# long
# shellcheck shell=bash
# Postgres as it is found on servers: its port taken, two clusters, roles and data that are there
# already, encodings and locales, lines of pg_hba.conf; and passwords of every kind, looked for
# afterwards wherever they could have been left.

# The steps up to the database alone; ends with the first that fails.
database_only() { # [ARG...]
  local step
  for step in account env postgres; do
    install --step "$step" "$@"
    [[ $STATUS == 0 ]] || return 0
  done
}

sql() { on --workdir / -- runuser -u postgres -- psql --no-psqlrc --quiet --tuples-only --no-align "$@"; }

# Every cluster is gone, as if none had ever been.
no_clusters() {
  as_shell 'pg_lsclusters --no-header | while read -r version name _; do
    pg_dropcluster --stop "$version" "$name"; done; systemctl daemon-reload'
}

env_says() { # LINE
  on grep -qxF -- "$1" /etc/sophia/sophia.env
}

# Hashes of all roles' passwords and the names of all databases.
database_digest() {
  sql -c "SELECT md5(string_agg(rolname || coalesce(rolpassword, ''), ',' ORDER BY rolname)) FROM pg_authid" \
    -c 'SELECT string_agg(datname, $$,$$ ORDER BY datname) FROM pg_database'
}

# A login as anybody would do it: psql over TCP, with the address and the password of the env file.
psql_gets_in() {
  as_shell 'cd /opt/src && python3 -I -c "
import os, sys
sys.path.insert(0, \"/opt/src\")
from sophia_tui import envfile
found = envfile.values(open(\"/etc/sophia/sophia.env\", encoding=\"utf-8\").read())
key, password = \"DATABASE_URL\", \"DB_PASS\"
if \"SOPHIA_STORE_URL\" in found:
    key, password = \"SOPHIA_STORE_URL\", \"SOPHIA_STORE_PASS\"
os.environ[\"PGPASSWORD\"] = found[password]
os.execlp(\"psql\", \"psql\", \"-XAtwc\", \"SELECT 1\", found[key])"'
}

made_as_it_must_be() {
  [[ $(sql -c "SELECT rolsuper OR rolcreatedb OR rolcreaterole FROM pg_roles WHERE rolname = 'sophia'" "$@") == f &&
  $(sql -c "SELECT pg_encoding_to_char(encoding), pg_get_userbyid(datdba), datacl::text !~ '[{,]='
      FROM pg_database WHERE datname = 'sophia'" "$@") == 'UTF8|sophia|t' ]]
}

# ---- ports and clusters

scenario_postgres_port_taken_by_another_program() {
  machine_up --from packages
  no_clusters
  as_shell 'systemd-run --quiet --unit=squatter python3 -m http.server 5432 --bind 127.0.0.1
    until ss -Hltn "sport = :5432" | grep -q .; do sleep 0.1; done'
  database_only
  expect_status 0
  expect 'not on 5433' env_says 'DATABASE_URL=postgresql://sophia@127.0.0.1:5433/sophia'
  expect 'psql gets in' psql_gets_in
  expect 'role or database not as they must be' made_as_it_must_be -p 5433
  # the port of the cluster that is there is taken while it stands still
  as_shell 'pg_conftool 15 main set port 5432; systemctl stop postgresql@15-main'
  install --step postgres
  expect_status 5
  expect_text SOPHIA-S346 'held by another program: python3'
  as_shell 'systemctl stop squatter; systemctl restart postgresql@15-main'
  install --step postgres
  expect_status 0
  expect 'the address does not follow the port' env_says 'DATABASE_URL=postgresql://sophia@127.0.0.1:5432/sophia'
  fact '5433 asked from Postgres; a port taken later is told with its holder, and followed'
}

scenario_postgres_port_taken_by_a_second_cluster() {
  machine_up --from packages
  no_clusters
  as_shell 'pg_createcluster --start 15 theirs && pg_createcluster --start 15 main' >/dev/null
  database_only
  expect_status 0
  expect 'not on 5433' env_says 'DATABASE_URL=postgresql://sophia@127.0.0.1:5433/sophia'
  expect 'something was made in the other cluster' test -z \
    "$(sql -p 5432 -c "SELECT 1 FROM pg_roles WHERE rolname = 'sophia'")"
  expect 'psql does not get in' psql_gets_in
  install --step postgres
  expect_text unchanged
  fact 'main of two clusters, on 5433'
}

scenario_postgres_stands_still() {
  machine_up --from packages
  database_only
  expect_status 0
  as_shell 'systemctl stop postgresql@15-main'
  install --step postgres
  expect_status 0
  expect_text 'stands still; it is started'
  expect 'psql does not get in' psql_gets_in
  as_shell 'echo manual >/etc/postgresql/15/main/start.conf; systemctl daemon-reload; systemctl stop postgresql@15-main'
  install --step postgres
  expect_status 0
  expect_text 'does not start by itself at boot'
  fact 'a cluster that stands still is started; one that is manual is noted'
}

# ---- encodings and locales

scenario_postgres_cluster_in_other_encodings() {
  local kind
  machine_up --from packages
  as_shell 'echo "pt_BR ISO-8859-1" >>/etc/locale.gen; DEBIAN_FRONTEND=noninteractive apt-get -qq install -y locales >/dev/null &&
    sed -i "s/^# *pt_BR ISO/pt_BR ISO/" /etc/locale.gen && locale-gen >/dev/null' || fact 'without a Latin 1 cluster (no locales package)'
  for kind in '--locale C -e SQL_ASCII' '--locale C -e UTF8' '--locale pt_BR -e LATIN1'; do
    [[ $kind != *LATIN1* ]] || as_shell 'locale -a | grep -qi pt_br' || continue
    no_clusters
    as_shell "rm -rf /var/lib/sophia-install /etc/sophia; pg_createcluster $kind --start 15 main" >/dev/null
    database_only
    expect_status 0
    expect "$kind: not as it must be" made_as_it_must_be
    expect "$kind: an umlaut is lost" test "$(sql -d sophia -c "SELECT length('ä日'), upper('ç')")" = '2|Ç'
    fact "UTF8 in a cluster with $kind"
  done
  sql -c 'DROP DATABASE sophia' -c "CREATE DATABASE sophia OWNER sophia ENCODING 'SQL_ASCII' TEMPLATE template0 LOCALE 'C'"
  install --step postgres
  expect_status 3
  expect_text SOPHIA-S347
}

# apt makes no cluster where the locale of the environment was never generated.
scenario_postgres_locale_not_generated() {
  machine_up --from downloads
  INSTALL_ENV+=(LANG=pt_BR.UTF-8 LC_ALL=pt_BR.UTF-8)
  install --step server_packages
  expect_status 0
  database_only
  expect_status 0
  expect 'not as it must be' made_as_it_must_be
  expect 'psql does not get in' psql_gets_in
  fact "cluster: $(as_shell 'pg_lsclusters --no-header' | awk '{print $1 "/" $2, $4}')"
}

# ---- what is there already

# short
scenario_postgres_role_and_data_there_env_lost() {
  local before password
  machine_up --from packages
  database_only
  expect_status 0
  sql -d sophia -c 'CREATE TABLE kept AS SELECT 42 AS answer' -c 'ALTER TABLE kept OWNER TO sophia'
  password=$(as_shell 'sed -n s/^DB_PASS=//p /etc/sophia/sophia.env')
  before=$(database_digest)
  as_shell 'rm -rf /etc/sophia/sophia.env /var/lib/sophia-install'
  database_only
  expect_status 3
  expect_text SOPHIA-S340 '1. ' '2. ' --rotate-db-password '3. '
  expect 'an env file was written' as_shell '! test -e /etc/sophia/sophia.env'
  expect 'the database changed' test "$before" = "$(database_digest)"
  fact 'password not known: exit 3, choices listed, nothing changed'
  printf 'DB_PASS=wrong\n' | "$FM" exec "$MACHINE" -- tee /root/wrong >/dev/null
  database_only --auto-env /root/wrong
  expect_status 3
  expect_text SOPHIA-S341
  expect 'an env file was written' as_shell '! test -e /etc/sophia/sophia.env'
  expect 'the database changed' test "$before" = "$(database_digest)"
  fact 'wrong DB_PASS: exit 3, nothing changed'
  printf 'DB_PASS=%s\n' "$password" | "$FM" exec "$MACHINE" -- tee /root/right >/dev/null
  database_only --auto-env /root/right
  expect_status 0
  expect_text 'taken over'
  expect 'the database changed' test "$before" = "$(database_digest)"
  expect 'the data is gone' test "$(sql -d sophia -c 'TABLE kept')" = 42
  expect 'psql does not get in' psql_gets_in
  fact 'right DB_PASS: taken over with its data'
  database_only --auto-env /root/wrong
  expect_status 3
  expect 'a wrong password took the place of the right one' psql_gets_in
  as_shell 'rm -rf /etc/sophia/sophia.env /var/lib/sophia-install'
  install --rotate-db-password
  expect_status 0
  expect 'psql does not get in' psql_gets_in
  expect 'the data is gone' test "$(sql -d sophia -c 'TABLE kept')" = 42
  fact 'or a new password, the data kept'
}

scenario_postgres_others_are_left_alone() {
  local hba
  machine_up --from packages
  sql -c 'CREATE ROLE theirs LOGIN' -c 'CREATE DATABASE theirs OWNER theirs' -c 'CREATE DATABASE sophia'
  hba=$(as_shell 'sha256sum /etc/postgresql/15/main/*.conf')
  database_only
  expect_status 3
  expect_text SOPHIA-S348
  sql -c 'DROP DATABASE sophia'
  as_shell 'sed -i "/^host .*127.0.0.1/d" /etc/postgresql/15/main/pg_hba.conf; systemctl reload postgresql@15-main'
  install --step postgres
  expect_status 5
  expect_text SOPHIA-S345 'host   sophia   sophia   127.0.0.1/32   scram-sha-256'
  as_shell 'echo "host sophia sophia 127.0.0.1/32 scram-sha-256" >>/etc/postgresql/15/main/pg_hba.conf
    systemctl reload postgresql@15-main'
  hba=$(as_shell 'sha256sum /etc/postgresql/15/main/*.conf')
  install --step postgres
  expect_status 0
  expect 'a file of the cluster changed' test "$hba" = "$(as_shell 'sha256sum /etc/postgresql/15/main/*.conf')"
  as_shell 'sed -i "1i local all all scram-sha-256" /etc/postgresql/15/main/pg_hba.conf; systemctl reload postgresql@15-main'
  install --step postgres
  expect_status 5
  expect_text SOPHIA-S344 'local   all   postgres   peer'
  fact 'foreign database, missing lines: told, no file of the cluster touched'
}

scenario_postgres_beside_an_operators_own() {
  local theirs='postgresql://rag:s%40crt@db.example.org/rag?sslmode=require'
  machine_up --from packages
  INSTALL_ENV+=("DATABASE_URL=$theirs")
  database_only
  expect_status 0
  expect 'the DATABASE_URL changed' env_says "DATABASE_URL='$theirs'"
  expect 'no store of its own' env_says 'SOPHIA_STORE_URL=postgresql://sophia@127.0.0.1:5432/sophia'
  expect 'DB_PASS was made' as_shell '! grep -q ^DB_PASS= /etc/sophia/sophia.env'
  expect 'psql does not get in' psql_gets_in
  fact "the operator's DATABASE_URL stays, the store lies beside it"
}

# ---- passwords

# Looks for TEXT where it could have been left, the trace of the run included.
nowhere() { # TEXT
  printf %s "$1" | "$FM" exec "$MACHINE" -- bash -c 'text=$(cat)
    journalctl --no-pager --output=cat >/root/journal
    for file in /root/journal /root/processes /root/trace /var/log/sophia/install.log /var/log/postgresql/*; do
      [ -e "$file" ] || continue
      [ -s "$file" ] || { echo "empty: $file" >&2; exit 1; }
      ! grep --quiet --fixed-strings -- "$text" "$file" || { echo "found in $file" >&2; exit 1; }
    done'
}

# Postgres logs all it can, and every process list is kept while the installer runs.
watch_everything() {
  sql -c "ALTER SYSTEM SET log_statement = 'all'" -c 'ALTER SYSTEM SET log_min_duration_statement = 0' \
    -c "ALTER SYSTEM SET log_min_error_statement = 'debug5'" -c "ALTER SYSTEM SET log_min_messages = 'debug2'" \
    -c 'ALTER SYSTEM SET log_connections = on' -c 'SELECT pg_reload_conf()' >/dev/null
  as_shell "printf '%s\n' 'while :; do for each in /proc/[0-9]*; do tr \"\\\\0\" \" \" <\$each/cmdline; echo; done; done' \
    >/root/watch; systemd-run --quiet --unit=watch bash -c 'exec bash /root/watch >/root/processes 2>/dev/null'"
}

scenario_postgres_password_with_every_sign() {
  local password="it's \"Pl4nted\" \$HOME \${x} \\ \\n #1 100%s \`id\` äöüß  ç" given
  machine_up --from packages
  watch_everything
  given=$(printf '%s' "$password" | sed 's/[\\"$`]/\\&/g')
  printf 'DB_PASS="%s"\n' "$given" | "$FM" exec "$MACHINE" -- tee /root/given >/dev/null
  install --auto-env /root/given
  expect_status 0
  expect 'psql does not get in' psql_gets_in
  expect 'services do not run with it' healthy
  expect 'the store does not open' as_shell 'sophia store status --json | grep -q "\"running\": true"'
  on bash -c 'bash -x /opt/src/install_sophia_llm.sh --auto --auto-env /root/given --step postgres >/root/trace 2>&1'
  expect 'a second run changes something' as_shell 'grep -q unchanged /root/trace'
  as_shell 'systemctl stop watch; grep -q install_sophia_llm.sh /root/processes'
  expect_no_text Pl4nted
  expect 'the password was left somewhere' nowhere Pl4nted
  expect 'what the server keeps was left somewhere' nowhere 'SCRAM-SHA-256$'
  fact 'used by psql, services and worker; in no log, journal, trace or process list'
}

scenario_postgres_password_changed_and_killed() {
  local part old new
  machine_up --from installed
  as_shell "printf '%s\n' 'if [[ \$0 == */install_sophia_llm.sh ]]; then set -T
    trap '\\''[[ \$BASH_COMMAND != \"\$KILL_AT\"* ]] || kill -9 \$\$ \$BASHPID'\\'' DEBUG; fi' >/root/kill"
  local whole=("${INSTALL_ENV[@]}")
  for part in rotation_restart "postgres_sql 'ALTER ROLE'" pg_login rotation_settle \
    'env_unset SOPHIA_NEXT_PASS' PG_ROTATED=yes; do
    old=$(as_shell 'grep ^DB_PASS= /etc/sophia/sophia.env')
    INSTALL_ENV=("${whole[@]}" BASH_ENV=/root/kill "KILL_AT=$part")
    install --rotate-db-password
    expect_status 137
    INSTALL_ENV=("${whole[@]}")
    expect "killed at $part: the services that run lost access" healthy
    expect "killed at $part: sophia has no access" as_shell 'sophia store status --json | grep -q "\"running\": true"'
    as_shell 'systemctl reset-failed sophia-api sophia-worker; systemctl restart sophia-api sophia-worker'
    expect "killed at $part: the services that begin have no access" healthy
    install --step postgres
    expect_status 0
    expect "killed at $part: not ended" as_shell '! grep -q SOPHIA_NEXT_PASS /etc/sophia/sophia.env'
    new=$(as_shell 'grep ^DB_PASS= /etc/sophia/sophia.env')
    expect "killed at $part: the password is the old one" test "$old" != "$new"
    expect "killed at $part: psql does not get in" psql_gets_in
  done
  watch_everything
  install --rotate-db-password
  expect_status 0
  expect 'not healthy' healthy
  new=$(as_shell 'sed -n s/^DB_PASS=//p /etc/sophia/sophia.env')
  as_shell 'systemctl stop watch'
  expect 'the new password was left somewhere' nowhere "$new"
  fact 'killed at six points: never without access, each time ended by the next run'
}
