# shellcheck shell=bash
# What the machine is and has: operating system, Python, packages of the system, disk, memory.

# One field of os-release, parsed as text: os_field NAME
os_field() {
  local file=${SOPHIA_TEST_OS_RELEASE:-/etc/os-release}
  [[ -r $file ]] || return 0
  sed -n "s/^$1=//p" "$file" | head -n 1 | tr -d "\"'"
}

# Prints known, similar or unknown.
os_support() {
  local id version like
  id=$(os_field ID)
  version=$(os_field VERSION_ID)
  like=$(os_field ID_LIKE)
  case "$id $version" in
    'debian 12' | 'debian 13' | 'ubuntu 24.04') echo known ;;
    'debian '* | 'ubuntu '*) echo similar ;;
    *) case " $like " in
      *' debian '* | *' ubuntu '*) echo similar ;;
      *) echo unknown ;;
    esac ;;
  esac
}

is_root() { ((EUID == 0)); }

# Whether COMMAND is a Python that this version of Sophia is made for.
python_suits() { # COMMAND
  "$1" -I -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (4, 0))' 2>/dev/null
}

# Prints the first suitable Python; returns 1 where there is none.
find_python() {
  local name
  for name in ${SOPHIA_PYTHON:-} python3 python3.13 python3.12 python3.11 python3.14; do
    if command -v "$name" >/dev/null && python_suits "$name"; then
      command -v "$name"
      return 0
    fi
  done
  return 1
}

# The system package that makes `COMMAND -m venv` work.
venv_package() { # COMMAND
  local version
  version=$("$1" -I -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  if [[ $(readlink -f -- "$1") == "$(readlink -f /usr/bin/python3 2>/dev/null)" ]]; then
    echo python3-venv
  else
    echo "python$version-venv"
  fi
}

# Prints the system packages that are missing, separated by blanks.
missing_packages() {
  local python packages=()
  if python=$(find_python); then
    if ! "$python" -I -c 'import venv, ensurepip' 2>/dev/null; then
      python=$(venv_package "$python")
      packages+=("$python")
    fi
  else
    packages+=(python3 python3-venv)
  fi
  [[ -s /etc/ssl/certs/ca-certificates.crt ]] || packages+=(ca-certificates)
  [[ -e /usr/share/zoneinfo/America/Sao_Paulo ]] || packages+=(tzdata)
  echo "${packages[*]}"
}

# Free megabytes where PATH is, or would be.
free_megabytes() { # PATH
  local path=$1
  while [[ ! -e $path ]]; do path=$(dirname -- "$path"); done
  df -Pk -- "$path" | awk 'NR == 2 {print int($4 / 1024)}'
}

# Whether both paths lie (or would lie) on one file system.
same_disk() { # PATH PATH
  local first=$1 second=$2
  while [[ ! -e $first ]]; do first=$(dirname -- "$first"); done
  while [[ ! -e $second ]]; do second=$(dirname -- "$second"); done
  [[ $(stat -c %d -- "$first") == "$(stat -c %d -- "$second")" ]]
}

available_megabytes() {
  awk '/^(MemAvailable|SwapFree):/ {sum += $2} END {print int(sum / 1024)}' /proc/meminfo
}

# Where Sophia keeps its things; the same rule as sophia_tui/paths.py.
data_folder() {
  if [[ -n ${SOPHIA_DATA_DIR:-} ]]; then
    realpath -m -- "$SOPHIA_DATA_DIR"
  elif is_root; then
    echo /var/lib/sophia
  else
    echo "${XDG_DATA_HOME:-${HOME:?}/.local/share}/sophia"
  fi
}
