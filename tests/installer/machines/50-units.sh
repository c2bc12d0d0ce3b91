# long
# shellcheck shell=bash disable=SC2016,SC2034
# Services, the command for colleagues, and what the account may ask of systemd: on a server that is
# installed already.

# A person of the machine, in group sophia or not: add_person NAME [GROUP]
add_person() {
  as_shell "id -u $1 >/dev/null 2>&1 || useradd --create-home --shell /bin/bash ${2:+--groups $2} $1"
}

# A command as that person, with an environment as sshd gives it.
as_person() { # NAME COMMAND...
  local name=$1
  shift
  on --user "$name" --workdir "/home/$name" --env LANG=C.UTF-8 -- "$@"
}

main_pid() { as_shell "systemctl show --property=MainPID --value $1"; } # UNIT

# Active, and by another process than before.
brought_back() { # UNIT OLD PID
  local pid
  pid=$(main_pid "$1")
  [[ $pid != 0 && $pid != "$2" ]] && as_shell "systemctl is-active --quiet $1"
}

# How a step of the set-up ended that ana has run, and its last line: applied STEP
applied() {
  as_person ana sophia --json setup apply "$1" --yes | jq -rs '.[-1] | .outcome, .lines[-1]' | paste -sd ' '
}

# Rows for a work that takes a minute or more; --detach makes it a run.
long_work() {
  as_shell 'python3 - >/var/lib/sophia/finetune/town.jsonl <<PYTHON
import json, random
random.seed(5)
words = "office permit road water school library bus tax garden river market street bridge".split()
for n in range(700_000):
    question = " ".join(random.choices(words, k=12))
    print(json.dumps({"question": f"{n} {question}?", "answer": " ".join(random.choices(words, k=40))}))
PYTHON
    chown sophia:sophia /var/lib/sophia/finetune/town.jsonl'
  as_person ana sophia --json prepare --name town --detach | jq -r .id
}

job_field() { as_person ana sophia --json jobs show "$1" | jq -r "$2"; } # JOB FIELD

job_is() { [[ $(job_field "$1" .status) == "$2" ]]; } # JOB STATE

runs() { [[ -n $(run_unit) ]]; }

run_unit() { as_shell "systemctl list-units --plain --no-legend 'sophia-run@*' | awk '{print \$1}' | head -n 1"; }

scenario_units_healthy_and_brought_back() {
  local unit pid
  machine_up --from installed
  add_person ana sophia
  expect 'not healthy' healthy
  expect 'the services are not shown as ready' test \
    "$(as_person ana sophia --json setup services | jq -r '.ready, (.items | length)' | paste -sd ' ')" = 'true 3'
  for unit in sophia-api.service sophia-worker.service; do
    pid=$(main_pid "$unit")
    as_shell "kill -KILL $pid"
    expect "$unit was not brought back" until_true 60 brought_back "$unit" "$pid"
    fact "$unit after kill -9: back; exposure $(as_shell "systemd-analyze security --no-pager $unit" | awk '/Overall/ {print $(NF - 2)}')"
  done
  expect 'not healthy after the kills' healthy
  expect 'the restart is not counted' test \
    "$(as_person ana sophia --json setup services | jq -r '.items[1].restarts')" -ge 1
  # a colleague's own remedies, by the unit that the account may start
  expect 'the outcome of a step that changes nothing is not told' test "$(applied health)" = 'unchanged       unchanged'
  as_shell 'systemctl stop sophia-worker'
  expect 'the outcome of a step that changes something is not told' \
    grep -q '^changed       changed (' <<<"$(applied units)"
  expect 'a step that is run alone has no summary' test "$(on -- /opt/sophia/current/src/install_sophia_llm.sh \
    --auto --json --step health 2>/dev/null)" = '{"result":"done","changed":[],"unchanged":["health"]}'
  expect 'not healthy after the remedies' healthy
  # neither the API's token nor the database's password stands in the journal, in the units'
  # environment, or on any command line
  as_shell "umask 077; sed -nE 's/^(FINETUNE_TOKEN|DB_PASS)=//p' /etc/sophia/sophia.env >/root/wanted"
  expect 'there are no secrets to look for' as_shell '[[ $(wc -l </root/wanted) == 2 ]]'
  expect 'a secret stands in the journal' as_shell '! journalctl --no-pager --output=json | grep -qFf /root/wanted'
  expect 'a secret stands in an environment or on a command line' as_shell \
    '! cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null | tr "\0" "\n" | grep -qFf /root/wanted'
  fact 'no secret in the journal, an environment or a command line'
}

