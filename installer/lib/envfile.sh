# shellcheck shell=bash
# shellcheck disable=SC2034 # GIVEN is read in server.sh
# Sophia's env file, by the one parser and writer (envfile.py). A value is never an argument of a
# program, and never traced.

ENV_FILE=${SOPHIA_TEST_ENV_FILE:-/etc/sophia/sophia.env}

# What was given for this run, by --auto-env and the environment: GIVEN[KEY]=VALUE
declare -gA GIVEN=()

# The Python that reads env files; /usr/bin's own, so that nobody's environment is asked.
system_python() {
  if [[ -x /usr/bin/python3 ]] && python_suits /usr/bin/python3; then echo /usr/bin/python3; else find_python; fi
}

env_tool() { # VERB FILE [KEY...]
  local python
  python=$(system_python) || return 3
  PYTHONUTF8=1 PYTHONDONTWRITEBYTECODE=1 "$python" -I -B -X utf8 "$ROOT/installer/lib/envfile.py" "$@"
}

env_get() { # KEY; prints its value
  local - && set +x
  env_tool get "$ENV_FILE" "$1"
}

env_has() { env_tool has "$ENV_FILE" "$1"; } # KEY

# Prints those of KEYS that have no value yet, separated by blanks.
env_missing() { env_tool missing "$ENV_FILE" "$@"; } # KEY...

# The value comes on standard input: printf %s "$value" | env_set KEY
env_set() { # KEY
  env_tool set "$ENV_FILE" "$1" || fail 1 S324 "$(text env_not_written "$ENV_FILE" "$1")" "" \
    "$(text env_not_written_remedy)"
}

env_unset() { # KEY
  env_tool unset "$ENV_FILE" "$1" || fail 1 S324 "$(text env_not_written "$ENV_FILE" "$1")" "" \
    "$(text env_not_written_remedy)"
}

# Whether what a key holds is not to be shown.
key_is_secret() { # KEY
  case $1 in
    *PASS* | *TOKEN* | *SECRET* | *_KEY | *KEY_* | *CREDENTIAL* | *_URL | *_proxy | *_PROXY) return 0 ;;
  esac
  return 1
}

# Reads an --auto-env file into GIVEN. What is wrong is told by line number, without any value.
env_load() { # FILE
  local - && set +x
  local file=$1 problems='' number reason key value
  [[ -r $file ]] || fail 4 S325 "$(text env_file_missing "$(printf '%q' "$file")")" "" \
    "$(text env_file_missing_remedy)"
  # the last pair is what came before the exit status (nothing, or the problems) and the status
  while IFS= read -r -d '' key && IFS= read -r -d '' value; do
    [[ $key =~ ^[A-Za-z_] ]] || break
    GIVEN[$key]=$value
    if key_is_secret "$key"; then secret_known "$value"; fi
  done < <(
    status=0
    env_tool load "$file" || status=$?
    printf '\0%s\0' "$status"
  )
  case $value in
    0) ;;
    2)
      while read -r number reason; do
        problems+="  $(text "env_line_$reason" "$number")"$'\n'
      done <<<"${key%$'\n'}"
      fail 2 S326 "$(text env_file_wrong "$(printf '%q' "$file")")" "${problems%$'\n'}" \
        "$(text env_file_wrong_remedy)"
      ;;
    *) fail 4 S325 "$(text env_file_missing "$(printf '%q' "$file")")" "" \
      "$(text env_file_missing_remedy)" ;;
  esac
}
