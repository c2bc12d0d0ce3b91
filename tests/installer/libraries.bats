#!/usr/bin/env bats
# The functions that the steps stand on: env file, state, secrets, questions, the log, clean-up.

bats_require_minimum_version 1.5.0

setup() {
  load helpers
  load_library
  make_server_folders
}

# A value with everything that shells, systemd and Postgres trip over.
NASTY="a b'c\"d\$e\\f#g%h\`i=ü  "

@test "a value goes into the env file and comes back byte for byte" {
  printf %s "$NASTY" | env_set DB_PASS
  printf %s second | env_set OTHER
  [ "$(env_get DB_PASS && echo .)" = "$NASTY." ]
  env_has DB_PASS
  ! env_has NOTHING
  [ "$(env_missing DB_PASS OTHER NOTHING)" = NOTHING ]
  env_unset DB_PASS
  ! env_has DB_PASS
  [ "$(env_get OTHER)" = second ]
}

@test "what systemd and bash read in the env file is what was written" {
  printf %s "$NASTY" | env_set DB_PASS
  # shellcheck source=/dev/null
  [ "$(source "$ENV_FILE" && printf '%s.' "$DB_PASS")" = "$NASTY." ]
}

@test "a new env file is 0640, an existing one keeps its mode, an equal value its inode" {
  printf %s 1 | env_set A
  [ "$(stat -c %a "$ENV_FILE")" = 640 ]
  chmod 600 "$ENV_FILE"
  printf %s 2 | env_set A
  [ "$(stat -c %a "$ENV_FILE")" = 600 ]
  local before
  before=$(stat -c '%i %Y' "$ENV_FILE")
  printf %s 2 | env_set A
  [ "$before" = "$(stat -c '%i %Y' "$ENV_FILE")" ]
}

@test "a value with a line feed is refused, and the file stays as it was" {
  printf %s 1 | env_set A
  run env_set A <<<"x
B=2"
  [ "$status" -eq 1 ]
  [[ $output == *'SOPHIA-S324'* ]]
  [ "$(tail -n 1 "$ENV_FILE")" = A=1 ]
}

@test "a full disk leaves the old env file whole and no leftover" {
  [ -w /dev/shm ] && [ "$EUID" -eq 0 ] || skip 'needs root to make a small disk'
  mkdir "$BATS_TEST_TMPDIR/small"
  mount -t tmpfs -o size=8k tmpfs "$BATS_TEST_TMPDIR/small" || skip 'may not mount here'
  ENV_FILE=$BATS_TEST_TMPDIR/small/sophia.env
  printf %s 1 | env_set A
  dd if=/dev/zero of="$BATS_TEST_TMPDIR/small/full" bs=4k count=9 2>/dev/null || true
  run env_set A < <(printf %s 2)
  local left
  left=$(ls -A "$BATS_TEST_TMPDIR/small")
  local held
  held=$(tail -n 1 "$ENV_FILE")
  umount "$BATS_TEST_TMPDIR/small"
  [ "$status" -eq 1 ]
  [ "$held" = A=1 ]
  [ "$left" = full$'\n'sophia.env ]
}

settings_file() { printf '%b' "$1" >"$BATS_TEST_TMPDIR/given"; }

@test "--auto-env: export, quotes, comments, a byte order mark and CRLF are read" {
  settings_file "\xef\xbb\xbf# mine\r\nexport A=1\r\nB='two  words'\r\n\r\nC=\"x\\\\\$y\" # note\r\n"
  env_load "$BATS_TEST_TMPDIR/given"
  [ "${GIVEN[A]}" = 1 ]
  [ "${GIVEN[B]}" = 'two  words' ]
  [ "${GIVEN[C]}" = 'x$y' ]
}

@test "--auto-env: hostile lines are refused by number, and no value is shown" {
  local each want
  while IFS='|' read -r want each; do
    settings_file "A=1\n$each\n"
    run env_load "$BATS_TEST_TMPDIR/given"
    [ "$status" -eq 2 ] || { echo "$each: $status $output"; false; }
    [[ $output == *'SOPHIA-S326'*"line $want"* ]] || { echo "$each: $output"; false; }
    [[ $output != *hidden* ]] || { echo "$each: $output"; false; }
  done <<'LINES'
2|hidden
2|1B=hidden
2|B-C=hidden
2|=hidden
2|B C=hidden
2|B="hidden\n\tmore"
2|B="hidden
2|B='hidden
2|A=hidden
2|PATH=hidden
2|LD_PRELOAD=hidden
2|BASH_ENV=hidden
2|PYTHONPATH=hidden
2|B=hidden\x00
2|B=hidden\x01
2|B=hidden\xff
3|C=2\nrm -rf hidden
LINES
}

