#!/usr/bin/env bats
# Upgrade, way back and uninstall, with fakes for systemd, Postgres, UFW and the program itself.
# shellcheck disable=SC2016,SC2034 # scripts of fakes; what the sourced functions read

bats_require_minimum_version 1.5.0

setup() {
  load helpers
  make_checkout
  make_server_folders
  mkdir -p "$CHECKOUT/sophia_tui" "$CHECKOUT/finetune"
  printf '__version__ = "0.9.0"\n' >"$CHECKOUT/sophia_tui/__init__.py"
  touch "$CHECKOUT/README.md" "$CHECKOUT/LICENSE"
  BIN=$BATS_TEST_TMPDIR/bin CALLS=$BATS_TEST_TMPDIR/calls
  mkdir -p "$BIN"
  : >"$CALLS"
  export PATH=$BIN:$PATH CALLS
  fake systemctl ufw
}

# Programs that only note how they were called: fake NAME...
fake() {
  local name
  for name in "$@"; do
    printf '#!/bin/sh\necho "%s $*" >>"$CALLS"\n' "$name" >"$BIN/$name"
    chmod +x "$BIN/$name"
  done
}

# The installer's functions, with releases in the test's own folder: /opt/sophia is everywhere's.
loaded() {
  ROOT=$CHECKOUT DATA=$SOPHIA_DATA_DIR LOG_FILE=$BATS_TEST_TMPDIR/log
  MODE=server AUTO=yes ASSUME_YES=no DRY_RUN=no JSON=no UPGRADE=yes PURGE=no ARGUMENTS=(--upgrade)
  local file
  sed -i "s:/opt/sophia:$BATS_TEST_TMPDIR/opt:g; s:^readonly SERVER_DATA=.*:SERVER_DATA=$BATS_TEST_TMPDIR/data CURRENT=$BATS_TEST_TMPDIR/opt/current:" \
    "$CHECKOUT"/installer/lib/*.sh "$CHECKOUT"/installer/steps/*.sh
  for file in "$CHECKOUT"/installer/lib/*.sh "$CHECKOUT"/installer/steps/*.sh; do
    # shellcheck source=/dev/null
    source "$file"
  done
  choose_language en
  : >"$LOG_FILE"
  STATE_FOLDER=$BATS_TEST_TMPDIR/state
  OLD=$RELEASES/0.8.0-old
  NEW=$RELEASES/$(release_name)
  mkdir -p "$OLD/venv/bin" "$OLD/src" "$NEW/venv/bin"
  printf '#!/bin/sh\necho "old installer $*" >>"$CALLS"\n' >"$OLD/src/install_sophia_llm.sh"
  chmod +x "$OLD/src/install_sophia_llm.sh"
  touch "$OLD/venv/bin/sophia" && chmod +x "$OLD/venv/bin/sophia"
  ln -sfn "$OLD" "$CURRENT"
  application_build() { echo build >>"$CALLS"; }
  release_versions() { echo "$VERSIONS"; }
  release_sophia() {
    echo "program $(basename "$1") ${*:2}" >>"$CALLS"
    [[ $2 != setup || $3 != backup ]] || printf '{"path": "%s"}' "$BACKUP"
  }
  is_root() { true; }
  BACKUP=$BATS_TEST_TMPDIR/backup.tar.zst
  touch "$BACKUP"
  ln -s "$(command -v python3)" "$OLD/venv/bin/python"
  VERSIONS='0004 0005'
}

@test "an upgrade that changes tables stops the services, then backs up" {
  loaded
  upgrade_begin >/dev/null
  run cat "$CALLS"
  [ "${lines[0]}" = build ]
  [[ ${lines[1]} == 'systemctl stop sophia-api.service sophia-worker.service' ]]
  [[ ${lines[2]} == 'program 0.8.0-old setup backup --no-datasets'* ]]
  [ "$(state_get upgrade_from)" = "$OLD" ]
  [ "$(state_get upgrade_store)" = 0004 ]
  [ "$(state_get upgrade_backup)" = "$BACKUP" ]
}

@test "an upgrade that changes no tables stops nothing" {
  loaded
  VERSIONS='0004 0004'
  upgrade_begin >/dev/null
  run ! grep -q 'systemctl stop' "$CALLS"
  grep -q 'setup backup' "$CALLS"
}

@test "without a backup there is no upgrade" {
  loaded
  rm -f "$BACKUP"
  run upgrade_begin
  [ "$status" -eq 5 ]
  [[ $output == *S419* ]]
  run ! state_get upgrade_to
}

@test "tables that are newer go back only to the backup that is known, and only with a yes" {
  loaded
  VERSIONS='0006 0005'
  run upgrade_begin
  [ "$status" -eq 3 ]
  [[ $output == *S480* ]]
  state_set upgraded_from "$NEW"
  state_set upgraded_backup "$BACKUP"
  run upgrade_begin
  [ "$status" -eq 3 ]
  [[ $output == *S481* ]]
  ASSUME_YES=yes
  upgrade_begin >/dev/null 2>&1
  grep -q "program $(basename "$NEW") setup restore $BACKUP" "$CALLS"
}

@test "a dry run of an upgrade says what would be done and does nothing" {
  loaded
  DRY_RUN=yes
  run upgrade_begin
  [ "$status" -eq 0 ]
  [[ $output == *0.8.0-old*0.9.0* ]]
  [ ! -s "$CALLS" ]
}

@test "what fails goes back: the link, the tables, then the units of that release" {
  loaded
  upgrade_begin >/dev/null
  ln -sfn "$NEW" "$CURRENT"
  VERSIONS='0005 0004'
  : >"$CALLS"
  status=1
  run upgrade_way_back
  [[ $output == *'0.8.0-old runs again'* ]]
  [ "$(readlink -f "$CURRENT")" = "$OLD" ]
  run cat "$CALLS"
  [[ ${lines[0]} == 'systemctl stop '* ]]
  [[ ${lines[1]} == "program 0.8.0-old setup restore $BACKUP"* ]]
  [ "${lines[2]}" = 'old installer --auto --step units' ]
  [ "${lines[3]}" = 'old installer --auto --step health' ]
  run ! state_get upgrade_to
}

@test "tables that were not changed are not touched on the way back" {
  loaded
  VERSIONS='0004 0004'
  upgrade_begin >/dev/null
  status=1
  run upgrade_way_back
  run ! grep -q 'setup restore' "$CALLS"
}

@test "a way back that fails names the backup and is remembered" {
  loaded
  upgrade_begin >/dev/null
  printf '#!/bin/sh\nexit 1\n' >"$OLD/src/install_sophia_llm.sh"
  status=1
  run upgrade_way_back
  [[ $output == *"$BACKUP"* ]]
  [ "$(state_get upgrade_from)" = "$OLD" ]
}

@test "an upgrade that was killed goes on with its backup, or is taken back by the old version" {
  loaded
  upgrade_begin >/dev/null
  : >"$CALLS"
  UPGRADE_FROM='' ON_EXIT=()
  run upgrade_begin
  [[ $output == *'goes on'* ]]
  [ ! -s "$CALLS" ]
  state_set upgrade_to "$RELEASES/another"
  run upgrade_begin
  [ "$status" -eq 3 ]
  [[ $output == *S482* ]]
}

@test "two releases stay, and those that something runs out of" {
  loaded
  mkdir -p "$RELEASES/0.1.0-unused" "$RELEASES/0.2.0-used/venv"
  cd "$RELEASES/0.2.0-used/venv"
  ln -sfn "$NEW" "$CURRENT"
  UPGRADE_FROM=$OLD UPGRADE_BACKUP=$BACKUP
  upgrade_end >/dev/null
  cd "$BATS_TEST_TMPDIR"
  [ -d "$OLD" ] && [ -d "$NEW" ] && [ -d "$RELEASES/0.2.0-used" ]
  [ ! -e "$RELEASES/0.1.0-unused" ]
}

@test "removing Sophia is asked for: without a yes nothing goes" {
  loaded
  run uninstall_server
  [ "$status" -eq 3 ]
  [[ $output == *S485* ]]
  PURGE=yes
  run uninstall_server
  [ "$status" -eq 3 ]
  run ! grep -q 'systemctl stop' "$CALLS"
}

@test "a dry run of an uninstall lists and removes nothing" {
  loaded
  DRY_RUN=yes
  run uninstall_server
  [ "$status" -eq 0 ]
  [[ $output == */etc/systemd/system/sophia-api.service* ]]
  [ -d "$RELEASES" ]
}

