# shellcheck shell=bash
# What scenarios are written with. Run as `bash lib.sh FILE NAME` it runs one of them.
#
#   machine_up [--from IMAGE] [--name SUFFIX] [fresh-machine's options]   boots $MACHINE
#       downloads  Debian with all downloads of a light set-up and nothing installed (the default)
#       everything the same with the downloads of a whole one, training included
#       packages   the same with the packages of the system installed
#       installed  a server that the installer has set up
#       bookworm, trixie   as Debian comes, with the network
#   on [OPTIONS --] COMMAND...   in the machine; as_shell 'SCRIPT' the same for bash
#   install [ARG...]             the installer, --auto: sets STATUS and OUTPUT
#   install_typing ... -- [ARG...]   the same on a terminal, with answers typed
#   until_true SECONDS COMMAND   waits for a condition
#   expect WHAT COMMAND...       ends the scenario with WHAT where the command fails
#   fact TEXT                    a figure for the line of the result

set -Eeuo pipefail
shopt -s inherit_errexit

HERE=${HERE:-$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")" && pwd -P)}
CHECKOUT=$(cd -- "$HERE/../../.." && pwd -P)
FM=$HERE/fresh-machine
export FM_QUIET=1
STATUS=0 OUTPUT=''
MACHINES=()

# What every run of the installer is given: the light set of packages, from the image's wheels.
WHEELS=/opt/sophia-wheels
SYSTEM_PACKAGES='python3 python3-venv ca-certificates tzdata postgresql ufw sudo polkitd'
INSTALL_ENV=("SOPHIA_EXTRAS=api,hosted" "SOPHIA_WHEELS=$WHEELS")
INSTALL_FLAGS=(--auto --auto-assume-yes)

fact() { printf '#> %s\n' "$*"; }

give_up() {
  printf 'NOT AS EXPECTED: %s\n' "$*"
  exit 1
}

expect() { # WHAT COMMAND...
  local what=$1
  shift
  "$@" || give_up "$what"
}

expect_status() { # STATUS
  [[ $STATUS == "$1" ]] || give_up "exit status $STATUS, not $1"
}

expect_text() { # TEXT... in the output of the last install
  local text
  for text in "$@"; do
    [[ $OUTPUT == *"$text"* ]] || give_up "the output does not say: $text"
  done
}

expect_no_text() { # TEXT...
  local text
  for text in "$@"; do
    [[ $OUTPUT != *"$text"* ]] || give_up "the output says: $text"
  done
}

on() { # [OPTION... --] COMMAND...
  local options=()
  while [[ $1 == --* ]]; do
    if [[ $1 == -- ]]; then
      shift
      break
    fi
    options+=("$1")
    shift
    case ${options[-1]} in --tty | --no-stdin) ;; *) options+=("$1") && shift ;; esac
  done
  "$FM" exec "$MACHINE" --no-stdin "${options[@]}" -- "$@"
}

as_shell() { on bash -c "$1"; } # SCRIPT

# Waits until the command succeeds.
until_true() { # SECONDS COMMAND...
  local until=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < until)) || return 1
    sleep 0.2
  done
}

machine_up() { # [--from IMAGE] [--name SUFFIX] [OPTION...]
  local from=downloads suffix='' options=()
  while (($#)); do
    case $1 in
      --from) from=$2 && shift ;;
      --name) suffix=-$2 && shift ;;
      *) options+=("$1") ;;
    esac
    shift
  done
  ready_image "$from"
  MACHINE=sophia-t$$$suffix
  MACHINES+=("$MACHINE")
  "$FM" up "$MACHINE" --mask-timers --image "$IMAGE" "${options[@]}"
  [[ $from == installed ]] || push_source
}

machine_down() {
  local machine
  for machine in "${MACHINES[@]}"; do "$FM" down "$machine" 2>/dev/null || true; done
}