scenario_units_colleagues_share_one_store() {
  machine_up --from installed
  add_person ana sophia
  add_person beto sophia
  add_person eva
  as_person ana sophia settings set SOPHIA_WINDOW_DAYS 20
  expect 'the colleague does not see it' test \
    "$(as_person beto sophia --json settings list | jq -r '.items[] | select(.key == "SOPHIA_WINDOW_DAYS").value')" = 20
  as_person beto sophia settings set SOPHIA_WINDOW_DAYS 21
  as_shell 'SUDO_USER=ana sophia settings set SOPHIA_WINDOW_DAYS 22'
  as_shell 'sophia settings set SOPHIA_WINDOW_DAYS 23'
  expect 'the audit does not name who acted' test \
    "$(as_person ana sophia --json audit list | jq -r '[.items[] | select(.operation == "settings.set").actor][:4] | join(" ")')" = 'root ana beto ana'
  expect 'a file belongs to somebody else' test -z "$(as_shell 'find /var/lib/sophia ! -user sophia')"
  fact 'two colleagues and root: one store, each named in the audit'
  STATUS=0
  OUTPUT=$(as_person eva sophia store status 2>&1) || STATUS=$?
  expect_status 3
  expect_text S385 'usermod -aG sophia eva'
  expect 'the outsider became the account' as_shell \
    '! runuser -u eva -- sudo -n -u sophia -- /usr/local/bin/sophia store status 2>/dev/null'
  expect 'the outsider reads the settings' as_shell \
    '! runuser -u eva -- cat /etc/sophia/sophia.env 2>/dev/null && ! runuser -u eva -- ls /var/lib/sophia 2>/dev/null'
  expect 'a colleague got more than the command' as_shell \
    '! runuser -u ana -- sudo -n -u sophia -- /bin/sh -c id 2>/dev/null &&
     ! runuser -u ana -- sudo -n -- /usr/local/bin/sophia store status 2>/dev/null'
  fact 'an outsider and a shell of the account are refused'
  as_person ana sophia setup restart sophia-worker --yes
  expect 'the restart does not name who asked' test \
    "$(as_person ana sophia --json audit list | jq -r '[.items[] | select(.operation == "setup.restart").actor][0]')" = ana
  fact 'a colleague restarts a service by the root helper'
}

