# shellcheck shell=bash
# The account and the group that own everything, and the folders. Members of the group share one
# store; the person behind sudo becomes one.

# The folders: mode, owner, path. Colleagues lay data files down in FINETUNE_DIR by themselves.
account_folders() {
  cat <<FOLDERS
0750 root:sophia ${ENV_FILE%/*}
0750 sophia:sophia $SERVER_DATA
2770 sophia:sophia $SERVER_DATA/finetune
0750 root:sophia ${INSTALL_LOG%/*}
0755 root:root /opt/sophia
FOLDERS
}

account_person() {
  [[ -n ${SUDO_USER:-} && ${SUDO_USER:-} != root && ${SUDO_USER:-} != sophia ]] || return 1
  getent passwd -- "$SUDO_USER" >/dev/null && printf '%s\n' "$SUDO_USER"
}

in_group() { # USER GROUP
  [[ " $(id -nG -- "$1" 2>/dev/null) " == *" $2 "* ]]
}

account_check() {
  local mode owner path person
  getent group sophia >/dev/null && getent passwd sophia >/dev/null || return 1
  account_ours
  in_group sophia systemd-journal || return 1
  while read -r mode owner path; do
    [[ -d $path && "$(stat -c '%04a %U:%G' -- "$path")" == "$mode $owner" ]] || return 1
  done < <(account_folders)
  ! person=$(account_person) || in_group "$person" sophia || [[ $(state_get "person_$person" || true) == no ]]
}

# An account sophia that a person logs in with is nobody's to take.
account_ours() {
  local home shell uid
  IFS=: read -r _ _ uid _ _ home shell < <(getent passwd sophia)
  [[ $home == "$SERVER_DATA" && $uid -lt 1000 && $shell == */nologin ]] || fail 3 S329 \
    "$(text account_foreign)" "$(text account_foreign_why "$uid" "$home" "$shell")" \
    "$(text account_foreign_remedy)"
}

account_apply() {
  local mode owner path person
  getent group sophia >/dev/null || groupadd --system sophia
  if getent passwd sophia >/dev/null; then
    account_ours
  else
    useradd --system --gid sophia --home-dir "$SERVER_DATA" --no-create-home \
      --shell /usr/sbin/nologin --comment Sophia sophia
  fi
  usermod --append --groups systemd-journal sophia
  # what a demo of root left there belongs to the account from now on; links are not followed
  if [[ -d $SERVER_DATA && $(stat -c %U -- "$SERVER_DATA") != sophia ]]; then
    chown --recursive --no-dereference -P sophia:sophia -- "$SERVER_DATA"
  fi
  while read -r mode owner path; do
    [[ -d $path ]] || mkdir -p -- "$path"
    [[ ! -L $path ]] || fail 3 S332 "$(text account_link "$path")" "" "$(text account_link_remedy)"
    chown --no-dereference "$owner" -- "$path"
    chmod "$mode" -- "$path"
  done < <(account_folders)
  if person=$(account_person) && ! in_group "$person" sophia; then
    if ask_yes ask_person yes "$person"; then
      usermod --append --groups sophia -- "$person"
      step_note joined "$person"
    else
      state_set "person_$person" no
    fi
  fi
}

account_verify() { account_check; }
