#!/usr/bin/env bats
# The services' files as the step writes them, and the command for colleagues.

bats_require_minimum_version 1.5.0

setup() {
  load helpers
  load_library
  make_server_folders
  # shellcheck source=/dev/null
  source "$CHECKOUT/installer/steps/80-units.sh"
}

@test "every file is whole: no mark is left in it, and no line ends in a blank" {
  local line source mode target
  [ "$(units_files | wc -l)" -ge 11 ]
  while read -r source mode target; do
    [ "$source" != completion ] || continue # made by the program, on a server
    [ -n "$(units_text "$source")" ]
    ! units_text "$source" | grep -qE '@[A-Z_]+@| $'
    [[ $mode == 0[0-7][0-7][0-7] && $target == /* ]]
  done < <(units_files)
}

@test "folders outside the data folder that the settings name may be written, whatever their name" {
  printf %s '/srv/our data/100%' | env_set FINETUNE_DIR
  printf %s /var/lib/sophia/trainer | env_set AION_TRAIN_ROOT
  printf %s /srv/events/all.jsonl | env_set AION_EVENTS_JSONL
  printf %s /var/lib/sophia-other | env_set SOPHIA_BACKUP_DIR
  run units_write_paths
  [ "$output" = '"-/srv/events" "-/srv/our data/100%%" "-/var/lib/sophia-other"' ]
  units_text sophia-worker.service |
    grep -qxF 'ReadWritePaths=/var/lib/sophia /tmp /var/tmp "-/srv/events" "-/srv/our data/100%%" "-/var/lib/sophia-other"'
}

@test "without such folders the line ends after ours" {
  units_text sophia-api.service | grep -qx 'ReadWritePaths=/var/lib/sophia'
}

@test "the polkit rule names every step that may be started, and no other" {
  units_text polkit.rules | grep -qF '@(server_packages|account|env|postgres|application|migrate|units|firewall|health)\.service$/'
}

@test "a file is right by content, mode and owner, and a link never is" {
  ((EUID == 0)) || skip 'root owns what is compared'
  local file=$BATS_TEST_TMPDIR/file
  units_text sudoers >"$file"
  chmod 0440 "$file"
  unit_file_right sudoers 0440 "$file"
  ! unit_file_right sudoers 0644 "$file"
  ! unit_file_right polkit.rules 0440 "$file"
  ln -s "$file" "$file.link"
  ! unit_file_right sudoers 0440 "$file.link"
  chown 1:0 "$file"
  ! unit_file_right sudoers 0440 "$file"
}

@test "the journal's bound is the owner's where he set one, in any file but ours" {
  local root=$BATS_TEST_TMPDIR/root
  mkdir -p "$root/etc/systemd/journald.conf.d"
  printf '[Journal]\n#SystemMaxUse=\nSystemMaxUse=\n' >"$root/etc/systemd/journald.conf"
  cp -- "$CHECKOUT/installer/units/journald.conf" "$root$JOURNALD_FILE"
  ! owner_bounds_journal "$root"
  printf '[Journal]\nSystemMaxUse = 2G\n' >"$root/etc/systemd/journald.conf.d/10-owner.conf"
  owner_bounds_journal "$root"
}

@test "sudo takes the rule" {
  command -v visudo >/dev/null || skip 'visudo is not here; the step checks it on each server'
  visudo -c -q -f "$CHECKOUT/installer/units/sudoers"
}

# The command with stand-ins of what it asks: colleague NAME GROUPS UID COMMAND...
colleague() {
  local name=$1 groups=$2 uid=$3 tools=$BATS_TEST_TMPDIR/tools
  shift 3
  mkdir -p "$tools"
  cat >"$tools/id" <<ID
#!/bin/sh
case \$1 in -un) echo $name ;; -u) echo $uid ;; -nG) echo $groups ;; esac
ID
  printf '#!/bin/sh\nprintf "[%%s]" sudo "$@"\n' >"$tools/sudo"
  printf '#!/bin/sh\nprintf "[%%s]" "$SUDO_USER" runuser "$@"\n' >"$tools/runuser"
  chmod +x "$tools"/*
  PATH=$tools:$PATH sh "$CHECKOUT/installer/units/sophia" "$@"
}

@test "a colleague becomes the account by sudo, with the words as they were typed" {
  run colleague ana 'ana sophia' 1001 ask 'a b' '' '*'
  [ "$status" = 0 ]
  [ "$output" = '[sudo][-n][-u][sophia][--][/usr/local/bin/sophia][ask][a b][][*]' ]
}

@test "root becomes the account, and the person that sudo named stays named" {
  SUDO_USER=ana run colleague root root 0 store status
  [ "$output" = '[ana][runuser][-u][sophia][--][/usr/local/bin/sophia][store][status]' ]
  unset SUDO_USER
  run colleague root root 0 store
  [ "$output" = '[root][runuser][-u][sophia][--][/usr/local/bin/sophia][store]' ]
}

@test "an outsider is told what to do, in both languages, and a group with a similar name is none" {
  LANG=C.UTF-8 run colleague eva 'eva sophia-friends' 1002 store
  [ "$status" = 3 ]
  [[ $output == *'SOPHIA-S385'*'is not in group'*'usermod -aG sophia eva'* ]]
  LC_ALL=pt_BR.UTF-8 run colleague eva eva 1002 store
  [ "$status" = 3 ]
  [[ $output == *'não está no grupo'* ]]
}
