# shellcheck shell=bash
# Sophia's own tables, in the version that the installed program needs. Run as Sophia's account, with
# the env file that the services read.

# The installed program as Sophia's account. Who set the machine up is an administrator to Sophia
# whatever SOPHIA_ROLES says, and the audit names the person behind sudo.
migrate_sophia() { # ARG...
  (
    cd /
    runuser -u sophia -- env -i PATH=/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8 \
      "HOME=$SERVER_DATA" "SOPHIA_DATA_DIR=$SERVER_DATA" "SOPHIA_ENV_FILE=$ENV_FILE" \
      "SOPHIA_LANG=$SOPHIA_UI_LANG" 'SOPHIA_ROLES=*=admin' ${SUDO_USER:+"SUDO_USER=$SUDO_USER"} \
      "${RELEASE:-$CURRENT}/venv/bin/sophia" "$@" </dev/null
  )
}

# Prints the version of the tables from a status as JSON on standard input; returns 1 where it is not
# the one that the program needs.
migrate_read() {
  "$(system_python)" -I -c '
import json, sys
found = json.load(sys.stdin)
print(found["schema_version"])
sys.exit(found["schema_version"] != found["program_version"])'
}

migrate_version() {
  [[ -x $CURRENT/venv/bin/sophia ]] || return 1
  migrate_sophia store status --json 2>/dev/null | migrate_read 2>/dev/null
}

migrate_check() { migrate_version >/dev/null; }

migrate_apply() {
  local status=0
  run_logged 'sophia store migrate' migrate_sophia store migrate || status=$?
  ((status == 0)) || fail "$status" S353 "$(text migrate_failed)" "" "$(text migrate_failed_remedy)"
}

migrate_verify() {
  local version
  version=$(migrate_version) || return
  say migrate_at "$version"
}