@test "--auto-env: nothing in it is ever run" {
  settings_file "A=\$(touch $BATS_TEST_TMPDIR/ran)\nB=\`touch $BATS_TEST_TMPDIR/ran\`\n"
  env_load "$BATS_TEST_TMPDIR/given"
  [ "${GIVEN[A]}" = "\$(touch $BATS_TEST_TMPDIR/ran)" ]
  [ ! -e "$BATS_TEST_TMPDIR/ran" ]
}

@test "--auto-env: a file that is not there, a folder and a pipe end with a clear error" {
  run env_load "$BATS_TEST_TMPDIR/nothing"
  [ "$status" -eq 4 ]
  [[ $output == *'SOPHIA-S325'* ]]
  run env_load "$BATS_TEST_TMPDIR"
  [ "$status" -eq 2 ]
  mkfifo "$BATS_TEST_TMPDIR/pipe"
  run env_load "$BATS_TEST_TMPDIR/pipe"
  [ "$status" -eq 2 ]
  [[ $output == *'SOPHIA-S326'* ]]
}

@test "the state is kept, changed and cleared, for root alone" {
  run state_get step
  [ "$status" -eq 1 ]
  state_set step env
  state_set other 'a=b c'
  state_set step postgres
  [ "$(state_get step)" = postgres ]
  [ "$(state_get other)" = 'a=b c' ]
  state_clear step
  run state_get step
  [ "$status" -eq 1 ]
  [ "$(state_get other)" = 'a=b c' ]
  [ "$(stat -c %a "$STATE_FOLDER" "$STATE_FOLDER/state" | xargs)" = '700 600' ]
  run state_set bad $'two\nlines'
  [ "$status" -eq 2 ]
}

@test "a new secret has the asked length, letters and digits alone, and is new each time" {
  local first second
  first=$(secret_new) second=$(secret_new 48)
  [[ $first =~ ^[A-Za-z0-9]{32}$ ]]
  [[ $second =~ ^[A-Za-z0-9]{48}$ ]]
  [ "${second:0:32}" != "$first" ]
}

@test "known secrets and passwords in addresses never reach the log" {
  secret_known 'p a$s*w'
  run_logged test printf '%s\n' 'one p a$s*w two' 'postgresql://me:hidden@host/db' 'plain'
  [[ $(cat "$LOG_FILE") == *'one *** two'*'postgresql://me:***@host/db'*plain* ]]
  [[ $(cat "$LOG_FILE") != *hidden* ]]
}

