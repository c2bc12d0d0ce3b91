# shellcheck shell=bash
# What the installer tells people: lines, errors with a code, progress of long commands, the log.

# The program that somebody started; ROOT is a release's for a while.
ENTRY=$ROOT/install_sophia_llm.sh

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
  local - && set +x
  shift 2
  printf '\n[SOPHIA-%s] ' "$code" >&2
  for part in "$@"; do
    [[ -z $part ]] || printf '%s\n' "$part" >&2
  done
  log_line "[SOPHIA-$code] $1"
  # also where this is a subshell, whose end the ERR trap of the program sees
  mark_failed "SOPHIA-$code" "$1"
  exit "$status"
}

# On a full disk the mark stays empty, and the exit status what it is.
mark_failed() { # CODE WHAT
  [[ -z ${FAILED_MARK:-} ]] || printf '%s\n%s\n' "$1" "$2" 2>/dev/null >"$FAILED_MARK" || true
}

# One line for the log alone, with its time. A log that can't be written is nothing to end for: what
# fills the disk is told by what needs the room.
log_line() { # TEXT
  [[ ! -w ${LOG_FILE:-/dev/null} ]] || printf '%(%F %T)T %s\n' -1 "$1" | redacted >>"$LOG_FILE"
}

# The log, readable by its owner alone; a link in its place is not followed.
open_log() { # PATH
  local folder=${1%/*}
  [[ -d $folder ]] || mkdir -p -- "$folder" || return
  [[ ! -L $1 ]] || return
  (umask 077 && : >>"$1") || return
  chmod 0600 -- "$1"
  LOG_FILE=$1
}

# Clean-up: commands that run at the end, however it comes, the latest first.
declare -ga ON_EXIT=()

on_exit_add() { # COMMAND [ARG...]
  local words
  printf -v words '%q ' "$@"
  ON_EXIT+=("$words")
}

run_on_exit() {
  local status=$? index
  trap - ERR
  set +e
  for ((index = ${#ON_EXIT[@]} - 1; index >= 0; index--)); do
    eval "${ON_EXIT[index]}"
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

# Runs a long command with its output, redacted, in the log and a sign of life on the screen. It is
# a process group of its own, so that it can be ended with all that it started.
# Returns the command's exit status; on failure the end of the log is shown, and where it is.
run_logged() { # LABEL COMMAND [ARG...]
  local label=$1 begin=$SECONDS status=0 shown=0
  shift
  printf '\n=== %(%F %T)T %s\n' -1 "$label" 2>/dev/null >>"$LOG_FILE" || true
  set -m
  (
    set -o pipefail
    "$@" 2>&1 </dev/null 9<&- | redacted >>"$LOG_FILE"
  ) &
  RUNNING_CHILD=$!
  set +m
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

# Ends the long command that runs now, with all that it started; a second signal can't hinder it.
end_child() {
  local child=${RUNNING_CHILD:-}
  [[ -n $child ]] || return 0
  RUNNING_CHILD=
  kill -TERM -- "-$child" 2>/dev/null || kill -TERM "$child" 2>/dev/null || true
  wait "$child" 2>/dev/null || true
}

# On ^C, TERM or a lost connection: end the long command, say that a further run goes on from here.
interrupted() { # EXIT STATUS
  trap '' INT TERM HUP PIPE
  trap - ERR
  set +e
  end_child
  log_line "interrupted ($1) in ${CURRENT_STEP:--}"
  # after a lost connection nobody reads it: that is no failure (errexit is off, PIPE ignored)
  if [[ -n ${CURRENT_STEP:-} ]]; then
    say_error interrupted_step "$(text "title_$CURRENT_STEP")" "$(resume_command)"
  else
    say_error interrupted
  fi
  mark_failed interrupted "$1"
  exit "$1"
}

# What to type to go on: the command of this run, which holds no secret.
resume_command() {
  local words
  printf -v words '%q ' "$ENTRY" "${ARGUMENTS[@]}"
  if is_root && [[ -n ${SUDO_USER:-} ]]; then words="sudo $words"; fi
  printf '%s\n' "${words% }"
}

# What no step foresaw: say which step, which line, where the log is and how to go on.
unforeseen() { # STATUS LINE FILE
  ((BASH_SUBSHELL == 0)) || return 0
  trap - ERR
  if [[ ! -s ${FAILED_MARK:-/dev/null} ]]; then
    fail 1 S327 "$(text unforeseen "${CURRENT_STEP:--}" "${3##*/}" "$2" "$1")" "" \
      "$(text unforeseen_remedy "$LOG_FILE" "$(resume_command)")"
  fi
  exit "$1"
}

watch_signals() {
  RUNNING_CHILD=
  on_signal 130 INT
  on_signal 143 TERM
  on_signal 129 HUP PIPE
}

# Between two $() of one command bash 5.2 runs a trap while it looks for the second one's `)`, finds
# the end of the trap instead and drops it: the signal is lost, or the program ends with 2. So a trap
# has that `)` in a line of its own, which nobody comes to, since the first line ends the program.
on_signal() { # EXIT STATUS, SIGNAL...
  local action
  printf -v action 'interrupted %d\n)' "$1"
  trap -- "$action" "${@:2}"
}

# Errors that nobody foresaw, and the clean-up; for the program itself, not for tests/run.
watch_errors() {
  FAILED_MARK=$(mktemp "${TMPDIR:-/tmp}/sophia-install.XXXXXX")
  on_exit_add rm -f -- "$FAILED_MARK"
  trap 'unforeseen "$?" "$LINENO" "${BASH_SOURCE[0]:-}"' ERR
  trap run_on_exit EXIT
}
