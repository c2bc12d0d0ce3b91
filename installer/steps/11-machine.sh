# shellcheck shell=bash
# Looks at a machine that is to become a server, and tells everything that is wrong at once. It
# changes nothing, so it has nothing to apply.

readonly SERVER_MEMORY=900 TRAINING_MEMORY=3000 # MB; database, API and worker; with a training
readonly SYSTEM_DISK=1200 DATA_DISK=500         # MB; packages of the system; database and data
readonly PLAIN_DISK=900 TORCH_DISK=4500         # MB; a release without and with training's packages
readonly CLOCK_LEAST=1767225600                 # 2026-01-01: this version is younger

declare -ga MACHINE_PROBLEMS=()

machine_check() {
  MACHINE_PROBLEMS=() MACHINE_STATUS=0
  machine_system
  machine_room
  machine_clock
  machine_network
  machine_apt
  ((${#MACHINE_PROBLEMS[@]} == 0)) || fail "$MACHINE_STATUS" S328 \
    "$(text machine_wrong "${#MACHINE_PROBLEMS[@]}")" "$(printf '%s\n' "${MACHINE_PROBLEMS[@]}")" \
    "$(text machine_wrong_remedy)"
}

machine_apply() { :; }

machine_verify() { :; }

# Remembers what is wrong; of several the weightiest exit status counts: refused, failed, unavailable.
machine_problem() { # STATUS KEY [ARG...]
  local status=$1 problem
  shift
  problem=$(text "$@")
  MACHINE_PROBLEMS+=("  - $problem")
  case $status in
    3) MACHINE_STATUS=3 ;;
    1) ((MACHINE_STATUS == 3)) || MACHINE_STATUS=1 ;;
    *) ((MACHINE_STATUS != 0)) || MACHINE_STATUS=$status ;;
  esac
}

machine_system() {
  is_root || machine_problem 3 machine_root "$(id -un)" "$(resume_command)"
  [[ $(os_support) == known ]] || machine_problem 1 machine_os "$(os_field PRETTY_NAME)"
  [[ -d /run/systemd/system ]] || machine_problem 1 machine_systemd
  case $(uname -m) in
    x86_64 | aarch64) ;;
    *) machine_problem 1 machine_processor "$(uname -m)" ;;
  esac
  [[ -z ${SOPHIA_PYTHON:-} ]] || python_suits "$SOPHIA_PYTHON" ||
    machine_problem 1 machine_python "$SOPHIA_PYTHON"
  [[ -z ${SOPHIA_WHEELS:-} || -d ${SOPHIA_WHEELS:-} ]] || machine_problem 4 machine_wheels "$SOPHIA_WHEELS"
  local folder
  for folder in /etc /opt /usr /var; do
    ! is_root || [[ -w $folder ]] || machine_problem 1 machine_read_only "$folder"
  done
}

# What is still to be put on the disks, added up where they are one.
machine_room() {
  local free memory system=0 release=200
  [[ -z $(server_packages_missing) ]] || system=$SYSTEM_DISK
  if ! release_present; then
    release=$PLAIN_DISK
    [[ ,$(server_extras), != *,training,* ]] || release=$TORCH_DISK
  fi
  if same_disk /opt "$SERVER_DATA"; then
    machine_free /opt $((system + release + DATA_DISK))
  else
    machine_free /opt "$release"
    machine_free "$SERVER_DATA" $((system + DATA_DISK))
  fi
  memory=$(available_megabytes)
  if ((memory < SERVER_MEMORY)); then
    machine_problem 1 machine_memory "$memory" "$SERVER_MEMORY"
  elif [[ ,$(server_extras), == *,training,* ]] && ((memory < TRAINING_MEMORY)); then
    say some_memory "$memory" "$TRAINING_MEMORY"
  fi
  free=$(free_megabytes /opt)
  say machine_facts "$(os_field PRETTY_NAME)" "$free" "$memory"
}

machine_free() { # PATH MEGABYTES
  local free
  free=$(free_megabytes "$1")
  ((free >= $2)) || machine_problem 1 machine_disk "$1" "$free" "$2"
}

machine_now() { date +%s; }

machine_clock() {
  if (($(machine_now) < CLOCK_LEAST)); then
    machine_problem 1 machine_clock "$(date '+%F %T')"
  elif [[ $(timedatectl show --property=NTPSynchronized --value 2>/dev/null) == no ]]; then
    say machine_clock_note
  fi
}

# The hosts that this run will ask for packages, as far as they are not behind a proxy.
machine_hosts() {
  if [[ -n $(server_packages_missing) && -z ${http_proxy:-}${https_proxy:-} ]] &&
    [[ -z $(apt-config dump Acquire::http::Proxy Acquire::https::Proxy 2>/dev/null) ]]; then
    # no file of one kind, or no address at all, is no failure
    { cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null || true; } |
      sed -nE '/^ *#/d; s,.*\bhttps?://([^/ :]+).*,\1,p'
  fi
  if ! release_present && [[ -z ${SOPHIA_WHEELS:-}${https_proxy:-}${HTTPS_PROXY:-} ]]; then
    printf '%s\n' "${PIP_INDEX_URL:-https://pypi.org/simple}" | sed -E 's,^[a-z]+://,,; s,^[^@/]*@,,; s,[:/].*,,'
  fi
}

machine_network() {
  local host
  while IFS= read -r host; do
    [[ -z $host ]] || timeout 20 getent ahosts "$host" >/dev/null || machine_problem 5 machine_dns "$host"
  done < <(machine_hosts | sort -u)
}

machine_apt() {
  local holder
  holder=$(apt_lock_holder)
  [[ -z $holder ]] || say machine_apt_busy "$holder"
  [[ -z $(ls -A /var/lib/dpkg/updates 2>/dev/null) ]] || say machine_apt_broken
}
