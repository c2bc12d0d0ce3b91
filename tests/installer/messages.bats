#!/usr/bin/env bats
# Both languages are complete and fit the code.

setup() {
  load helpers
  load_library
}

directives() { grep -o '%[a-z]' <<<"$1" | tr -d '\n' || true; }

@test "every message is there in both languages, with the same values" {
  local key
  for key in "${!MESSAGES_EN[@]}"; do
    [ -n "${MESSAGES_PT[$key]:-}" ] || { echo "no Portuguese: $key"; false; }
    [ "$(directives "${MESSAGES_EN[$key]}")" = "$(directives "${MESSAGES_PT[$key]}")" ] ||
      { echo "other values: $key"; false; }
  done
  [ "${#MESSAGES_EN[@]}" -eq "${#MESSAGES_PT[@]}" ]
}

used_keys() {
  cat "$REPOSITORY"/install_sophia_llm.sh "$REPOSITORY"/tests/run "$REPOSITORY"/installer/*/*.sh \
    "$REPOSITORY"/installer/lib/*/*.sh |
    grep -vE '^ *(#|local )' |
    grep -oE '\b(say|say_error|text|ask_yes|ask_value|ask_secret) [a-z_]+' | awk '{print $2}'
  grep -ohE '\bmachine_problem [0-9] [a-z_]+' "$REPOSITORY"/installer/steps/*.sh | awk '{print $3}'
  printf '%s\n' usage_demo ask_auto ask_no_terminal {choice,word}_{yes,no} units_why_{new,unit,release,env}
  grep -oE '"[a-z_0-9]+"' "$REPOSITORY/installer/lib/envfile.py" | sed 's/"\(.*\)"/env_line_\1/'
  local step
  for step in "$REPOSITORY"/installer/steps/*.sh; do
    step=${step##*/}
    step=${step#*-}
    printf '%s\n' "title_${step%.sh}" "plan_${step%.sh}"
  done
}

@test "every message that the code uses is there" {
  local key
  while read -r key; do
    [[ $key == title_ || $key == plan_ || $key == choice_ || $key == word_ ]] && continue
    [[ $key == env_line_* ]] && continue # not each text of that file is a reason
    [ -n "${MESSAGES_EN[$key]:-}" ] || { echo "not there: $key"; false; }
  done < <(used_keys | sort -u)
}

@test "no message is left that nothing uses" {
  local key used
  used=" $(used_keys | tr '\n' ' ') "
  for key in "${!MESSAGES_EN[@]}"; do
    [[ $used == *" $key "* ]] || { echo "unused: $key"; false; }
  done
}

@test "lines of the messages fit in 100 columns" {
  local key line
  for key in "${!MESSAGES_EN[@]}"; do
    [[ $key == *_remedy || $key == *_note || $key == some_* || $key == os_similar ]] && continue
    while IFS= read -r line; do
      [ "${#line}" -le 100 ] || { echo "$key: ${#line}"; false; }
    done <<<"${MESSAGES_EN[$key]}
${MESSAGES_PT[$key]}"
  done
}
