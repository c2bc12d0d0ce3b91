# shellcheck shell=bash
# shellcheck disable=SC2004,SC2034 # GIVEN is declared in envfile.sh; DATA is read in steps
# A server's run from end to end: the lock, the log, the steps in their order. --uninstall is a
# function of its own (uninstall_server), --upgrade one before the steps and one behind them
# (upgrade_begin, upgrade_end); a new password for the database is the step postgres with ROTATE set.

readonly SERVER_DATA=/var/lib/sophia CURRENT=/opt/sophia/current
INSTALL_LOG=/var/log/sophia/install.log

# With --json standard output is the summary alone; everything else goes to standard error.
summary_apart() {
  exec 3>&1
  [[ $JSON == no ]] || exec 1>&2
}

run_server() {
  local number=0 name stopped
  # what a person's shell exports must not decide where a server's things go
  DATA=$SERVER_DATA
  export SOPHIA_DATA_DIR=$SERVER_DATA SOPHIA_ENV_FILE=$ENV_FILE
  summary_apart
  on_exit_add json_of_failure
  if is_root; then take_lock 0 /run; else take_lock 0; fi
  if is_root && [[ $DRY_RUN == no ]]; then
    open_log "$INSTALL_LOG" || fail 1 S317 "$(text no_folder "${INSTALL_LOG%/*}")" "" \
      "$(text no_folder_remedy)"
    log_line "=== $(resume_command)"
  fi
  take_environment
  if [[ -n $AUTO_ENV ]]; then load_auto_env; fi
  if stopped=$(state_get step); then say stopped_before "$(text "title_$stopped")"; fi
  if [[ $UNINSTALL == yes ]]; then
    uninstall_server
    return
  fi
  STEPS=("${SERVER_STEPS[@]}")
  if [[ $ROTATE == yes ]]; then
    STEPS=(machine account env postgres) # the env file too, which may be what was lost
    [[ ! -x $CURRENT/venv/bin/python ]] || STEPS+=(health)
    STEPS+=(summary)
  fi
  [[ -z $ONE_STEP ]] || STEPS=("$ONE_STEP")
  # nobody's tables change without a backup, whether --upgrade was said or not
  if [[ $UPGRADE$ROTATE == nono && -z $ONE_STEP ]] && is_root && upgrade_needed; then
    say upgrade_implied
    UPGRADE=yes
  fi
  [[ $UPGRADE == no ]] || upgrade_begin
  for name in "${STEPS[@]}"; do
    number=$((number + 1))
    run_step "$name" "$number"
  done
  [[ $UPGRADE == no ]] || upgrade_end
  # a step that is run alone has its summary too; of a whole run the last step gives it
  if [[ $JSON == yes && -n $ONE_STEP && $ONE_STEP != summary ]]; then json_summary "$(run_result)"; fi
  if [[ $DRY_RUN == yes ]]; then
    say plan_done
  elif [[ $OPEN_MENU == yes ]]; then
    open_menu
  fi
}

# The console is the menu; it needs a terminal, and lives longer than the lock.
open_menu() {
  local status=0
  if [[ ! -t 0 || ! -t 1 || $JSON == yes ]]; then
    say no_menu
    return
  fi
  give_lock_back
  /usr/local/bin/sophia || status=$?
  exit "$status"
}

# A text as JSON.
json_text() {
  local text=$1 sign code out=''
  text=${text//\\/\\\\}
  text=${text//\"/\\\"}
  while [[ $text =~ [[:cntrl:]] ]]; do
    sign=${BASH_REMATCH[0]}
    printf -v code '%04x' "'$sign"
    out+=${text%%"$sign"*}\\u$code
    text=${text#*"$sign"}
  done
  printf '"%s"' "$out$text"
}

json_list() { # WORD...
  local word out=''
  for word in "$@"; do out+="${out:+,}$(json_text "$word")"; done
  printf '[%s]' "$out"
}

# What every summary says; the rest are the notes of the steps: json_summary RESULT [KEY VALUE]...
json_summary() {
  local key out
  out="\"result\":$(json_text "$1"),\"changed\":$(json_list "${CHANGED_STEPS[@]}")"
  out+=",\"unchanged\":$(json_list "${UNCHANGED_STEPS[@]}")"
  shift
  while (($# > 1)); do
    out+=",$(json_text "$1"):$(json_text "$2")"
    shift 2
  done
  for key in "${NOTED[@]}"; do
    out+=",$(json_text "$key"):$(json_text "${NOTES[$key]}")"
  done
  printf '{%s}\n' "$out" >&3
}

# A run that came to its end, in the word of its summary.
run_result() { if [[ $DRY_RUN == yes ]]; then echo planned; else echo 'done'; fi; }

# Run at the end: a run that failed says so in JSON too.
json_of_failure() {
  local code='' what=''
  # shellcheck disable=SC2154 # run_on_exit's
  [[ $JSON == yes && $status != 0 ]] || return 0
  [[ ! -s $FAILED_MARK ]] || { IFS= read -r code && IFS= read -r what; } <"$FAILED_MARK"
  json_summary failed exit "$status" step "$CURRENT_STEP" code "$code" what "$what"
}

# Settings that are taken from the environment into the env file, beside SOPHIA_*.
readonly FIELD_KEYS=(
  DATABASE_URL DB_PASS OPENAI_API_KEY OPENAI_BASE_URL FINETUNE_BASE FINETUNE_DIR FINETUNE_HISTORY
  ALLOW_FINETUNE FINETUNE_TOKEN GEN_MODEL EXPANSION_MODEL API_URL AION_TRAIN_ROOT AION_LORA_BASE
  AION_EVENTS_JSONL AION_TAU_FALLBACK AION_TAU_NDCG PRIMARY_TENANT_ID CHROMADB_HOST CHROMADB_PORT
  HUGGINGFACE_TOKEN HF_TOKEN HF_ENDPOINT HF_HOME HF_HUB_CACHE HF_HUB_OFFLINE SSL_CERT_FILE
  SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY
  http_proxy https_proxy all_proxy no_proxy
)

# What only this run needs, and the services must not see: they are exported, never written.
readonly RUN_KEYS=(
  SOPHIA_WHEELS SOPHIA_EXTRAS SOPHIA_TORCH_INDEX SOPHIA_PYTHON SOPHIA_APT_WAIT SOPHIA_PG_CLUSTER
  PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_TRUSTED_HOST PIP_CERT
)

# Names that Sophia's own paths and this person's session give, and no env file should.
readonly NO_KEYS=(SOPHIA_DATA_DIR SOPHIA_ENV_FILE SOPHIA_LANG SOPHIA_UI_LANG)

is_one_of() { # WORD WORD...
  local each
  for each in "${@:2}"; do [[ $each != "$1" ]] || return 0; done
  return 1
}

# The settings that this run was given by its environment; they win over --auto-env's.
take_environment() {
  local - && set +x
  local key
  for key in "${FIELD_KEYS[@]}" $(compgen -e SOPHIA_); do
    [[ -v $key && $key != SOPHIA_TEST_* ]] || continue
    ! is_one_of "$key" "${RUN_KEYS[@]}" "${NO_KEYS[@]}" || continue
    GIVEN[$key]=${!key}
    if key_is_secret "$key"; then secret_known "${!key}"; fi
  done
  for key in "${RUN_KEYS[@]}"; do
    if [[ -v $key ]] && key_is_secret "$key"; then secret_known "${!key}"; fi
  done
}

# Reads --auto-env where Python is there already, else after it was installed.
load_auto_env() {
  local - && set +x
  local key
  [[ -n $AUTO_ENV && ${AUTO_ENV_READ:-no} == no ]] || return 0
  if ! system_python >/dev/null; then
    say auto_env_later
    return 0
  fi
  env_load "$AUTO_ENV"
  AUTO_ENV_READ=yes
  # what the environment gave stands above the file
  take_environment
  for key in "${NO_KEYS[@]}"; do unset "GIVEN[$key]"; done
  for key in "${RUN_KEYS[@]}" http_proxy https_proxy all_proxy no_proxy HTTP_PROXY HTTPS_PROXY \
    ALL_PROXY NO_PROXY HF_ENDPOINT; do
    [[ -v GIVEN[$key] && ! -v $key ]] || continue
    export "$key=${GIVEN[$key]}"
  done
  for key in "${RUN_KEYS[@]}"; do unset "GIVEN[$key]"; done
}