# The checkout as git would have it, in /opt/src.
push_source() {
  local copy
  copy=$(mktemp -d)
  chmod 755 "$copy"
  (cd -- "$CHECKOUT" && tar --create --exclude=__pycache__ --exclude='*.pyc' --exclude='*.egg-info' \
    --exclude=.venv pyproject.toml requirements.lock README.md LICENSE sophia_tui finetune installer \
    install_sophia_llm.sh) | tar --extract --directory="$copy"
  "$FM" exec "$MACHINE" -- rm -rf /opt/src
  "$FM" push "$MACHINE" "$copy" /opt/src
  rm -rf -- "$copy"
}

# Runs the installer; it is no condition, so that its status is there to look at.
install() { # [ARG...]
  local pair options=()
  for pair in "${INSTALL_ENV[@]}"; do options+=(--env "$pair"); done
  STATUS=0
  OUTPUT=$(on "${options[@]}" -- /opt/src/install_sophia_llm.sh "${INSTALL_FLAGS[@]}" --lang en "$@" 2>&1) || STATUS=$?
  printf -- '--- install %s: %s\n%s\n' "$*" "$STATUS" "$OUTPUT"
}

# The installer on a terminal of 80x24, where a person waits for NEEDLE and types ANSWER, one after the
# other (\n, \x03 and the like are read): install_typing NEEDLE ANSWER... -- [ARG...]
install_typing() {
  local talk=() pair options=()
  while [[ $1 != -- ]]; do
    talk+=("$1")
    shift
  done
  shift
  for pair in "${INSTALL_ENV[@]}"; do options+=(--env "$pair"); done
  "$FM" push "$MACHINE" "$HERE/typing.py" /root/typing.py
  STATUS=0
  OUTPUT=$(on "${options[@]}" --env TERM=xterm --timeout 600 -- python3 /root/typing.py "${talk[@]}" -- \
    /opt/src/install_sophia_llm.sh --lang en "$@" 2>&1) || STATUS=$?
  printf -- '--- install %s: %s\n%s\n' "$*" "$STATUS" "$OUTPUT" | tr -d '\r\033'
}

# Starts the installer in the background as the unit `install`; follow it by log_says.
install_behind() { # [ARG...]
  local pair options=()
  for pair in "${INSTALL_ENV[@]}"; do options+=(--env "$pair"); done
  on "${options[@]}" --unit install -- bash -c \
    '/opt/src/install_sophia_llm.sh "$@" >/root/output 2>&1; echo $? >/root/status' - \
    "${INSTALL_FLAGS[@]}" --lang en "$@" &
}

# Whether the log holds TEXT; waits for it in the machine.
log_says() { # TEXT [SECONDS]
  on --timeout "${2:-120}" -- bash -c \
    'until grep -qF -- "$1" /var/log/sophia/install.log 2>/dev/null; do sleep 0.05; done' - "$1"
}

# Sends a signal to the installer and all that is in its process group, as a terminal does, as soon
# as the log holds TEXT.
signal_install() { # TEXT SIGNAL
  on --timeout 180 -- bash -c \
    'until grep -qF -- "$1" /var/log/sophia/install.log 2>/dev/null; do sleep 0.02; done
     pkill "-$2" -f "^bash /opt/src/install_sophia_llm.sh"' - "$1" "$2"
}

# The end of an install_behind: sets STATUS and OUTPUT.
install_ended() {
  wait
  STATUS=$(as_shell 'cat /root/status') OUTPUT=$(as_shell 'cat /root/output')
  printf -- '--- install: %s\n%s\n' "$STATUS" "$OUTPUT"
}

env_digest() { as_shell 'sha256sum /etc/sophia/sophia.env'; }

healthy() {
  as_shell '/opt/sophia/current/venv/bin/python -I /opt/sophia/current/src/installer/lib/health.py \
    /etc/sophia/sophia.env 60 && systemctl is-active sophia-api sophia-worker'
}

# ---- images

# What decides over the downloads, and over an installed server.
downloads_key() {
  cat -- "$CHECKOUT/pyproject.toml" "$CHECKOUT/requirements.lock" "$CHECKOUT/installer/steps/21-server_packages.sh" |
    sha256sum | cut -c 1-10
}

