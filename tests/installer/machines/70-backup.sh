# long
# shellcheck shell=bash
# shellcheck disable=SC2016 # scripts for the shell inside
# Backups, upgrades with their way back, and the end: what a server holds before and after.

# A data set, a setting and a key: something to lose.
live_a_little() {
  as_shell 'set -e
    cd /tmp
    for i in $(seq 1 600); do
      echo "{\"question\": \"What is $i?\", \"answer\": \"It is the number $i, before $((i + 1)).\"}"
    done >/var/lib/sophia/finetune/pairs.jsonl
    chown sophia: /var/lib/sophia/finetune/pairs.jsonl
    sophia prepare --name town >/dev/null
    sophia settings set SOPHIA_WINDOW_DAYS 45 >/dev/null' >/dev/null 2>&1
}

# The rows of the store, but for the audit and the worker's signs of life.
rows() {
  as_shell 'cd /tmp; for table in dataset_versions settings jobs models; do
    runuser -u postgres -- psql -d sophia -qAt -c "SELECT to_jsonb(t) FROM sophia.$table t ORDER BY 1"
  done'
}

tables_version() {
  as_shell 'cd /tmp; runuser -u postgres -- psql -d sophia -qAtc "SELECT version_num FROM sophia.alembic_version"'
}

release() { as_shell 'basename "$(readlink -f /opt/sophia/current)"'; }

# /opt/next: the checkout as another version, with the changes that SCRIPT makes in it. Its packages
# are those of the release that runs, so that nothing is fetched.
next_version() { # SCRIPT
  as_shell 'set -e
    rm -rf /opt/next
    cp -a "$(readlink -f /opt/sophia/current)/src" /opt/next
    find /opt/next -name __pycache__ -prune -exec rm -rf {} +
    rm -rf /opt/next/*.egg-info
    cd /opt/next
    sed -i "s/__version__ = .*/__version__ = \"0.2.0\"/" sophia_tui/__init__.py
    '"$1"'
    ROOT=/opt/next LOG_FILE=/dev/null CURRENT=/opt/sophia/current
    eval "$(sed -n "/^readonly RELEASES/,/^)/p; /^release_files()/,/^}/p; /^release_name()/,/^}/p" \
      installer/steps/61-application.sh)"
    old=$(readlink -f $CURRENT) new=$RELEASES/$(release_name)
    rm -rf "$new"
    cp -a "$old" "$new"
    rm -rf "$new/src"
    grep -rlF "$old" "$new/venv" --include="*.pth" --include="*.json" --include="__editable__*" \
      --include=pyvenv.cfg | xargs -r sed -i "s|$old|$new|g"
    find "$new/venv/bin" -type f -size -64k -exec sed -i "s|$old|$new|g" {} +'
}

# One more version of the tables.
MIGRATION='
    last=$(ls sophia_tui/store/migrations/versions/[0-9]*.py | sed "s|.*/||; s|_.*||" | sort | tail -n 1)
    cat >sophia_tui/store/migrations/versions/9000_more.py <<PY
from sophia_tui.store.migrations import run_file

revision = "9000"
down_revision = "$last"


def upgrade() -> None:
    run_file("9000_more")
PY
    echo "ALTER TABLE sophia.jobs ADD COLUMN more text;" >sophia_tui/store/migrations/versions/9000_more.sql'

upgrade() { # [CHECKOUT] [FLAG...]
  local folder=${1:-/opt/next} pair options=()
  for pair in "${INSTALL_ENV[@]}"; do options+=(--env "$pair"); done
  STATUS=0
  OUTPUT=$(on "${options[@]}" -- "$folder/install_sophia_llm.sh" --auto --lang en --upgrade "${@:2}" 2>&1) || STATUS=$?
  printf -- '--- upgrade %s: %s\n%s\n' "$*" "$STATUS" "$OUTPUT"
}

scenario_backup_restored_on_a_fresh_machine() {
  local archive before file found
  machine_up --from installed
  live_a_little
  before=$(rows)
  as_shell 'cd /tmp && sophia setup backup >/dev/null'
  archive=$(as_shell 'ls /var/lib/sophia/backups/*.tar.zst')
  file=$(mktemp)
  "$FM" pull "$MACHINE" "$archive" "$file"
  machine_up --from installed --name fresh
  "$FM" push "$MACHINE" "$file" /root/backup.tar.zst
  rm -f -- "$file"
  as_shell 'install -d -o sophia -g sophia -m 0700 /var/lib/sophia/backups
    install -o sophia -m 0600 /root/backup.tar.zst /var/lib/sophia/backups/b.tar.zst
    cd /tmp && sophia setup restore b.tar.zst --yes'
  expect 'the rows are those of the other machine' test "$(rows)" == "$before"
  found=$(as_shell 'cd /tmp && sophia --json datasets rows town --limit 1' 2>&1) || true
  expect "the data set has its files: $found" grep -q 'It is the number' <<<"$found"
  expect 'the restored machine is healthy' healthy
  expect 'a store that holds something is not replaced unasked' as_shell \
    'cd /tmp; ! sophia setup restore b.tar.zst --yes 2>/root/err; grep -q S410 /root/err'
  fact "$(as_shell 'stat -c %s /root/backup.tar.zst') bytes"
}

