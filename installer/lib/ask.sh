# shellcheck shell=bash
# Questions to the person. Over a terminal they are asked; with --auto or without a terminal the
# default is taken and shown, never waited for.

# Whether there is a person to ask.
can_ask() { [[ ${AUTO:-no} == no && -t 0 && -t 2 ]]; }

# Shows what was taken without asking, and why.
taken_by_default() { # QUESTION ANSWER
  local reason=ask_auto
  [[ ${AUTO:-no} == yes ]] || reason=ask_no_terminal
  say_error ask_default "$1" "$2" "$(text "$reason")"
}

# What was typed before a question was shown is no answer to it.
forget_typed() {
  while IFS= read -r -s -t 0.02 -n 512 _; do :; done
}

# Returns 0 for yes. --auto-assume-yes says yes to everything.
ask_yes() { # KEY DEFAULT (yes or no) [ARG of the text...]
  local question default=$2 answer
  question=$(text "$1" "${@:3}")
  if [[ ${ASSUME_YES:-no} == yes ]]; then
    say_error ask_default "$question" "$(text word_yes)" --auto-assume-yes
    return 0
  fi
  if ! can_ask; then
    taken_by_default "$question" "$(text "word_$default")"
    [[ $default == yes ]]
    return
  fi
  forget_typed
  while true; do
    printf '%s %s ' "$question" "$(text "choice_$default")" >&2
    IFS= read -r answer || answer=
    case ${answer,,} in
      '')
        [[ $default == yes ]]
        return
        ;;
      y | yes | s | sim) return 0 ;;
      n | no | nao | não) return 1 ;;
    esac
    say_error ask_again
  done
}

# Prints the answer, or the default for an empty one.
ask_value() { # KEY DEFAULT [ARG of the text...]
  local question default=$2 answer
  question=$(text "$1" "${@:3}")
  if can_ask; then
    printf '%s [%s] ' "$question" "$default" >&2
    IFS= read -r answer || answer=
  else
    taken_by_default "$question" "${default:-$(text word_nothing)}"
    answer=
  fi
  printf '%s' "${answer:-$default}"
}

# Prints what was typed, without showing it; nothing where nobody can be asked.
ask_secret() { # KEY [ARG of the text...]
  local - && set +x
  local question answer=
  question=$(text "$@")
  if can_ask; then
    # read's own prompt comes when the echo is off: what is typed at once would be seen else
    IFS= read -r -s -p "$question " answer || answer=
    printf '\n' >&2
  else
    taken_by_default "$question" "$(text word_nothing)"
  fi
  printf '%s' "$answer"
}
