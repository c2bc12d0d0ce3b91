#!/usr/bin/env bats
# The steps for Postgres and for Sophia's tables: which cluster, what ends them before anything is
# changed, what is taken over, and a change of the password that may be cut off anywhere. A fake
# cluster stands for Debian's; the real one is in machines/.

setup() {
  load helpers
  load_library
  make_server_folders
  mkdir -p "$BATS_TEST_TMPDIR/bin"
  PATH=$BATS_TEST_TMPDIR/bin:$PATH
  MODE=server AUTO=yes ASSUME_YES=no DRY_RUN=no JSON=no ROTATE=no
  local file
  for file in "$CHECKOUT"/installer/steps/{51-postgres,71-migrate}.sh; do
    # shellcheck source=/dev/null
    source "$file"
  done
  umask 022
  fake_cluster
}

# ---- a cluster of files: what is in it, and what was asked of it

fake_cluster() {
  SQL=$BATS_TEST_TMPDIR/sql STORED=$BATS_TEST_TMPDIR/stored
  CLUSTERS='15 main 5433 online postgres /data /log'
  FACTS=$'5433\t[localhost]\tabsent' HBA=$'/etc/hba\t7\tscram-sha-256'
  : >"$SQL"
  pg_lsclusters() { [[ -z $CLUSTERS ]] || printf '%s\n' "$CLUSTERS"; }
  pg_super() {
    local said
    said=$(cat)
    case $said in
      *rolpassword*) if [[ -s $STORED ]]; then sed "s/.*PASSWORD '\(.*\)'.*/\1/" "$STORED"; fi ;;
      *listen_addresses*) printf '%s\n' "$FACTS" ;;
      *pg_hba_file_rules*) printf '%s\n' "$HBA" ;;
      *hba_file*) echo /etc/hba ;;
      *UNION*) echo "$THERE" ;;
      *)
        printf '%s\n' "$said" >>"$SQL"
        [[ $said != *PASSWORD* ]] || printf '%s\n' "$said" >"$STORED"
        ;;
    esac
  }
  pg_listens() { true; }
  # a login is right where the password is the one that is stored
  pg_login() { pg_matches; }
  systemctl() { [[ $1 != is-active ]]; }
  THERE=''
}

role_with() { # PASSWORD: the cluster has role and database with it
  printf %s "$1" | pg_tool statement create sophia >"$STORED"
  FACTS=$'5433\t[localhost]\tplain\nUTF8\tf\tsophia'
}

given_env() { printf '%s\n' "$@" >"$ENV_FILE"; }

refute() { if "$@"; then return 1; fi; }

# A step in a shell of its own, as run_step calls it.
apply() {
  local status=0
  (
    set -Eeuo pipefail
    postgres_check || postgres_apply
  ) || status=$?
  return "$status"
}

# ---- which cluster

@test "clusters that are too old, stand by or lack their program are not looked at" {
  CLUSTERS='13 main 5432 online postgres /a /b
15 main 5433 online,recovery postgres /a /b
16 main 5434 down,binaries_missing postgres /a /b
17 main 5435 down postgres /a /b'
  run pg_clusters
  [ "$output" = '17 main 5435 down postgres /a /b' ]
}

@test "of several clusters the newest main is taken, and its port and owner with it" {
  CLUSTERS='15 main 5432 online postgres /a /b
17 other 5434 online postgres /a /b
16 main 5433 online dba /a /b'
  pg_choose
  [ "$PG_CLUSTER $PG_PORT $PG_OWNER $PG_STATUS" = '16/main 5433 dba online' ]
}

@test "a cluster that holds our role goes before the newest, one of an earlier run before both" {
  CLUSTERS='15 main 5432 online postgres /a /b
17 main 5434 online postgres /a /b
16 main 5433 online postgres /a /b'
  pg_something_there() { [[ $PG_CLUSTER != 15/main ]] || echo yes; }
  pg_choose
  [ "$PG_CLUSTER" = 15/main ]
  state_set postgres_cluster 16/main
  pg_choose
  [ "$PG_CLUSTER" = 16/main ]
  SOPHIA_PG_CLUSTER=17/main pg_choose
  [ "$PG_CLUSTER" = 17/main ]
}