@test "only rules of the firewall with our comment go" {
  loaded
  cat >"$BIN/ufw" <<'FAKE'
#!/bin/sh
if [ "$1 $2" = 'show added' ]; then
  echo "ufw allow 22/tcp"
  echo "ufw allow from 10.0.0.0/8 to any port 8000 proto tcp comment 'Sophia API'"
  echo "ufw allow 8000/tcp comment 'mine'"
else
  echo "ufw $*" >>"$CALLS"
fi
FAKE
  uninstall_firewall >/dev/null
  run cat "$CALLS"
  [ "$output" = 'ufw --force delete allow from 10.0.0.0/8 to any port 8000 proto tcp' ]
}

@test "a database that was here before is not dropped, ours is, and a role of others stays" {
  loaded
  pg_choose() { PG_CLUSTER=15/main; }
  pg_start() { :; }
  pg_super() { cat >>"$CALLS"; }
  uninstall_database
  [ ! -s "$CALLS" ]
  [[ ${UNINSTALL_LEFT[*]} == *'did not make it'* ]]
  pg_choose
  pg_note_made database
  UNINSTALL_LEFT=()
  uninstall_database
  run cat "$CALLS"
  [[ $output == 'DROP DATABASE IF EXISTS sophia WITH (FORCE);' ]]
  [[ ${UNINSTALL_LEFT[*]} == *'the role sophia'* ]]
  pg_note_made role
  uninstall_database
  grep -q 'DROP ROLE IF EXISTS sophia' "$CALLS"
}

