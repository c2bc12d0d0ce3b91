# shellcheck shell=bash
# shellcheck disable=SC2034 # CURRENT_STEP is read where an error is told
# --uninstall: services, units, command and program go; data, env file and database stay. With
# --purge they go too, after a last backup. What others made is never touched: a database or a role
# that was here before, rules of the firewall without our comment, packages, the cluster.

readonly LAST_BACKUPS=/var/backups/sophia

uninstall_server() {
  local answer running
  if ! is_root && [[ $DRY_RUN == no ]]; then
    fail 3 S484 "$(text needs_root_uninstall)" "" "sudo $(resume_command)"
  fi
  CURRENT_STEP=
  uninstall_plan
  if [[ $DRY_RUN == yes ]]; then
    say plan_done
    return
  fi
  running=$(uninstall_runs | paste -sd ' ')
  if [[ -n $running ]]; then say_error uninstall_runs "$running"; fi
  if [[ $PURGE == no ]]; then
    ask_yes ask_uninstall no || fail 3 S485 "$(text uninstall_no)" "" "$(text uninstall_no_remedy)"
  elif [[ $ASSUME_YES == no ]]; then
    answer=$(ask_value ask_purge '' "$(uname -n)")
    [[ $answer == "$(uname -n)" ]] || fail 3 S485 "$(text uninstall_no)" "" "$(text uninstall_no_remedy)"
  fi
  [[ $PURGE == no ]] || uninstall_last_backup
  uninstall_services
  uninstall_processes
  uninstall_firewall
  uninstall_files
  [[ $PURGE == no ]] || uninstall_data
  uninstall_left
  [[ $JSON == no ]] || json_summary uninstalled
  [[ $UNINSTALL_ACCOUNT_STAYS == no ]] ||
    fail 1 S488 "$(text account_stays)" "$UNINSTALL_ACCOUNT_WHY" "$(text account_stays_remedy)"
}

# The files of the step units, as far as they are there.
uninstall_targets() {
  local target
  units_files | while read -r _ _ target; do printf '%s\n' "$target"; done
  printf '%s\n' "$JOURNALD_FILE"
}

uninstall_plan() {
  say uninstall_goes "$(uninstall_targets | sort -u | sed 's/^/    /')"
  if [[ $PURGE == yes ]]; then
    say uninstall_purges "$SERVER_DATA" "${ENV_FILE%/*}" "${INSTALL_LOG%/*}"
  else
    say uninstall_stays "$SERVER_DATA" "${ENV_FILE%/*}" "${INSTALL_LOG%/*}"
  fi
}

# Runs and engines that are going on: their program goes away.
uninstall_runs() {
  systemctl list-units --plain --no-legend --state=active,activating 'sophia-run@*' 'sophia-engine@*' \
    2>/dev/null | awk '{print $1}'
}