@test "a cluster that was named and is not there is refused with those that are" {
  SOPHIA_PG_CLUSTER=16/nope run pg_choose
  [ "$status" -eq 4 ]
  [[ $output == *'SOPHIA-S355'*'15/main'* ]]
}

@test "without any cluster none is chosen; without any program that is told" {
  CLUSTERS=''
  run pg_choose
  [ "$status" -eq 1 ]
  pg_newest_program() { return 1; }
  run pg_make_cluster
  [ "$status" -eq 5 ]
  [[ $output == *'SOPHIA-S342'* ]]
}

@test "a cluster that does not start is told with who holds its port" {
  CLUSTERS='15 main 5432 down postgres /a /b'
  pg_choose
  run_logged() { return 1; }
  pg_listeners() { echo '127.0.0.1:5432 users:(("python3",pid=77,fd=3))'; }
  run pg_start
  [ "$status" -eq 5 ]
  [[ $output == *'SOPHIA-S343'*'python3 (77)'* ]]
}

@test "Postgres counts as listening only where it is Postgres, at 127.0.0.1" {
  fake_listeners() {
    unset -f pg_listens
    # shellcheck source=/dev/null
    source <(sed -n '/^pg_listens()/p' "$CHECKOUT/installer/lib/postgres.sh")
    eval "pg_listeners() { echo '$1'; }"
    PG_PORT=5432 pg_listens
  }
  fake_listeners '127.0.0.1:5432 users:(("postgres",pid=1,fd=6))'
  fake_listeners '0.0.0.0:5432 users:(("postgres",pid=1,fd=6))'
  refute fake_listeners '[::1]:5432 users:(("postgres",pid=1,fd=6))'
  refute fake_listeners '127.0.0.1:5432 users:(("nc",pid=1,fd=6))'
  refute fake_listeners '10.0.0.2:5432 users:(("postgres",pid=1,fd=6))'
}

# ---- made anew

