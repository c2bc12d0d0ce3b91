# shellcheck shell=bash
# The virtual environment in the checkout and the Python packages in it. Used by the installer and
# by tests/run, so that both make the same environment.

readonly PIP_VERSION=26.3

# A pip that does what we ask, whatever this person's own configuration says about where to install.
clean_python_environment() {
  unset PYTHONPATH PYTHONHOME PYTHONSTARTUP PIP_TARGET PIP_PREFIX PIP_ROOT PIP_REQUIRE_HASHES
  unset VIRTUAL_ENV
  export PIP_USER=0 PIP_NO_INPUT=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_PROGRESS_BAR=off
  export PIP_ROOT_USER_ACTION=ignore PYTHONNOUSERSITE=1
}

# Whether the environment works: its Python starts, is new enough, is the one that made it, lives
# where it was made (a moved checkout breaks its scripts) and has pip.
venv_healthy() {
  [[ -x $VENV/bin/python && -f $VENV/pyvenv.cfg ]] || return 1
  python_suits "$VENV/bin/python" || return 1
  "$VENV/bin/python" -I - "$VENV" <<'PYTHON' 2>/dev/null
import os, sys
import pip
folder = os.path.realpath(sys.argv[1])
lines = dict(
    [part.strip() for part in line.split("=", 1)]
    for line in open(os.path.join(folder, "pyvenv.cfg"), encoding="utf-8")
    if "=" in line
)
made_by = lines.get("version", lines.get("version_info", "")).split(".")[:2]
right = os.path.realpath(sys.prefix) == folder and made_by == [str(n) for n in sys.version_info[:2]]
if right:
    with open(os.path.join(folder, "bin", "pip"), encoding="utf-8") as script:
        right = folder in os.path.realpath(script.readline()[2:].strip().rpartition("/bin/")[0])
sys.exit(not right)
PYTHON
}

# Whether $VENV is nothing, or a virtual environment (also half of one), and so may be replaced.
venv_replaceable() {
  local name
  [[ -e $VENV || -L $VENV ]] || return 0
  [[ -d $VENV && ! -L $VENV ]] || return 1
  [[ ! -f $VENV/pyvenv.cfg ]] || return 0
  for name in "$VENV"/* "$VENV"/.[!.]*; do
    case ${name##*/} in
      '*' | '.[!.]*' | bin | include | lib | lib64 | share | .gitignore | .sophia-packages) ;;
      *) return 1 ;;
    esac
  done
}

# Makes the environment anew; leaves none behind when that fails.
make_venv() {
  local python
  python=$(find_python)
  rm -rf -- "$VENV"
  if ! run_logged 'python -m venv' "$python" -I -m venv "$VENV"; then
    rm -rf -- "$VENV"
    return 1
  fi
}

# A fingerprint of what is to be installed: it changes with our lists of packages and with Python.
packages_fingerprint() {
  {
    "$VENV/bin/python" -I -c 'import sys; print(sys.version_info[:2])'
    cat -- "$ROOT/pyproject.toml" "$ROOT/requirements.lock"
  } | sha256sum | cut -d ' ' -f 1
}

# Whether all packages for EXTRAS (separated by commas) are there, whole.
packages_present() { # EXTRAS
  local fingerprint installed extra
  [[ -r $VENV/.sophia-packages && -x $VENV/bin/sophia ]] || return 1
  read -r fingerprint installed <"$VENV/.sophia-packages" || return 1
  [[ $fingerprint == "$(packages_fingerprint)" ]] || return 1
  for extra in ${1//,/ }; do
    [[ ",$installed," == *",$extra,"* ]] || return 1
  done
  "$VENV/bin/python" -I "$ROOT/installer/lib/check_packages.py"
}

torch_requirement() { sed -n 's/^\(torch==[^ ;]*\).*/\1/p' "$ROOT/requirements.lock"; }

# torch first and alone, so that a CPU build offered by this machine's pip is taken, and nothing else
# asks for another build. SOPHIA_TORCH_INDEX names an index for torch alone; it goes by the
# environment, since it may hold a password.
install_torch() {
  local torch
  torch=$(torch_requirement)
  if [[ -n ${SOPHIA_TORCH_INDEX:-} ]]; then
    PIP_INDEX_URL=$SOPHIA_TORCH_INDEX run_logged "pip install $torch" \
      "$VENV/bin/python" -I -m pip install --no-deps "$torch"
  else
    run_logged "pip install $torch" "$VENV/bin/python" -I -m pip install --no-deps "$torch"
  fi
}

# Whether the torch that pip would take here comes with CUDA, gigabytes of it.
torch_brings_cuda() {
  local -x PIP_INDEX_URL=${SOPHIA_TORCH_INDEX:-${PIP_INDEX_URL:-}}
  "$VENV/bin/python" -I "$ROOT/installer/lib/asks_for_cuda.py" "$(torch_requirement)"
}

# Installs or repairs the packages for EXTRAS; the mark is written last.
install_packages() { # EXTRAS
  local python=$VENV/bin/python broken=()
  rm -f -- "$VENV/.sophia-packages"
  # a folder of wheels need not hold pip itself
  if [[ -z ${PIP_NO_INDEX:-} ]] || compgen -G "$PIP_FIND_LINKS/pip-$PIP_VERSION-*.whl" >/dev/null; then
    run_logged "pip install pip==$PIP_VERSION" "$python" -I -m pip install "pip==$PIP_VERSION" || return
  fi
  mapfile -t broken < <("$python" -I "$ROOT/installer/lib/check_packages.py" --list)
  if ((${#broken[@]})); then
    run_logged "pip install --force-reinstall ${broken[*]}" \
      "$python" -I -m pip install --force-reinstall --no-deps "${broken[@]}" || return
  fi
  if [[ ,$1, == *,training,* ]]; then install_torch || return; fi
  run_logged "pip install .[$1]" "$python" -I -m pip install --constraint "$ROOT/requirements.lock" \
    --editable "${ROOT}[$1]" || return
  printf '%s %s\n' "$(packages_fingerprint)" "$1" >"$VENV/.sophia-packages"
}