@test "no value is traced by set -x" {
  cat >"$BATS_TEST_TMPDIR/program" <<SCRIPT
ROOT=$CHECKOUT LOG_FILE=$LOG_FILE
for file in "$CHECKOUT"/installer/lib/*.sh; do source "\$file"; done
choose_language en
ENV_FILE=$ENV_FILE
set -x
env_load "$BATS_TEST_TMPDIR/given"
take_environment
env_get DB_PASS
redacted <"$BATS_TEST_TMPDIR/given"
: reached
SCRIPT
  settings_file 'DB_PASS=hidden-one\n'
  printf %s hidden-two | env_set DB_PASS
  OPENAI_API_KEY=hidden-three run --separate-stderr bash "$BATS_TEST_TMPDIR/program"
  [ "$status" -eq 0 ]
  [[ $output == hidden-two*'DB_PASS=***'* ]]
  [[ $stderr == *': reached'* && $stderr != *hidden* ]]
}

@test "the exit status of a logged command is passed on, with the end of the log" {
  run run_logged thing bash -c 'echo some words; exit 7'
  [ "$status" -eq 7 ]
  [[ $output == *thing*7*"$LOG_FILE"*'some words'* ]]
}

@test "a log and a mark that can not be written change no exit status" {
  cat >"$BATS_TEST_TMPDIR/program" <<SCRIPT
set -Eeuo pipefail
shopt -s inherit_errexit
ROOT=$CHECKOUT ARGUMENTS=()
for file in "$CHECKOUT"/installer/lib/*.sh; do source "\$file"; done
choose_language en
LOG_FILE=/dev/full CURRENT_STEP=env
watch_errors
FAILED_MARK=/dev/full
status=0
run_logged thing bash -c 'echo some words; echo more; exit 7' || status=\$?
echo "its status: \$status"
fail 5 S311 'no room'
SCRIPT
  run bash "$BATS_TEST_TMPDIR/program"
  [ "$status" -eq 5 ]
  [[ $output == *'its status: 7'*'[SOPHIA-S311] no room'* && $output != *S327* ]]
}

@test "a logged command reads nothing and is ended with all that it started" {
  run run_logged thing cat
  [ "$status" -eq 0 ]
  (
    RUNNING_CHILD=
    trap 'end_child; exit 9' TERM
    run_logged thing bash -c 'sleep 300 & echo $! >"$0"; wait' "$BATS_TEST_TMPDIR/child" >/dev/null
  ) &
  local installer=$! child
  until [ -s "$BATS_TEST_TMPDIR/child" ]; do kill -0 "$installer"; done
  child=$(cat "$BATS_TEST_TMPDIR/child")
  kill -TERM "$installer"
  wait "$installer" || [ $? -eq 9 ]
  local until=$((SECONDS + 10))
  while kill -0 "$child" 2>/dev/null; do [ "$SECONDS" -lt "$until" ]; done
}

@test "the log is for its owner alone, and a link in its place is not followed" {
  open_log "$BATS_TEST_TMPDIR/logs/install.log"
  [ "$(stat -c %a "$LOG_FILE")" = 600 ]
  ln -s "$BATS_TEST_TMPDIR/elsewhere" "$BATS_TEST_TMPDIR/logs/link.log"
  run open_log "$BATS_TEST_TMPDIR/logs/link.log"
  [ "$status" -ne 0 ]
  [ ! -e "$BATS_TEST_TMPDIR/elsewhere" ]
}

@test "without a terminal questions take their default and show it" {
  AUTO=no ASSUME_YES=no
  MESSAGES_EN[question]='Really %s?'
  run ask_yes question yes this </dev/null
  [ "$status" -eq 0 ]
  [[ $output == *'Really this?'*yes*'no terminal'* ]]
  run ask_yes question no this </dev/null
  [ "$status" -eq 1 ]
  ASSUME_YES=yes
  run ask_yes question no this </dev/null
  [ "$status" -eq 0 ]
  [ "$(ask_value question default this </dev/null 2>/dev/null)" = default ]
  [ -z "$(ask_secret question this </dev/null 2>/dev/null)" ]
}

@test "over a terminal questions are asked, and a secret is not echoed" {
  cat >"$BATS_TEST_TMPDIR/ask" <<SCRIPT
AUTO=no ASSUME_YES=no ROOT=$CHECKOUT
for file in "$CHECKOUT"/installer/lib/*.sh; do source "\$file"; done
choose_language en
MESSAGES_EN[question]='Really?'
if ask_yes question no; then echo said-yes; fi
printf 'value=%s\n' "\$(ask_value question fallback)"
secret=\$(ask_secret question)
printf 'length=%s\n' "\${#secret}"
SCRIPT
  run timeout 60 python3 "$REPOSITORY/tests/installer/machines/typing.py" 'Really? [y/N]' 'what\n' \
    'answer y or n' '' 'Really? [y/N]' 'y\n' 'said-yes' '' 'Really?' '\n' 'value=fallback' '' 'Really?' 'hidden\n' \
    -- bash "$BATS_TEST_TMPDIR/ask"
  [[ $output == *'answer y or n'*said-yes*value=fallback*length=6* ]]
  [[ ${output##*value=fallback} != *hidden* ]]
}

@test "the clean-up runs in reverse order, whatever ends the program" {
  cat >"$BATS_TEST_TMPDIR/program" <<SCRIPT
set -Eeuo pipefail
ROOT=$CHECKOUT LOG_FILE=/dev/null CURRENT_STEP=env ARGUMENTS=(--auto) SUDO_USER=
for file in "$CHECKOUT"/installer/lib/*.sh; do source "\$file"; done
choose_language en
watch_signals
watch_errors
on_exit_add echo first
on_exit_add echo 'second one'
\$1
SCRIPT
  run bash "$BATS_TEST_TMPDIR/program" false
  [ "$status" -eq 1 ]
  [[ $output == *'SOPHIA-S327'*'step env'*program*'line 9'*--auto*'second one'*first* ]]
  run bash "$BATS_TEST_TMPDIR/program" 'fail 5 S999 what why'
  [ "$status" -eq 5 ]
  [[ $output == *'SOPHIA-S999'*'second one'*first* && $output != *S327* ]]
}

@test "a signal is told with the step and the command to go on, and has its own exit status" {
  cat >"$BATS_TEST_TMPDIR/program" <<SCRIPT
set -Eeuo pipefail
ROOT=$CHECKOUT LOG_FILE=/dev/null CURRENT_STEP=env ARGUMENTS=(--auto) SUDO_USER=
for file in "$CHECKOUT"/installer/lib/*.sh; do source "\$file"; done
choose_language en
watch_signals
watch_errors
in_a_release() {
  local ROOT=/opt/sophia/releases/1/src
  kill -\$1 \$\$
}
in_a_release "\$1"
SCRIPT
  local signal status_of
  for signal in INT:130 TERM:143 HUP:129; do
    run bash "$BATS_TEST_TMPDIR/program" "${signal%:*}"
    status_of=${signal#*:}
    [ "$status" -eq "$status_of" ]
    [[ $output == *Interrupted*Settings*"$CHECKOUT/install_sophia_llm.sh --auto"* ]]
  done
}

@test "a signal between two substitutions of one command is neither lost nor another status" {
  cat >"$BATS_TEST_TMPDIR/program" <<SCRIPT
set -Eeuo pipefail
shopt -s inherit_errexit
ROOT=$CHECKOUT LOG_FILE=/dev/null CURRENT_STEP=env ARGUMENTS=(--auto) SUDO_USER=
for file in "$CHECKOUT"/installer/lib/*.sh; do source "\$file"; done
choose_language en
watch_signals
watch_errors
on_exit_add echo cleaned
if [[ -z \$(kill -\$1 \$\$) && -z \$(true) ]]; then :; fi
echo "\$(kill -\$1 \$\$)" "\$(true)"
echo 'the signal was lost'
SCRIPT
  local signal status_of
  for signal in INT:130 TERM:143 HUP:129; do
    run bash "$BATS_TEST_TMPDIR/program" "${signal%:*}"
    status_of=${signal#*:}
    [ "$status" -eq "$status_of" ]
    [[ $output == *Interrupted*Settings*"install_sophia_llm.sh --auto"*cleaned ]]
    [[ $output != *EOF* && $output != *lost* ]]
  done
}

@test "apt is never asked for anything, and another program's lock is waited for" {
  mkdir -p "$BATS_TEST_TMPDIR/fake"
  cat >"$BATS_TEST_TMPDIR/fake/apt-get" <<'FAKE'
#!/bin/bash
echo "$DEBIAN_FRONTEND $NEEDRESTART_SUSPEND $*" >>"$FAKE_CALLS"
if [[ $* == *update* && ! -e $FAKE_CALLS.tried ]]; then
  touch "$FAKE_CALLS.tried"
  echo 'E: Could not get lock /var/lib/apt/lists/lock. It is held by process 12 (apt-get)' >&2
  exit 100
fi
FAKE
  chmod +x "$BATS_TEST_TMPDIR/fake/apt-get"
  export FAKE_CALLS=$BATS_TEST_TMPDIR/calls PATH=$BATS_TEST_TMPDIR/fake:$PATH
  dpkg() { :; }
  apt_install one two
  [ "$(grep -c update "$FAKE_CALLS")" -eq 2 ]
  [[ $(cat "$FAKE_CALLS") == *'noninteractive 1'*'DPkg::Lock::Timeout=300'*'Error-Mode=any update'*'install --yes --no-install-recommends one two'* ]]
  [[ $(cat "$FAKE_CALLS") == *--force-confold* ]]
  rm "$FAKE_CALLS.tried"
  apt_lock_holder() { echo 'somebody (12)'; }
  SOPHIA_APT_WAIT=0 run apt_update
  [ "$status" -eq 100 ]
  [[ $output == *'still uses apt: somebody (12)'* ]]
}
