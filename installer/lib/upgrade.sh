# shellcheck shell=bash
# shellcheck disable=SC2034,SC2153 # CURRENT_STEP is read where an error is told
# --upgrade: another version in the place of the one that runs, and back where it fails.
#
#   build the release beside the old one -> stop the services where the tables change -> backup ->
#   the steps (link, migrations, units, health) -> the old releases but one go
#
# What fails, or is cut off, puts back the link, the tables of before (out of the backup, where they
# were changed) and the services. Going back by hand is the same with the other release's installer.
# Running trainings are units of their own: nothing here stops one.

UPGRADE_FROM='' UPGRADE_BACKUP='' UPGRADE_STORE='' UPGRADE_DONE=no

# The program of a release as Sophia's account: release_sophia RELEASE ARG...
release_sophia() {
  local RELEASE=$1 # migrate_sophia's
  shift
  migrate_sophia "$@"
}

# The version of the tables, and the one that a release needs: TABLES NEEDED
release_versions() { # RELEASE
  release_sophia "$1" store status --json 2>>"$LOG_FILE" | "$1/venv/bin/python" -I -c '
import json, sys
found = json.load(sys.stdin)
print(found["schema_version"] or "-", found["program_version"])' 2>>"$LOG_FILE"
}

# Whether a server is there whose version is another one than this checkout's, with tables in use.
upgrade_needed() {
  local tables=- needed
  [[ -x $CURRENT/venv/bin/sophia ]] && ! release_current || return 1
  read -r tables needed < <(release_versions "$(readlink -f -- "$CURRENT")" || true) || true
  [[ $tables != - ]]
}

# Before the steps.
upgrade_begin() {
  local tables needed
  [[ -x $CURRENT/venv/bin/sophia ]] ||
    fail 4 S402 "$(text upgrade_nothing)" "" "$(text upgrade_nothing_remedy)"
  if upgrade_resumes; then return; fi
  if release_current && release_present; then
    say upgrade_same "$(release_name)"
    return
  fi
  if [[ $DRY_RUN == yes ]]; then
    say upgrade_plan "$(basename -- "$(readlink -f -- "$CURRENT")")" "$(release_name)"
    return
  fi
  is_root || fail 3 S484 "$(text needs_root_upgrade)" "" "$(resume_command)"
  UPGRADE_FROM=$(readlink -f -- "$CURRENT")
  UPGRADE_STORE=
  on_exit_add upgrade_way_back
  CURRENT_STEP=application
  say upgrade_build "$(release_name)"
  application_build
  CURRENT_STEP=migrate
  read -r tables needed < <(release_versions "$RELEASES/$(release_name)") ||
    fail 5 S418 "$(text upgrade_no_store)" "" "$(text upgrade_log "$LOG_FILE")"
  [[ $tables == "$needed" ]] || upgrade_consent "$tables" "$needed"
  if [[ $tables != "$needed" ]]; then upgrade_stop; fi
  upgrade_backup
  UPGRADE_STORE=$tables
  upgrade_remember
  [[ -z ${UPGRADE_BACK_TO:-} ]] || upgrade_restore "$RELEASES/$(release_name)" "$UPGRADE_BACK_TO"
  CURRENT_STEP=
}

# Tables that are newer than this program: they go back only to the backup of before, and only where
# a person says so.
upgrade_consent() { # TABLES NEEDED
  local file
  [[ $1 > $2 ]] || return 0
  file=$(state_get upgraded_backup || true)
  if [[ $(state_get upgraded_from || true) != "$RELEASES/$(release_name)" || ! -f $file ]]; then
    fail 3 S480 "$(text upgrade_older "$1" "$2")" "$(text upgrade_older_why)" "$(text upgrade_older_remedy)"
  fi
  ask_yes ask_go_back no "$(stat -c %y -- "$file" | cut -c 1-16)" ||
    fail 3 S481 "$(text upgrade_not_back)" "" "$(text upgrade_not_back_remedy)"
  UPGRADE_BACK_TO=$file
}

# Nothing may be written between the backup and the change of the tables.
upgrade_stop() {
  say upgrade_stops
  run_logged 'systemctl stop' systemctl stop "${UNIT_SERVICES[@]}" ||
    fail 5 S486 "$(text upgrade_not_stopped)" "" "$(text upgrade_log "$LOG_FILE")"
}

