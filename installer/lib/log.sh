# shellcheck shell=bash
# What the installer tells people: lines, errors with a code, progress of long commands, the log.

# Prints the text of a message: text KEY [ARG...]
text() {
  local key=$1 format
  shift
  if [[ $SOPHIA_UI_LANG == pt_BR ]]; then
    format=${MESSAGES_PT[$key]}
  else
    format=${MESSAGES_EN[$key]}
  fi
  # shellcheck disable=SC2059 # the table of messages holds formats
  printf -- "$format" "$@"
}

say() { printf '%s\n' "$(text "$@")"; }

say_error() { printf '%s\n' "$(text "$@")" >&2; }

# The active language, from --lang, else the environment read as text; never by setlocale.
choose_language() { # [TAG]
  local tag=${1:-} name
  for name in SOPHIA_LANG LC_ALL LC_MESSAGES LANG; do
    [[ -n $tag ]] || tag=${!name:-}
  done
  case ${tag,,} in
    pt | pt[_.@-]*) SOPHIA_UI_LANG=pt_BR ;;
    *) SOPHIA_UI_LANG=en ;;
  esac
}

# Ends the program with what happened, why and what to do: fail EXIT CODE WHAT WHY REMEDY
fail() {
  local status=$1 code=$2 part
  shift 2
  printf '\n[SOPHIA-%s] ' "$code" >&2
  for part in "$@"; do
    [[ -z $part ]] || printf '%s\n' "$part" >&2
  done
  exit "$status"
}

# Seconds since BEGINNING as people read them.
elapsed() { # BEGINNING (of SECONDS)
  local seconds=$((SECONDS - $1))
  if ((seconds < 100)); then printf '%d s' "$seconds"; else
    printf '%d min %02d s' $((seconds / 60)) $((seconds % 60))
  fi
}

# The last line of the log that says what is going on, short enough for one line of 80 cells.
last_activity() {
  tail -n 1 -- "$LOG_FILE" 2>/dev/null | tr -d '\000-\010\013-\037\177' | sed 's:^ *::' | cut -c 1-60
}

# Runs a long command with its output in the log and a sign of life on the screen.
# Returns the command's exit status; on failure the end of the log is shown, and where it is.
run_logged() { # LABEL COMMAND [ARG...]
  local label=$1 begin=$SECONDS status=0 shown=0
  shift
  printf '\n=== %(%F %T)T %s\n' -1 "$label" >>"$LOG_FILE"
  "$@" >>"$LOG_FILE" 2>&1 </dev/null &
  RUNNING_CHILD=$!
  while kill -0 "$RUNNING_CHILD" 2>/dev/null; do
    if [[ -t 1 ]]; then
      printf '\r\033[K    %s  %s' "$(elapsed "$begin")" "$(last_activity)"
    elif ((SECONDS - begin >= shown + 20)); then
      shown=$((SECONDS - begin))
      printf '    %s  %s\n' "$(elapsed "$begin")" "$(last_activity)"
    fi
    sleep 0.3
  done
  wait "$RUNNING_CHILD" || status=$?
  RUNNING_CHILD=
  [[ ! -t 1 ]] || printf '\r\033[K'
  if ((status != 0)); then
    say_error log_tail "$label" "$status" "$LOG_FILE"
    tail -n 20 -- "$LOG_FILE" | tr -d '\000-\010\013-\037\177' | sed 's/^/    | /' >&2
  fi
  return "$status"
}

# On ^C or TERM: end the long command, say that a further run goes on from here.
interrupted() { # EXIT STATUS
  trap '' INT TERM
  if [[ -n ${RUNNING_CHILD:-} ]]; then
    kill -TERM "$RUNNING_CHILD" 2>/dev/null || true
    wait "$RUNNING_CHILD" 2>/dev/null || true
  fi
  say_error interrupted
  exit "$1"
}

watch_signals() {
  RUNNING_CHILD=
  trap 'interrupted 130' INT
  trap 'interrupted 143' TERM
  trap 'interrupted 129' HUP
}