source_key() {
  (cd -- "$CHECKOUT" && find pyproject.toml requirements.lock sophia_tui finetune installer install_sophia_llm.sh \
    -type f ! -path '*/__pycache__/*' ! -path '*.egg-info/*' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum) |
    sha256sum | cut -c 1-10
}

IMAGES=${FM_HOME:-/var/cache/fresh-machine}/images

has_image() { [[ -d $IMAGES/$1/rootfs ]]; }

image_name() { # KIND
  case $1 in
    downloads | everything | packages) echo "sophia-$1-$(downloads_key)" ;;
    installed) echo "sophia-$1-$(source_key)" ;;
    *) echo "$1" ;;
  esac
}

# Sets IMAGE to the image that KIND names, which is made first where it is missing.
ready_image() { # KIND
  local kind=$1 parent lock
  IMAGE=$(image_name "$kind")
  case $kind in
    downloads) parent=bookworm ;;
    packages | everything) parent=downloads ;;
    installed) parent=packages ;;
    *) return 0 ;;
  esac
  ! has_image "$IMAGE" || return 0
  exec {lock}>"/tmp/$IMAGE.lock"
  flock "$lock"
  if ! has_image "$IMAGE"; then
    remove_older "$kind"
    ready_image "$parent"
    MACHINE=sophia-i$$-$kind
    MACHINES+=("$MACHINE")
    "$FM" up "$MACHINE" --image "$IMAGE" --mask-timers {lock}>&-
    push_source
    "make_$kind"
    IMAGE=$(image_name "$kind")
    "$FM" commit "$MACHINE" "$IMAGE"
  fi
  exec {lock}>&-
}

# Images of earlier sources, as far as nothing stands on them and nobody used them for two hours.
remove_older() { # KIND
  local name
  while read -r name; do
    "$FM" rmi "$name" 2>/dev/null || true
  done < <(find "$IMAGES" -maxdepth 1 -name "sophia-$1-*" -mmin +120 -printf '%f\n')
}

# What the installer would fetch, and nothing of it installed.
make_downloads() {
  as_shell "set -e
    apt-get -q update
    apt-get -q install --yes --no-install-recommends --download-only $SYSTEM_PACKAGES
    mkdir /root/debs && cp /var/cache/apt/archives/*.deb /root/debs/
    apt-get -q install --yes --no-install-recommends python3-venv
    python3 -m venv /root/venv
    /root/venv/bin/pip -q download --dest $WHEELS --constraint /opt/src/requirements.lock \
      '/opt/src[api,hosted]' pip==26.3 setuptools wheel
    rm -f $WHEELS/sophia_tui-*
    apt-get -q purge --yes --auto-remove python3-venv
    mv /root/debs/*.deb /var/cache/apt/archives/
    rm -rf /opt/src /root/.cache /root/venv /root/debs"
}

make_everything() {
  as_shell "set -e
    mkdir /root/debs && cp /var/cache/apt/archives/*.deb /root/debs/
    apt-get -q install --yes --no-install-recommends python3-venv
    python3 -m venv /root/venv
    /root/venv/bin/pip -q download --dest $WHEELS --find-links $WHEELS --constraint /opt/src/requirements.lock \
      '/opt/src[training,api,hosted,serving,evaluation]'
    rm -f $WHEELS/sophia_tui-*
    apt-get -q purge --yes --auto-remove python3-venv
    cp /root/debs/*.deb /var/cache/apt/archives/
    rm -rf /opt/src /root/.cache /root/venv /root/debs"
}

make_packages() {
  as_shell "DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 apt-get -q install --yes \
    --no-install-recommends $SYSTEM_PACKAGES curl && rm -rf /opt/src"
}

make_installed() {
  install
  expect_status 0
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
  trap machine_down EXIT
  # shellcheck source=/dev/null
  source "$1"
  "scenario_$2"
fi