# What the account may not ask of systemd, and the little that it may.
polkit_lets_nothing_else_through() {
  local words
  while read -r words; do
    expect "the account may: $words" as_shell "! runuser -u sophia -- systemctl --no-ask-password $words"
    expect "it was not refused: $words" as_shell \
      "runuser -u sophia -- systemctl --no-ask-password $words 2>&1 | grep -qiE 'denied|authentication|not loaded'"
  done <<'WORDS'
restart sophia-api.service
stop sophia-worker.service
start ssh.service
restart sophia-run@x.service
set-property --runtime sophia-run@x.service CPUWeight=1
kill sophia-worker.service
daemon-reload
enable sophia-run@x.service
start sophia-step@summary.service
start sophia-step@../../x.service
start sophia-runner@x.service
mask ssh.service
WORDS
  # the right to start any transient unit would be the right to be root
  expect 'a transient unit was started' as_shell \
    '! runuser -u sophia -- systemd-run --no-ask-password --unit=sophia-run@evil.service -- /usr/bin/touch /tmp/evil &&
     ! runuser -u sophia -- systemd-run --no-ask-password --unit=sophia-run@evil2.service --property=User=root -- /usr/bin/touch /tmp/evil &&
     ! runuser -u sophia -- systemd-run --no-ask-password -- /usr/bin/touch /tmp/evil &&
     ! test -e /tmp/evil'
  expect 'a run of no file was started' as_shell '! runuser -u sophia -- systemctl --no-ask-password start sophia-run@x.service'
  expect 'that was no start that failed' as_shell \
    "journalctl --unit sophia-run@x.service --output=cat | grep -q \"can't begin: No such file\""
  expect 'a declared step does not start' as_shell \
    'runuser -u sophia -- systemctl --no-ask-password start sophia-step@health.service'
  # nor where a template is gone: newer systemds ask about a transient unit in the words of a start
  expect 'without its template a unit was started' as_shell \
    'mv /etc/systemd/system/sophia-engine@.service /root/ && systemctl daemon-reload &&
     ! runuser -u sophia -- systemd-run --no-ask-password --unit=sophia-engine@evil.service -- /usr/bin/touch /tmp/evil &&
     ! test -e /tmp/evil'
  fact "systemd $(as_shell 'systemctl --version' | awk 'NR == 1 {print $2}'): refused every other unit, verb and transient unit; allowed runs, declared steps"
}

scenario_units_polkit_lets_nothing_else_through() {
  machine_up --from installed
  polkit_lets_nothing_else_through
}

scenario_units_polkit_trixie() {
  machine_up --from trixie
  INSTALL_ENV=("SOPHIA_EXTRAS=api,hosted")
  install
  expect_status 0
  polkit_lets_nothing_else_through
}

scenario_units_run_survives_its_starters() {
  local job unit pid began
  machine_up --from installed
  add_person ana sophia
  job=$(long_work)
  expect 'the work does not run' until_true 90 runs
  unit=$(run_unit)
  pid=$(main_pid "$unit")
  expect 'it is no unit of its own' test "$pid" -gt 1
  expect 'a person does not see it run' until_true 30 job_is "$job" running
  began=$SECONDS
  as_shell 'systemctl restart sophia-worker sophia-api'
  fact "restart of both services in $((SECONDS - began)) s"
  as_shell "kill -KILL $(main_pid sophia-worker.service)"
  as_shell 'systemctl restart postgresql@*-main'
  expect 'the run did not survive' test "$(main_pid "$unit")" = "$pid"
  expect 'a service did not survive Postgres' until_true 60 healthy
  expect 'the work does not end' until_true 400 job_is "$job" succeeded
  expect 'it was begun anew' test "$(job_field "$job" .resumes)" = 0
  expect 'its file of what to run is left' test -z "$(as_shell 'ls -A /var/lib/sophia/run-units')"
  fact "one process through restart of both services, kill -9 of the worker, restart of Postgres"
}

scenario_units_worker_drains() {
  local job next
  machine_up --from installed
  add_person ana sophia
  job=$(long_work)
  expect 'the work does not run' until_true 90 runs
  as_shell 'systemctl stop sophia-worker'
  next=$(as_person ana sophia --json prepare --name other --detach | jq -r .id)
  expect 'the run ended with the worker' as_shell "systemctl is-active --quiet '$(run_unit)'"
  expect 'somebody else than systemd started a worker' as_shell '! pgrep -f "[s]erve worker"'
  expect 'a job was begun' job_is "$next" queued
  as_person ana sophia jobs cancel "$job" --yes
  as_shell 'systemctl start sophia-worker'
  expect 'cancelling does not reach the run' until_true 90 job_is "$job" cancelled
  expect 'the waiting job is not taken' until_true 60 bash -c "$(declare -f on as_person job_field); FM=$FM MACHINE=$MACHINE; [[ \$(job_field $next .status) != queued ]]"
  fact 'stopped: nothing new is begun, the run goes on; cancelled after the start'
}