# No backup, no upgrade. Data sets stay where they are and as they are: the store and the settings
# are what an upgrade changes.
upgrade_backup() {
  local told
  say upgrade_backs_up
  told=$(release_sophia "$UPGRADE_FROM" setup backup --no-datasets --adapters none --json 2>>"$LOG_FILE") || true
  UPGRADE_BACKUP=$(printf '%s' "$told" | "$UPGRADE_FROM/venv/bin/python" -I -c '
import json, sys
print(json.load(sys.stdin)["path"])' 2>/dev/null) || true
  [[ -n $UPGRADE_BACKUP && -f $UPGRADE_BACKUP ]] ||
    fail 5 S419 "$(text upgrade_no_backup)" "" "$(text upgrade_log "$LOG_FILE")"
  say upgrade_backed_up "$UPGRADE_BACKUP"
  step_note backup "$UPGRADE_BACKUP"
}

upgrade_remember() {
  state_set upgrade_from "$UPGRADE_FROM"
  state_set upgrade_store "$UPGRADE_STORE"
  state_set upgrade_backup "$UPGRADE_BACKUP"
  state_set upgrade_to "$RELEASES/$(release_name)" # the last: with it the others are there
}

upgrade_forget() {
  local key
  for key in upgrade_to upgrade_from upgrade_store upgrade_backup; do state_clear "$key"; done
}

# A run that was killed: the same version goes on, with the backup of that run.
upgrade_resumes() {
  local to
  to=$(state_get upgrade_to) || return 1
  UPGRADE_FROM=$(state_get upgrade_from) UPGRADE_STORE=$(state_get upgrade_store)
  UPGRADE_BACKUP=$(state_get upgrade_backup)
  if [[ $to == "$RELEASES/$(release_name)" && $DRY_RUN == no ]]; then
    say upgrade_goes_on "$UPGRADE_BACKUP"
    on_exit_add upgrade_way_back
    return
  fi
  if [[ $UPGRADE_FROM == "$RELEASES/$(release_name)" && $DRY_RUN == no ]]; then
    say upgrade_taken_back
    trap '' INT TERM HUP PIPE
    upgrade_back || exit 1
    watch_signals
    UPGRADE_FROM=
    return
  fi
  fail 3 S482 "$(text upgrade_other "$(basename -- "$to")")" "" \
    "$(text upgrade_other_remedy "$(basename -- "$to")" "$UPGRADE_FROM")"
}

# The store out of a backup, by the program of a release: upgrade_restore RELEASE FILE
upgrade_restore() {
  run_logged 'sophia setup restore' release_sophia "$1" setup restore "$2" --no-secrets --yes \
    --replace "$(uname -n)" ||
    fail 5 S483 "$(text upgrade_no_restore "$2")" "" "$(text upgrade_log "$LOG_FILE")"
}

# Behind the steps: everything is healthy.
upgrade_end() {
  [[ $DRY_RUN == no ]] || return 0
  UPGRADE_DONE=yes
  if [[ -n $UPGRADE_FROM ]]; then
    state_set upgraded_from "$UPGRADE_FROM"
    state_set upgraded_backup "$UPGRADE_BACKUP"
    upgrade_forget
    say upgrade_done "$(basename -- "$(readlink -f -- "$CURRENT")")" \
      "sudo $UPGRADE_FROM/src/install_sophia_llm.sh --upgrade"
  fi
  releases_prune
}

# Run at the end of the program: an upgrade that did not come to its end is undone.
upgrade_way_back() {
  # shellcheck disable=SC2154 # run_on_exit's
  [[ $UPGRADE_DONE == no && -n $UPGRADE_FROM && $status != 0 ]] || return 0
  UPGRADE_DONE=yes
  trap '' INT TERM HUP PIPE
  end_child
  say_error upgrade_goes_back "$(basename -- "$UPGRADE_FROM")"
  log_line "upgrade goes back to $UPGRADE_FROM ($status)"
  (upgrade_back)
}

# The link, the tables where they were changed, the units and services of before.
upgrade_back() {
  local tables='' wrong=no
  ln -sfn -- "$UPGRADE_FROM" "$CURRENT.new" && mv -fT -- "$CURRENT.new" "$CURRENT"
  if [[ -n $UPGRADE_STORE ]]; then
    read -r tables _ < <(release_versions "$UPGRADE_FROM") || true
    if [[ $tables != "$UPGRADE_STORE" ]]; then
      systemctl stop "${UNIT_SERVICES[@]}" || true
      (upgrade_restore "$UPGRADE_FROM" "$UPGRADE_BACKUP") || wrong=yes
    fi
  fi
  # by the installer of that release, so that its units are put in place; it takes the lock itself
  flock --unlock 9 2>/dev/null || true
  if [[ $wrong == yes ]] ||
    ! "$UPGRADE_FROM/src/install_sophia_llm.sh" --auto --step units >>"$LOG_FILE" 2>&1 </dev/null ||
    ! "$UPGRADE_FROM/src/install_sophia_llm.sh" --auto --step health >>"$LOG_FILE" 2>&1 </dev/null; then
    say_error upgrade_not_undone "$UPGRADE_BACKUP" "$LOG_FILE"
    return 1
  fi
  upgrade_forget
  state_clear step
  step_note taken_back yes
  say_error upgrade_undone "$(basename -- "$UPGRADE_FROM")"
}

# Whether a process still runs out of a release: a training keeps its program.
release_in_use() { # RELEASE
  local process
  for process in /proc/[0-9]*; do
    if [[ $(readlink -- "$process/cwd" 2>/dev/null) == "$1"/* ]] ||
      grep -qsF -- "$1/" "$process/cmdline" || grep -qsF -- "$1/" "$process/maps"; then
      return 0
    fi
  done
  return 1
}

# The release that runs and the one before stay, and those that a training runs out of.
releases_prune() {
  local release kept
  kept=$(state_get upgraded_from || state_get previous_release || true)
  for release in "$RELEASES"/*; do
    [[ -d $release && $release != "$(readlink -f -- "$CURRENT")" && $release != "$kept" ]] || continue
    if release_in_use "$release"; then
      say release_kept "$(basename -- "$release")"
    else
      rm -rf -- "$release"
      log_line "removed $release"
    fi
  done
}