@test "a purge without a last backup is refused, unless that was said" {
  loaded
  PURGE=yes
  migrate_sophia() { return 1; }
  run uninstall_last_backup
  [ "$status" -eq 5 ]
  [[ $output == *S487* ]]
  SOPHIA_LAST_BACKUP=no run uninstall_last_backup
  [ "$status" -eq 0 ]
}

@test "what the step made in the cluster is what a purge drops" {
  loaded
  PG_CLUSTER=15/main ROLE_STATE=absent DB_ENCODING=''
  pg_choose() { PG_CLUSTER=15/main; }
  pg_start() { :; }
  pg_password() { echo secret; }
  pg_super() { cat >>"$CALLS"; }
  postgres_role
  postgres_database
  : >"$CALLS"
  uninstall_database
  grep -qx 'DROP DATABASE IF EXISTS sophia WITH (FORCE);' "$CALLS"
  grep -qx 'DROP ROLE IF EXISTS sophia;' "$CALLS"
  [ "${#UNINSTALL_LEFT[@]}" -eq 0 ]
}

@test "a role that was taken over is not dropped, the database that was made in it is" {
  loaded
  PG_CLUSTER=15/main ROLE_STATE=plain DB_ENCODING='' STORE_HAS_PASSWORD=yes STORE_HAS_NEXT=no
  pg_choose() { PG_CLUSTER=15/main; }
  pg_start() { :; }
  pg_password() { echo secret; }
  pg_matches() { true; }
  pg_super() { cat >>"$CALLS"; }
  run postgres_guard
  [[ $output == *'taken over'* ]]
  run postgres_guard
  [ "$output" = '' ]
  postgres_role
  postgres_database
  uninstall_database
  grep -q 'DROP DATABASE' "$CALLS"
  run ! grep -q 'DROP ROLE' "$CALLS"
  [[ ${UNINSTALL_LEFT[*]} == *'the role sophia'* ]]
}

# What uninstall_processes sees: the processes of this file, as the account's.
processes_of_ours() {
  account_is_ours() { true; }
  getent() { true; }
  account_processes() { ! kill -0 "$OTHER" 2>/dev/null || echo "$OTHER"; }
}

@test "what runs as the account is ended before its folders go, by force where it must be" {
  loaded
  processes_of_ours
  # the shell of the test is not the parent: what ended leaves nothing that kill would still find
  OTHER=$(sleep 300 >/dev/null 2>&1 3>&- & echo $!)
  run uninstall_processes
  [ "$status" -eq 0 ]
  [[ $output == *"$OTHER"* ]]
  run ! kill -0 "$OTHER"
  OTHER=$(bash -c 'trap "" TERM; echo "$$"; exec sleep 300 >/dev/null 2>&1 3>&-' &)
  PROCESSES_END=0
  uninstall_processes
  run ! kill -0 "$OTHER"
  [ "${#UNINSTALL_LEFT[@]}" -eq 0 ]
}

@test "the processes of an account are found, and no others" {
  loaded
  id() { echo 4242424; }
  [ "$(account_processes)" = '' ]
  id() { command id -u; }
  account_processes | grep -qx "$$"
}

@test "an account that can't be removed is told, with the reason" {
  loaded
  PURGE=yes ASSUME_YES=yes
  is_root() { true; }
  for each in uninstall_last_backup uninstall_services uninstall_processes uninstall_files \
    uninstall_left uninstall_plan uninstall_database; do
    eval "$each() { :; }"
  done
  uninstall_data() { uninstall_account; }
  userdel() { echo 'userdel: user sophia is currently used by process 77' >&2; return 8; }
  run uninstall_server
  [ "$status" -eq 1 ]
  [[ $output == *S488*'process 77'* ]]
}
