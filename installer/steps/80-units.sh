# shellcheck shell=bash
# The services, what the account may ask of systemd, the command sophia for colleagues, a bound for
# the journal. Everything is compared by content, and a service is started anew only for a reason.

readonly UNIT_SERVICES=(sophia-api.service sophia-worker.service)
readonly UNIT_FILES=(
  sophia-api.service sophia-worker.service sophia-run@.service sophia-engine@.service
  sophia-step@.service sophia-step@firewall.service sophia-helper.socket sophia-helper@.service
)
# The steps that the account may start for the set-up screen: none needs an answer, none consents but
# that of the firewall, whose name a person types there.
readonly UNIT_STEPS=(server_packages account env postgres application migrate units firewall health)
readonly COMMAND_FILE=/usr/local/bin/sophia
readonly COMPLETION_FILE=/usr/share/bash-completion/completions/sophia
readonly JOURNALD_FILE=/etc/systemd/journald.conf.d/50-sophia.conf

# Every file of this step, as SOURCE MODE TARGET lines; --uninstall removes the targets.
units_files() {
  local name
  for name in "${UNIT_FILES[@]}"; do
    printf '%s 0644 %s\n' "$name" "/etc/systemd/system/$name"
  done
  printf '%s\n' 'polkit.rules 0644 /etc/polkit-1/rules.d/50-sophia.rules' \
    'sudoers 0440 /etc/sudoers.d/sophia' "sophia 0755 $COMMAND_FILE" \
    "completion 0644 $COMPLETION_FILE"
  if ! owner_bounds_journal; then printf 'journald.conf 0644 %s\n' "$JOURNALD_FILE"; fi
}

# Whether the owner set a bound for the journal, in any file but ours.
owner_bounds_journal() { # [another / in tests]
  local file slash=${1:-}
  for file in "$slash"/etc/systemd/journald.conf "$slash"/{etc,run,usr/lib}/systemd/journald.conf.d/*.conf; do
    [[ -r $file && $file != "$slash$JOURNALD_FILE" ]] || continue
    ! grep -qE '^[[:space:]]*SystemMaxUse[[:space:]]*=[[:space:]]*[^[:space:]]' "$file" || return 0
  done
  return 1
}

# Folders outside the data folder that the settings name, as systemd takes them. A folder that is
# not there is passed over by systemd ("-").
units_write_paths() {
  local key value
  for key in FINETUNE_DIR FINETUNE_HISTORY AION_TRAIN_ROOT AION_EVENTS_JSONL SOPHIA_BACKUP_DIR; do
    value=$(env_get "$key") || continue
    [[ $key != FINETUNE_HISTORY && $key != AION_EVENTS_JSONL ]] || value=${value%/*}
    [[ $value == /?* && $value != "$SERVER_DATA" && $value != "$SERVER_DATA"/* ]] || continue
    value=$(realpath -m -- "$value")
    value=${value//\\/\\\\}
    value=${value//\"/\\\"}
    printf '"-%s"\n' "${value//%/%%}"
  done | sort -u | paste -sd ' '
}

# A file of this step as it must be on this server: units_text SOURCE
units_text() {
  local text paths steps
  if [[ $1 == completion ]]; then # made from what this release's commands declare
    "$CURRENT/venv/bin/python" -I -m sophia_tui.cli.main completion bash </dev/null
    return
  fi
  text=$(<"$ROOT/installer/units/$1")
  if [[ $text == *@WRITE_PATHS@* ]]; then
    paths=$(units_write_paths)
    text=${text//'@WRITE_PATHS@'/"$paths"}
    text=${text//' '$'\n'/$'\n'}
  fi
  printf -v steps '%s|' "${UNIT_STEPS[@]}"
  printf '%s\n' "${text//'@STEPS@'/"${steps%|}"}"
}

# Whether a file is there with this content, mode and root as its owner.
unit_file_right() { # SOURCE MODE TARGET
  [[ -f $3 && ! -L $3 && $(stat -c '0%a %u:%g' -- "$3") == "$2 0:0" ]] &&
    cmp -s -- "$3" <(units_text "$1")
}

# Whether the name of the command belongs to somebody else.
units_command_taken() {
  [[ -e $COMMAND_FILE || -L $COMMAND_FILE ]] || return 1
  # the link that --demo makes as root is ours, too
  [[ $(readlink -- "$COMMAND_FILE") != */.venv/bin/sophia ]] || return 1
  ! grep -qs 'written by the installer of Sophia\|on a server, written by the installer' "$COMMAND_FILE"
}