@test "on an empty cluster role, database, revoke and address come in that order, the password kept" {
  given_env 'DB_PASS="it'\''s \$5"'
  pg_look_again() { FACTS=$'5433\t[localhost]\tplain\nUTF8\tt\tsophia'; }
  pg_super_once=$(declare -f pg_super)
  eval "${pg_super_once/pg_super/super_before}"
  pg_super() {
    [[ ! -s $STORED ]] || pg_look_again
    super_before "$@"
  }
  apply
  run grep -oE '^(CREATE (ROLE|DATABASE)|REVOKE ALL ON (SCHEMA|DATABASE))' "$SQL"
  [ "${lines[*]}" = 'CREATE ROLE CREATE DATABASE REVOKE ALL ON SCHEMA REVOKE ALL ON DATABASE' ]
  grep -q 'NOSUPERUSER NOCREATEDB NOCREATEROLE' "$SQL"
  grep -q "TEMPLATE template0 ENCODING 'UTF8'" "$SQL"
  refute grep -qF "it's" "$SQL"
  [ "$(env_get DATABASE_URL)" = postgresql://sophia@127.0.0.1:5433/sophia ]
  [ "$(env_get DB_PASS)" = "it's \$5" ]
}

@test "beside an operator's own DATABASE_URL the store has its own address and password" {
  given_env 'DATABASE_URL=postgresql://rag:x@db.example/rag' 'DB_PASS=theirs'
  FACTS=$'5433\t[localhost]\tabsent\nUTF8\tf\tsophia'
  apply
  [ "$(env_get DATABASE_URL)" = postgresql://rag:x@db.example/rag ]
  [ "$(env_get DB_PASS)" = theirs ]
  [ "$(env_get SOPHIA_STORE_URL)" = postgresql://sophia@127.0.0.1:5433/sophia ]
  [[ $(env_get SOPHIA_STORE_PASS) =~ ^[A-Za-z0-9]{32}$ ]]
}

@test "a second run changes nothing, and says so by its check" {
  role_with right
  given_env DB_PASS=right DATABASE_URL=postgresql://sophia@127.0.0.1:5433/sophia
  postgres_check
  [ ! -s "$SQL" ]
}

@test "each thing that is not as it must be makes the check fail" {
  role_with right
  given_env DB_PASS=right DATABASE_URL=postgresql://sophia@127.0.0.1:5432/sophia
  refute postgres_check # the port is another one
  given_env DB_PASS=right DATABASE_URL=postgresql://sophia@127.0.0.1:5433/sophia
  postgres_check
  local facts
  for facts in $'5433\t[x]\tmighty\nUTF8\tf\tsophia' $'5433\t[x]\tplain\nLATIN1\tf\tsophia' \
    $'5433\t[x]\tplain\nUTF8\tt\tsophia' $'5433\t[x]\tplain\nUTF8\tf\tana' $'5433\t[x]\tlocked'; do
    FACTS=$facts
    refute postgres_check || { echo "$facts"; false; }
  done
  role_with other
  refute postgres_check
}

@test "a store that lies elsewhere is left alone; there is no password to be changed then" {
  given_env SOPHIA_STORE_URL=postgresql://s@store.example/s
  run postgres_check
  [ "$status" -eq 0 ]
  ROTATE=yes run apply
  [ "$status" -eq 2 ]
  [[ $output == *'SOPHIA-S357'* ]]
}

# ---- what is there already

stops_unchanged() { # EXIT CODE
  local before
  before=$(sha256sum "$ENV_FILE" "$STORED" 2>/dev/null) || true
  run apply
  [ "$status" -eq "$1" ]
  [[ $output == *"SOPHIA-$2"* ]] || { echo "$output"; false; }
  [ ! -s "$SQL" ]
  [ "$before" = "$(sha256sum "$ENV_FILE" "$STORED" 2>/dev/null)" ]
}

@test "a role whose password is not known ends it with the choices, nothing changed" {
  role_with old
  given_env ALLOW_FINETUNE=true
  stops_unchanged 3 S340
  [[ $output == *'1. '*'2. '*'--rotate-db-password'*'3. '* ]]
}

@test "a wrong password ends it, nothing changed; the right one takes over" {
  role_with right
  given_env DB_PASS=wrong
  stops_unchanged 3 S341
  given_env DB_PASS=right
  run apply
  [ "$status" -eq 0 ]
  [[ $output == *'taken over'* ]]
  [ ! -s "$SQL" ]
  [ "$(env_get DATABASE_URL)" = postgresql://sophia@127.0.0.1:5433/sophia ]
}

@test "a database of somebody else, or in another encoding, ends it" {
  role_with right
  given_env DB_PASS=right
  FACTS=$'5433\t[localhost]\tplain\nUTF8\tf\tana'
  stops_unchanged 3 S348
  FACTS=$'5433\t[localhost]\tplain\nSQL_ASCII\tf\tsophia'
  stops_unchanged 3 S347
}

@test "rights of a role that was there are taken away only after a yes" {
  role_with right
  given_env DB_PASS=right
  FACTS=$'5433\t[localhost]\tmighty\nUTF8\tf\tsophia'
  stops_unchanged 3 S349
  ASSUME_YES=yes apply
  grep -q 'NOSUPERUSER NOCREATEDB NOCREATEROLE' "$SQL"
}

@test "the right to connect is taken from everybody where the database is ours, else after a yes" {
  role_with right
  given_env DB_PASS=right
  FACTS=$'5433\t[localhost]\tplain\nUTF8\tt\tsophia'
  apply
  refute grep -q REVOKE "$SQL"
  [ "$(state_get postgres_public)" = kept ]
  state_clear postgres_public
  PG_CLUSTER=15/main pg_note_made database
  given_env DB_PASS=right
  apply
  grep -q 'REVOKE ALL ON DATABASE' "$SQL"
}

@test "before a password is written into the env file it must be the role's, where there is one" {
  given_env ALLOW_FINETUNE=true
  GIVEN[DB_PASS]=any
  postgres_may_write
  role_with right
  run postgres_may_write
  [ "$status" -eq 3 ]
  [[ $output == *'SOPHIA-S341'* ]]
  GIVEN[DB_PASS]=right
  postgres_may_write
  unset 'GIVEN[DB_PASS]'
  run postgres_may_write
  [ "$status" -eq 3 ]
  [[ $output == *'SOPHIA-S340'* ]]
  ROTATE=yes postgres_may_write
  GIVEN[DATABASE_URL]=postgresql://sophia:right@localhost:5433/sophia
  postgres_may_write
  GIVEN[DATABASE_URL]=postgresql://rag@db.example/rag GIVEN[DB_PASS]=theirs
  GIVEN[SOPHIA_STORE_PASS]=right
  postgres_may_write
}

@test "where an operator's DATABASE_URL comes later the store stays, with its password" {
  role_with right
  given_env DB_PASS=right DATABASE_URL=postgresql://sophia@127.0.0.1:5433/sophia
  GIVEN[DATABASE_URL]=postgresql://rag:x@db.example/rag
  postgres_may_write
  [ "$(env_get SOPHIA_STORE_PASS)" = right ]
  [ "$(env_get SOPHIA_STORE_URL)" = postgresql://sophia@127.0.0.1:5433/sophia ]
  refute env_has DB_PASS
  printf %s "${GIVEN[DATABASE_URL]}" | env_set DATABASE_URL
  postgres_check
}

@test "a line of pg_hba.conf that keeps the role out is named, and the one that is missing" {
  role_with right
  given_env DB_PASS=right
  pg_login() { return 2; }
  HBA=$'/etc/hba\t7\treject'
  stops_unchanged 5 S345
  [[ $output == *'Line 7 of /etc/hba'*'reject'*'above line 7'*'127.0.0.1/32   scram-sha-256'* ]]
  HBA=''
  stops_unchanged 5 S345
  [[ $output == *'No line of /etc/hba'* ]]
  HBA=$'/etc/hba\t7\tmd5'
  stops_unchanged 5 S345
  pg_listens() { false; }
  pg_listeners() { echo '127.0.0.1:5433 users:(("nc",pid=9,fd=3))'; }
  stops_unchanged 5 S346
  [[ $output == *'nc (9)'* ]]
}

@test "the administrator who can't get in is told the line that is missing" {
  given_env DB_PASS=right
  pg_super() { return 2; }
  run apply
  [ "$status" -eq 5 ]
  [[ $output == *'SOPHIA-S344'*'local   all   postgres   peer'* ]]
}

@test "what Postgres refuses ends it with the log's place" {
  PG_CLUSTER=15/main
  pg_super() { return 3; }
  run postgres_sql 'CREATE ROLE' postgres <<<'SELECT 1'
  [ "$status" -eq 1 ]
  [[ $output == *'SOPHIA-S350'*"$LOG_FILE"* ]]
}

# ---- a new password

rotated_env() { given_env DB_PASS=old DATABASE_URL=postgresql://sophia@127.0.0.1:5433/sophia; }

# Whether Sophia gets in with what the env file says, as it tries it: the one, else the next one.
sophia_gets_in() { pg_password current | pg_matches || pg_password next | pg_matches; }

@test "a new password takes the place of the old one, which no longer works" {
  role_with old
  rotated_env
  ROTATE=yes run apply
  [ "$status" -eq 0 ]
  sophia_gets_in
  [[ $(env_get DB_PASS) =~ ^[A-Za-z0-9]{32}$ ]]
  refute env_has SOPHIA_NEXT_PASS
  refute pg_matches < <(printf %s old)
  [[ $output != *"$(env_get DB_PASS)"* ]]
}

# Runs the change in a shell that is killed at the N-th call of PART: before it, or after it was done.
killed_change() { # PART N before|after
  echo 0 >"$BATS_TEST_TMPDIR/calls"
  (
    set -Eeuo pipefail
    CHANGE=$BASHPID
    eval "whole_$(declare -f "$1")"
    eval "$1() {
      echo \$((\$(<'$BATS_TEST_TMPDIR/calls') + 1)) >'$BATS_TEST_TMPDIR/calls'
      if ((\$(<'$BATS_TEST_TMPDIR/calls') != $2)); then
        whole_$1 \"\$@\"
        return
      fi
      if [[ $3 == after ]]; then whole_$1 \"\$@\"; fi
      kill -9 \$CHANGE \$BASHPID
    }"
    pg_read_store && pg_choose && pg_look && postgres_rotate
  ) >/dev/null 2>&1
}

@test "killed before or after any part of the change Sophia gets in, and the next run ends it" {
  local part number when status
  while read -r part number; do
    for when in before after; do
      role_with old
      rotated_env
      status=0
      killed_change "$part" "$number" "$when" || status=$?
      [ "$status" -eq 137 ] || { echo "$part $number $when: not killed"; false; }
      sophia_gets_in || { echo "$part $number $when: locked out"; false; }
      apply >/dev/null || { echo "$part $number $when: not taken up"; false; }
      sophia_gets_in || { echo "$part $number $when: locked out afterwards"; false; }
      refute env_has SOPHIA_NEXT_PASS
    done
  done <<'PARTS'
env_set 1
rotation_restart 1
postgres_sql 1
pg_login 1
rotation_settle 1
env_set 2
env_unset 1
rotation_restart 2
PARTS
}

@test "a password in the address leaves it with the change" {
  role_with 'p@ %'
  given_env 'DATABASE_URL=postgresql://sophia:p%40%20%25@localhost:5433/sophia?sslmode=prefer'
  ROTATE=yes apply
  [ "$(env_get DATABASE_URL)" = 'postgresql://sophia@localhost:5433/sophia?sslmode=prefer' ]
  sophia_gets_in
}

@test "a new password that no login proves leaves both in the env file" {
  role_with old
  rotated_env
  pg_read_store
  pg_choose
  pg_look
  pg_login() { return 2; }
  run postgres_rotate
  [ "$status" -eq 5 ]
  [[ $output == *'SOPHIA-S352'* ]]
  [ "$(env_get DB_PASS)" = old ]
  sophia_gets_in
}

@test "services that run are restarted before and after; one that does not come up is told" {
  systemctl() { echo "$*" >>"$BATS_TEST_TMPDIR/asked"; }
  rotation_restart
  run grep -c '^restart' "$BATS_TEST_TMPDIR/asked"
  [ "$output" = 2 ]
  systemctl() { [[ $1 == is-active ]]; }
  run rotation_restart
  [ "$status" -eq 1 ]
  [[ $output == *'SOPHIA-S351'* ]]
}

# ---- the tables

@test "the tables are right only where their version is the one that the program needs" {
  run migrate_read <<<'{"schema_version": "0004", "program_version": "0004"}'
  [ "$status $output" = '0 0004' ]
  run migrate_read <<<'{"schema_version": "0003", "program_version": "0004"}'
  [ "$status" -eq 1 ]
  run migrate_read <<<'{"schema_version": null, "program_version": "0004"}'
  [ "$status" -eq 1 ]
}

@test "tables that can't be brought up to date end the step with Sophia's own status" {
  migrate_sophia() { return 5; }
  run migrate_apply
  [ "$status" -eq 5 ]
  [[ $output == *'SOPHIA-S353'* ]]
}
