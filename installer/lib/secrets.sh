# shellcheck shell=bash
# Secrets: made, remembered for redaction. Their values are never traced, logged or arguments.

# What the log must not show; filled by secret_known.
declare -ga SECRETS=()

# Prints a new secret of [A-Za-z0-9], 32 characters (190 bits) unless asked otherwise.
secret_new() { # [LENGTH]
  local - && set +x
  local length=${1:-32} secret=
  while ((${#secret} < length)); do
    secret+=$(head -c 1024 /dev/urandom | base64 --wrap=0 | LC_ALL=C tr -dc 'A-Za-z0-9')
  done
  printf '%s' "${secret:0:length}"
}

# Remembers a value that the log must not show. Very short ones would blacken half the log.
secret_known() { # VALUE
  local - && set +x
  local known
  ((${#1} >= 4)) || return 0
  for known in "${SECRETS[@]}"; do
    [[ $known != "$1" ]] || return 0
  done
  SECRETS+=("$1")
}

# Copies standard input line by line, known secrets and passwords in addresses blackened. What can't
# be written (a full disk) is dropped: the program that writes it goes on to its own end.
redacted() {
  local - && set +x
  local line secret address='(.*://[^/:@[:space:]]*:)[^@/[:space:]]+(@.*)'
  while IFS= read -r line || [[ -n $line ]]; do
    for secret in "${SECRETS[@]}"; do
      line=${line//"$secret"/***}
    done
    [[ ! $line =~ $address ]] || line="${BASH_REMATCH[1]}***${BASH_REMATCH[2]}"
    printf '%s\n' "$line" 2>/dev/null || true
  done
}