# Before the first thing is removed; SOPHIA_LAST_BACKUP=no leaves it out. With the data sets and all
# adapters: nothing of them is left.
uninstall_last_backup() {
  local told file
  if [[ ${SOPHIA_LAST_BACKUP:-yes} == no ]]; then
    say uninstall_no_backup
    return
  fi
  say uninstall_backs_up
  told=$(migrate_sophia setup backup --adapters all --json 2>>"$LOG_FILE") || true
  file=$(printf '%s' "$told" | /usr/bin/python3 -I -c '
import json, sys
print(json.load(sys.stdin)["path"])' 2>/dev/null) || true
  [[ -n $file && -f $file ]] || fail 5 S487 "$(text uninstall_backup_failed)" "" \
    "$(text uninstall_backup_remedy "$LOG_FILE")"
  if ! (umask 077 && mkdir -p -- "$LAST_BACKUPS") ||
    ! install --owner=root --group=root --mode=0600 -- "$file" "$LAST_BACKUPS/"; then
    fail 1 S487 "$(text uninstall_backup_failed)" "" "$(text uninstall_backup_remedy "$LOG_FILE")"
  fi
  UNINSTALL_BACKUP=$LAST_BACKUPS/${file##*/}
  sync -- "$UNINSTALL_BACKUP"
  say upgrade_backed_up "$UNINSTALL_BACKUP"
  step_note backup "$UNINSTALL_BACKUP"
}

uninstall_services() {
  local unit units=()
  say uninstall_stops
  for unit in "${UNIT_SERVICES[@]}" sophia-helper.socket; do
    systemctl disable --quiet "$unit" 2>/dev/null || true
    units+=("$unit")
  done
  mapfile -t -O "${#units[@]}" units < <(
    uninstall_runs
    systemctl list-units --plain --no-legend 'sophia-helper@*' 'sophia-step@*' 2>/dev/null | awk '{print $1}'
  )
  for unit in "${units[@]}"; do
    systemctl stop "$unit" >>"$LOG_FILE" 2>&1 || true
    systemctl reset-failed "$unit" 2>/dev/null || true
  done
}

# The processes of Sophia's account, whoever started them: an embedded Postgres, an engine, a screen.
account_processes() {
  local uid
  uid=$(id -u sophia)
  grep -lsE "^Uid:.*[[:space:]]$uid([[:space:]]|\$)" /proc/[0-9]*/status | cut -d / -f 3 || true
}

account_processes_end() { # SECONDS; returns 1 where there still are some
  local until=$((SECONDS + $1))
  while [[ -n $(account_processes) ]]; do
    ((SECONDS < until)) || return 1
    sleep 0.2
  done
}

# What no unit holds would go on in folders that are gone. The account of a person is left alone.
uninstall_processes() {
  local pids
  if ! getent passwd sophia >/dev/null || ! account_is_ours; then return 0; fi
  mapfile -t pids < <(account_processes)
  ((${#pids[@]})) || return 0
  say uninstall_ends_processes "${pids[*]}"
  kill -TERM "${pids[@]}" 2>/dev/null || true # one may have ended meanwhile
  if account_processes_end "$PROCESSES_END"; then return 0; fi
  mapfile -t pids < <(account_processes)
  kill -KILL "${pids[@]}" 2>/dev/null || true
  if account_processes_end 5; then return 0; fi
  UNINSTALL_LEFT+=("$(text left_processes "$(account_processes | paste -sd ' ')")")
}

# The rules that we made are known by their comment. SSH's stay as long as UFW is on: without them
# nobody comes in.
uninstall_firewall() {
  local rule
  # shellcheck disable=SC2086 # the words of a rule
  while IFS= read -r rule; do
    [[ -n $rule ]] || continue
    if ufw --force delete allow $rule >>"$LOG_FILE" 2>&1; then say firewall_api_closed "$rule"; fi
  done < <(api_rules_there)
}

uninstall_files() {
  local target restart=no
  [[ ! -e $JOURNALD_FILE ]] || restart=yes
  while IFS= read -r target; do
    [[ -f $target || -L $target ]] || continue
    # the name of the command may be somebody else's
    [[ $target != "$COMMAND_FILE" ]] || ! units_command_taken || continue
    rm -f -- "$target"
  done < <(uninstall_targets | sort -u)
  rm -rf -- /opt/sophia
  systemctl daemon-reload
  [[ $restart == no ]] || systemctl restart systemd-journald
  rmdir --ignore-fail-on-non-empty -- "${JOURNALD_FILE%/*}" 2>/dev/null || true
  state_clear step
}

# Only with --purge.
uninstall_data() {
  uninstall_database
  rm -rf -- "$SERVER_DATA" "${ENV_FILE%/*}"
  if getent passwd sophia >/dev/null && account_is_ours; then
    uninstall_account
  fi
  rm -rf -- "$STATE_FOLDER"
  LOG_FILE=/dev/null
  rm -rf -- "${INSTALL_LOG%/*}"
}

# The log goes with the rest, so that the reason is kept for the end. The group may have more members
# than the account: then userdel leaves it.
uninstall_account() {
  local why
  if ! why=$(userdel sophia 2>&1) ||
    { getent group sophia >/dev/null && ! why=$(groupdel sophia 2>&1); }; then
    UNINSTALL_ACCOUNT_STAYS=yes UNINSTALL_ACCOUNT_WHY=$why
  fi
}

account_is_ours() {
  local home uid
  IFS=: read -r _ _ uid _ _ home _ < <(getent passwd sophia)
  [[ $home == "$SERVER_DATA" && $uid -lt 1000 ]]
}

# What Sophia made itself, as the state file says, in that very cluster; the rest is told.
uninstall_database() {
  if ! pg_choose || ! pg_made database; then
    UNINSTALL_LEFT+=("$(text left_database)")
    return 0
  fi
  pg_start
  if ! pg_super postgres >>"$LOG_FILE" 2>&1 <<<"DROP DATABASE IF EXISTS $PG_DATABASE WITH (FORCE);"; then
    UNINSTALL_LEFT+=("$(text left_database)")
    return 0
  fi
  if ! pg_made role || ! pg_super postgres >>"$LOG_FILE" 2>&1 <<<"DROP ROLE IF EXISTS $PG_ROLE;"; then
    UNINSTALL_LEFT+=("$(text left_role "$PG_ROLE")")
  fi
}

# What is still here, for who wants it gone as well.
uninstall_left() {
  local each
  for each in "$SERVER_DATA" "${ENV_FILE%/*}" "${INSTALL_LOG%/*}" "$STATE_FOLDER" \
    /etc/systemd/system/sophia-*.service.d /etc/sophia "$LAST_BACKUPS"; do
    [[ ! -e $each ]] || UNINSTALL_LEFT+=("$each")
  done
  if getent passwd sophia >/dev/null || getent group sophia >/dev/null; then UNINSTALL_LEFT+=("$(text left_account)"); fi
  if [[ $PURGE == no ]]; then UNINSTALL_LEFT+=("$(text left_store)"); fi
  if ufw_active; then UNINSTALL_LEFT+=("$(text left_firewall)"); fi
  UNINSTALL_LEFT+=("$(text left_packages)")
  say uninstall_done
  printf '%s\n' "${UNINSTALL_LEFT[@]}" | sort -u | sed 's/^/    /'
  step_note left "$(printf '%s\n' "${UNINSTALL_LEFT[@]}" | sort -u | paste -sd ';')"
  if [[ -n ${UNINSTALL_BACKUP:-} ]]; then say uninstall_backup_lies "$UNINSTALL_BACKUP"; fi
}

declare -ga UNINSTALL_LEFT=()
UNINSTALL_ACCOUNT_STAYS=no UNINSTALL_ACCOUNT_WHY=
PROCESSES_END=30 # seconds that they have to end by themselves
UNINSTALL_BACKUP=