# Why a service must be started anew; nothing where it runs as it should.
unit_reason() { # UNIT [CHANGED units...]
  local unit=$1 pid loaded
  shift
  if ! systemctl is-active --quiet "$unit"; then
    echo new
  elif [[ " $* " == *" $unit "* || $(systemctl show --property=NeedDaemonReload --value "$unit") == yes ]]; then
    echo unit
  else
    pid=$(systemctl show --property=MainPID --value "$unit")
    loaded=/run/credentials/$unit/sophia.env
    if [[ $(readlink -- "/proc/$pid/cwd") != "$(readlink -f -- "$CURRENT")/src" ]]; then
      echo release
    elif [[ -e $loaded ]] && ! cmp -s -- "$loaded" "$ENV_FILE"; then
      echo env
    fi
  fi
}

units_check() {
  local line source mode target unit files
  mapfile -t files < <(units_files)
  for line in "${files[@]}"; do
    read -r source mode target <<<"$line"
    unit_file_right "$source" "$mode" "$target" || return 1
  done
  ! { owner_bounds_journal && [[ -e $JOURNALD_FILE ]]; } || return 1
  for unit in "${UNIT_SERVICES[@]}" sophia-helper.socket; do
    systemctl is-enabled --quiet "$unit" 2>/dev/null || return 1
  done
  systemctl is-active --quiet sophia-helper.socket || return 1
  for unit in "${UNIT_SERVICES[@]}"; do
    [[ -z $(unit_reason "$unit") ]] || return 1
  done
}

# Puts one file in place, whole or not at all.
unit_file_write() { # SOURCE MODE TARGET
  # no suffix that polkit or systemd reads, and sudo passes names with a dot over
  local new=$3.sophia-new
  if ! mkdir -p -- "${3%/*}" || ! units_text "$1" >"$new" || ! chown root:root -- "$new" ||
    ! chmod "$2" -- "$new" || ! sync -- "$new"; then
    rm -f -- "$new"
    fail 1 S381 "$(text units_not_written "$3")" "" "$(text units_not_written_remedy)"
  fi
  if [[ $1 == sudoers ]] && ! visudo -c -q -f "$new" >>"$LOG_FILE" 2>&1; then
    rm -f -- "$new"
    fail 1 S380 "$(text units_sudoers_wrong)" "" "$(text units_sudoers_wrong_remedy "$LOG_FILE")"
  fi
  mv -f -T -- "$new" "$3"
}

units_apply() {
  local line source mode target unit reason files written=() changed=()
  if units_command_taken; then
    fail 1 S382 "$(text units_command_taken "$COMMAND_FILE")" "$(text units_command_taken_why)" \
      "$(text units_command_taken_remedy)"
  fi
  mapfile -t files < <(units_files)
  for line in "${files[@]}"; do
    read -r source mode target <<<"$line"
    unit_file_right "$source" "$mode" "$target" && continue
    unit_file_write "$source" "$mode" "$target"
    written+=("$target")
    if [[ $target == /etc/systemd/system/* ]]; then changed+=("$source"); fi
  done
  if owner_bounds_journal && [[ -e $JOURNALD_FILE ]]; then
    rm -f -- "$JOURNALD_FILE"
    written+=("$JOURNALD_FILE")
  fi
  if ((${#written[@]})); then say units_changed "${written[*]}"; fi
  if ((${#changed[@]})); then systemctl daemon-reload; fi
  # journald keeps the connections of services over its restart
  [[ " ${written[*]} " != *" $JOURNALD_FILE "* ]] || systemctl restart systemd-journald
  run_logged 'systemctl enable' systemctl enable --quiet "${UNIT_SERVICES[@]}" sophia-helper.socket
  if [[ " ${changed[*]} " == *' sophia-helper.socket '* ]]; then
    systemctl restart sophia-helper.socket
  else
    systemctl start sophia-helper.socket
  fi
  for unit in "${UNIT_SERVICES[@]}"; do
    reason=$(unit_reason "$unit" "${changed[@]}")
    [[ -n $reason ]] || continue
    say units_restarts "$unit" "$(text "units_why_$reason")"
    systemctl reset-failed "$unit" 2>/dev/null || true
    systemctl restart "$unit" || unit_not_up "$unit"
  done
}

unit_not_up() { # UNIT
  local told
  told=$(systemctl show --property=ActiveState,SubState,Result --value "$1" | paste -sd ' ')
  fail 1 S383 "$(text units_not_up "$1")" "$(text units_not_up_why "$told")" \
    "$(text units_not_up_remedy "$1")"
}

# A service that ends within its first seconds is not up: the same process must be there for three.
units_verify() {
  local unit since
  for unit in "${UNIT_SERVICES[@]}"; do
    since=$(systemctl show --property=InvocationID --value "$unit")
    for _ in 1 2 3 4 5 6; do
      sleep 0.5
      [[ $(systemctl is-active "$unit") == active ]] || unit_not_up "$unit"
    done
    [[ $(systemctl show --property=InvocationID --value "$unit") == "$since" ]] || unit_not_up "$unit"
  done
  systemctl is-active --quiet sophia-helper.socket
}
