# shellcheck shell=bash
# What the installer remembers from run to run, as KEY=VALUE lines: where it stopped, what it found.
# Never a secret. The file is replaced whole, so that a power cut leaves the old or the new one.

STATE_FOLDER=${SOPHIA_TEST_STATE:-/var/lib/sophia-install}

state_get() { # KEY; prints its value, returns 1 where there is none
  local key value
  [[ -r $STATE_FOLDER/state ]] || return 1
  while IFS='=' read -r key value; do
    if [[ $key == "$1" ]]; then
      printf '%s\n' "$value"
      return 0
    fi
  done <"$STATE_FOLDER/state"
  return 1
}

# Writes the state without KEY, and with the new line where there is one.
state_write() { # KEY [LINE]
  local key value new=$STATE_FOLDER/state.new
  [[ -d $STATE_FOLDER ]] || (umask 077 && mkdir -p -- "$STATE_FOLDER") || return
  (
    umask 077
    {
      if [[ -r $STATE_FOLDER/state ]]; then
        while IFS='=' read -r key value; do
          [[ $key == "$1" || -z $key ]] || printf '%s=%s\n' "$key" "$value"
        done <"$STATE_FOLDER/state"
      fi
      [[ -z ${2:-} ]] || printf '%s\n' "$2"
    } >"$new"
  )
  sync -- "$new"
  mv -f -- "$new" "$STATE_FOLDER/state"
}

state_set() { # KEY VALUE (of one line)
  [[ $1 =~ ^[A-Za-z_][A-Za-z0-9_]*$ && $2 != *$'\n'* ]] || return 2
  state_write "$1" "$1=$2"
}

state_clear() { state_write "$1"; } # KEY
