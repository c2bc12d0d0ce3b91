# shellcheck shell=bash
# Sophia's env file: what was given for this run, and defaults for what is not there yet. Passwords
# and tokens are made once and stand in the file before anything uses them, so that none is lost
# wherever a run is killed. What is there already is kept.

# Keys whose relative paths would otherwise be taken from a service's own folder.
readonly PATH_KEYS=(FINETUNE_DIR AION_TRAIN_ROOT AION_EVENTS_JSONL)

# Prints what is to stand in the file, as KEY NUL VALUE NUL: what was given, then the defaults.
env_wanted() {
  local - && set +x
  local key value
  for key in "${!GIVEN[@]}"; do
    value=${GIVEN[$key]}
    [[ -n $value ]] || continue
    if is_one_of "$key" "${PATH_KEYS[@]}" && [[ $value != /* ]]; then value=$SERVER_DATA/${value#./}; fi
    printf '%s\0%s\0' "$key" "$value"
  done
  for key in $(env_missing FINETUNE_DIR AION_TRAIN_ROOT AION_EVENTS_JSONL ALLOW_FINETUNE API_URL \
    SOPHIA_DATA_DIR); do
    [[ -z ${GIVEN[$key]:-} ]] || continue
    printf '%s\0%s\0' "$key" "$(env_default "$key")"
  done
}

env_default() { # KEY
  case $1 in
    FINETUNE_DIR) echo "$SERVER_DATA/finetune" ;;
    AION_TRAIN_ROOT) echo "$SERVER_DATA/trainer" ;;
    AION_EVENTS_JSONL) echo "$SERVER_DATA/trainer/events.jsonl" ;;
    ALLOW_FINETUNE) echo false ;;
    API_URL) echo http://localhost:8000 ;;
    SOPHIA_DATA_DIR) echo "$SERVER_DATA" ;;
  esac
}

# Which secrets have to be made: the API's token; the database's password where the database is ours.
env_secrets() {
  local - && set +x
  local key
  for key in $(env_missing FINETUNE_TOKEN DB_PASS); do
    [[ -z ${GIVEN[$key]:-} ]] || continue
    [[ $key != DB_PASS || -n $(env_missing DATABASE_URL) && -z ${GIVEN[DATABASE_URL]:-} ]] || continue
    store_elsewhere && [[ $key == DB_PASS ]] || printf '%s\n' "$key"
  done
}

env_check() {
  [[ -f $ENV_FILE && "$(stat -c '%a %U:%G' -- "$ENV_FILE")" == '640 root:sophia' ]] || return 1
  [[ -z $(env_secrets) ]] || return 1
  env_wanted | env_tool holds "$ENV_FILE"
}

env_apply() {
  local - && set +x
  local key status=0
  rm -f -- "${ENV_FILE%/*}/.${ENV_FILE##*/}".*.tmp # of a run that was killed while it wrote
  [[ -e $ENV_FILE ]] || env_ask
  postgres_may_write # what the database knows and we don't must not be covered
  {
    env_wanted
    for key in $(env_secrets); do printf '%s\0%s\0' "$key" "$(secret_new 40)"; done
  } | env_tool merge "$ENV_FILE" || status=$?
  case $status in
    0) ;;
    2) fail 2 S333 "$(text env_value_refused)" "" "$(text env_value_refused_remedy)" ;;
    *) fail 1 S324 "$(text env_not_written "$ENV_FILE" "${ENV_FILE%/*}: $(free_megabytes "${ENV_FILE%/*}") MB")" \
      "" "$(text env_not_written_remedy)" ;;
  esac
  chown root:sophia -- "$ENV_FILE"
  chmod 0640 -- "$ENV_FILE"
}

# What only a person knows, asked once: before there is an env file.
env_ask() {
  local - && set +x
  local answer
  if [[ -z ${GIVEN[OPENAI_API_KEY]:-} ]]; then
    answer=$(ask_secret ask_openai_key)
    if [[ -n $answer ]]; then GIVEN[OPENAI_API_KEY]=$answer && secret_known "$answer"; fi
  fi
  if [[ -z ${GIVEN[DATABASE_URL]:-} ]]; then
    answer=$(ask_secret ask_database_url)
    if [[ -n $answer ]]; then GIVEN[DATABASE_URL]=$answer && secret_known "$answer"; fi
  fi
}

env_verify() { env_check; }
