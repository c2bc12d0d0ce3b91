# shellcheck shell=bash
# The one way to apt: never asks, restarts nothing by itself, keeps changed configuration files,
# waits for other programs' locks, and repairs first what an earlier run left half done.

readonly APT_OPTIONS=(
  -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 -o Dpkg::Use-Pty=0
  -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold
)

# Runs a command of apt or dpkg. Their list, archive and dpkg's own locks know no time-out, so those
# are waited for here: SOPHIA_APT_WAIT seconds altogether, 600 unless set.
apt_run() { # LABEL COMMAND...
  local label=$1 until=$((SECONDS + ${SOPHIA_APT_WAIT:-600})) before status told=no
  shift
  while true; do
    before=$(stat -c %s -- "$LOG_FILE" 2>/dev/null || echo 0)
    status=0
    run_logged "$label" env LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
      DEBIAN_PRIORITY=critical NEEDRESTART_SUSPEND=1 NEEDRESTART_MODE=l APT_LISTCHANGES_FRONTEND=none \
      UCF_FORCE_CONFFOLD=1 "$@" || status=$?
    ((status != 0)) || return 0
    if ! grep -qiE 'could not get lock|is locked by another|unable to (acquire|lock)' \
      <<<"$(tail -c "+$((before + 1))" -- "$LOG_FILE")"; then
      return "$status"
    fi
    if ((SECONDS >= until)); then
      say_error apt_lock_kept "$(apt_lock_holder || true)"
      return "$status"
    fi
    if [[ $told == no ]]; then
      say apt_lock_waited "$(apt_lock_holder)"
      told=yes
    fi
    sleep 2
  done
}

# Who holds a lock of apt or dpkg, as `name (pid)`; nothing where none is held or nobody knows.
apt_lock_holder() {
  local path inode line pid
  for path in /var/lib/dpkg/lock-frontend /var/lib/dpkg/lock /var/lib/apt/lists/lock /var/cache/apt/archives/lock; do
    inode=$(stat -c %i -- "$path" 2>/dev/null) || continue
    while read -r line; do
      # shellcheck disable=SC2086 # fields of a line of /proc/locks
      set -- $line
      [[ ${6:-} == *":$inode" ]] || continue
      pid=$5
      printf '%s (%s)\n' "$(cat "/proc/$pid/comm" 2>/dev/null || echo '?')" "$pid"
      return 0
    done </proc/locks
  done
}

# Finishes what a killed run of dpkg left half configured.
apt_repair() {
  [[ -z $(dpkg --audit 2>/dev/null) && -z $(ls -A /var/lib/dpkg/updates 2>/dev/null) ]] ||
    apt_run 'dpkg --configure -a' dpkg --force-confdef --force-confold --configure -a
}

apt_update() {
  apt_repair || return
  apt_run 'apt-get update' apt-get "${APT_OPTIONS[@]}" -o APT::Update::Error-Mode=any update
}

# Installs what is missing of PACKAGES; the lists of packages are fetched once a run.
apt_install() { # PACKAGE...
  apt_repair || return
  if [[ ${APT_UPDATED:-no} == no ]]; then
    apt_update || return
    APT_UPDATED=yes
  fi
  apt_run 'apt-get --fix-broken install' apt-get "${APT_OPTIONS[@]}" --yes --fix-broken install || return
  apt_run "apt-get install $*" apt-get "${APT_OPTIONS[@]}" install --yes --no-install-recommends "$@"
}

# Whether PACKAGE is installed and configured.
apt_present() { # PACKAGE
  [[ $(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

# Installs system packages, as root; nothing to do where they are there.
install_system_packages() { apt_install "$@"; } # PACKAGE...