scenario_upgrade_with_a_migration_that_fails_goes_back() {
  local before old
  machine_up --from installed
  live_a_little
  before=$(rows) old=$(release)
  next_version "$MIGRATION; echo \"SELECT no_such_function();\" >>sophia_tui/store/migrations/versions/9000_more.sql"
  upgrade
  expect 'the upgrade failed' test "$STATUS" != 0
  expect_text 'backup: /var/lib/sophia/backups/' 'runs again'
  expect 'the link is back' test "$(release)" == "$old"
  expect 'the rows are as before' test "$(rows)" == "$before"
  expect 'the old version is healthy' healthy
}

scenario_upgrade_that_is_not_healthy_goes_back_with_its_tables() {
  local before old version
  machine_up --from installed
  live_a_little
  before=$(rows) old=$(release) version=$(tables_version)
  next_version "$MIGRATION; echo 'raise SystemExit(\"broken on purpose\")' >>sophia_tui/api/app.py"
  upgrade
  expect 'the upgrade failed' test "$STATUS" != 0
  expect_text 'runs again'
  expect 'the link is back' test "$(release)" == "$old"
  expect 'the tables are those of before' test "$(tables_version)" == "$version"
  expect 'the rows are as before' test "$(rows)" == "$before"
  expect 'the old version is healthy' healthy
}

scenario_upgrade_and_back_by_hand() {
  local before old version run
  machine_up --from installed
  live_a_little
  before=$(rows) old=$(release) version=$(tables_version)
  # a run goes on: its unit is not touched
  as_shell 'set -e
    mkdir -p /etc/systemd/system/sophia-run@test.service.d
    printf "[Service]\nType=exec\nExecStart=\nExecStart=%s/venv/bin/python -c \"import time; time.sleep(900)\"\n" \
      "$(readlink -f /opt/sophia/current)" >/etc/systemd/system/sophia-run@test.service.d/test.conf
    systemctl daemon-reload
    systemctl start sophia-run@test'
  run=$(as_shell 'systemctl show --property=MainPID --value sophia-run@test')
  next_version "$MIGRATION"
  upgrade
  expect_status 0
  expect_text 'backup: /var/lib/sophia/backups/' 'The way back'
  expect 'the new version runs' test "$(release)" != "$old"
  expect 'the tables are new' test "$(tables_version)" == 9000
  expect 'the run goes on' test "$(as_shell 'systemctl show --property=MainPID --value sophia-run@test')" == "$run"
  expect 'the old release stays' on test -d "/opt/sophia/releases/$old"
  upgrade /opt/next
  expect_status 0
  expect_text 'runs already'
  expect 'the new version is healthy' healthy
  # back, by the command that the upgrade told
  upgrade "/opt/sophia/releases/$old/src"
  expect_status 3
  expect_text S481
  upgrade "/opt/sophia/releases/$old/src" --auto-assume-yes
  expect_status 0
  expect 'the old version runs' test "$(release)" == "$old"
  expect 'the tables are those of before' test "$(tables_version)" == "$version"
  expect 'the rows are as before' test "$(rows)" == "$before"
  expect 'the run goes on still' test "$(as_shell 'systemctl show --property=MainPID --value sophia-run@test')" == "$run"
  expect 'the old version is healthy' healthy
}

scenario_upgrade_without_a_backup_is_none() {
  local old
  machine_up --from installed
  old=$(release)
  next_version :
  as_shell 'rm -rf /var/lib/sophia/backups; install -m 0000 /dev/null /var/lib/sophia/backups'
  upgrade
  expect_status 5
  expect_text S419 'runs again'
  expect 'nothing changed' test "$(release)" == "$old"
  expect 'the old version is healthy' healthy
}

# What lies on the machine, but for what runs and forgets by itself.
everything() {
  as_shell 'find / -xdev \( -path /proc -o -path /sys -o -path /run -o -path /tmp -o -path /var/tmp \
    -o -path /var/log/journal -o -path /var/cache -o -path /var/lib/apt -o -path /var/lib/systemd \
    -o -path /var/lib/postgresql -o -path /var/log -o -path /root -o -path "/opt/src*" \
    -o -name __pycache__ \) -prune -o -print | LC_ALL=C sort'
}

scenario_uninstall_keeps_data_and_purge_leaves_nothing() {
  local before left
  machine_up --from packages
  before=$(everything)
  install
  expect_status 0
  live_a_little
  install --uninstall
  expect_status 0
  expect_text 'Sophia is removed' /var/lib/sophia
  expect 'the program is gone' as_shell '! test -e /opt/sophia && ! test -e /usr/local/bin/sophia'
  expect 'no unit is left' as_shell '! ls /etc/systemd/system/sophia-* 2>/dev/null'
  expect 'the data is there' on test -d /var/lib/sophia/datasets/town
  expect 'the settings are there' on test -f /etc/sophia/sophia.env
  # set up again, everything is there; then for good
  install
  expect_status 0
  expect 'the data set is known again' as_shell 'cd /tmp && sophia datasets list | grep -q town'
  install --uninstall --purge
  expect_status 0
  expect 'a last backup is there' as_shell 'ls /var/backups/sophia/*.tar.zst'
  left=$(LC_ALL=C comm -13 <(printf '%s\n' "$before") <(everything | grep -v '^/var/backups/sophia') |
    grep -v -e '^/etc/ufw/.*rules.*[0-9]$' -e '^/etc/systemd/system/multi-user.target.wants/ufw' || true)
  expect "nothing of ours is left: $left" test -z "$left"
  expect 'the account is gone' as_shell '! getent passwd sophia && ! getent group sophia'
  expect 'database and role are gone' as_shell \
    'cd /tmp; test "$(runuser -u postgres -- psql -qAtc "SELECT count(*) FROM pg_roles WHERE rolname = '"'sophia'"'")" = 0'
}
