# shellcheck shell=bash
# Packages of the system: Python, Postgres, the firewall, and what lets the account and colleagues do
# their few privileged things.

# Prints those that are missing, separated by blanks.
server_packages_missing() {
  local package missing=() wanted=(python3 ca-certificates tzdata sudo polkitd)
  local python venv=python3-venv
  if python=$(find_python); then venv=$(venv_package "$python"); fi
  wanted+=("$venv")
  # UFW would drive out what keeps somebody's own rules
  rules_kept_by_package || wanted+=(ufw)
  store_elsewhere || wanted+=(postgresql)
  for package in "${wanted[@]}"; do
    apt_present "$package" || missing+=("$package")
  done
  echo "${missing[*]}"
}

# Whether the store is a database that this machine does not have to run.
store_elsewhere() {
  local - && set +x
  local url=${GIVEN[SOPHIA_STORE_URL]:-}
  if [[ -z $url && -r $ENV_FILE ]]; then url=$(env_get SOPHIA_STORE_URL) || url=; fi
  [[ -n $url && ! $url =~ ^[a-z]+://([^/@]*@)?(localhost|127\.[0-9.]+|\[::1\]|)(:[0-9]+)?(/|$) ]]
}

server_packages_check() {
  [[ -z $(server_packages_missing) && -z $(dpkg --audit 2>/dev/null) ]]
}

server_packages_apply() {
  local packages
  read -r -a packages <<<"$(server_packages_missing)"
  if ((${#packages[@]} == 0)); then
    apt_repair || server_packages_failed dpkg
  else
    apt_install "${packages[@]}" || server_packages_failed "${packages[*]}"
  fi
}

server_packages_failed() { # WHAT
  local free
  free=$(free_megabytes /var)
  fail 5 S311 "$(text apt_failed "$1")" "$( ((free >= 100)) || text apt_disk_full "$free")" \
    "$(text server_apt_remedy "$LOG_FILE")"
}

server_packages_verify() {
  find_python >/dev/null || fail 1 S318 "$(text no_python)" "" "$(text no_python_remedy)"
  server_packages_check || return
  # what was put off until there was a Python to read it with
  load_auto_env
}
