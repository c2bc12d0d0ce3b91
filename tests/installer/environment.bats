#!/usr/bin/env bats
# The virtual environment, the packages, the base model and the command: made, repaired, refused.

setup() {
  load helpers
  load_library
}

bare_venv() { python3 -m venv --without-pip "$VENV"; }

@test "a folder that is no virtual environment is never deleted" {
  mkdir -p "$VENV"
  echo mine >"$VENV/thesis.txt"
  run install_sh --demo
  [ "$status" -eq 1 ]
  [[ $output == *'SOPHIA-S306'* ]]
  [ "$(cat "$VENV/thesis.txt")" = mine ]
}

@test "a link in the place of the virtual environment is never followed or deleted" {
  mkdir "$BATS_TEST_TMPDIR/elsewhere"
  ln -s "$BATS_TEST_TMPDIR/elsewhere" "$VENV"
  run install_sh --demo
  [ "$status" -eq 1 ]
  [[ $output == *'SOPHIA-S306'* ]]
  [ -L "$VENV" ]
}

@test "half a virtual environment counts as broken and may be replaced" {
  mkdir -p "$VENV/bin" "$VENV/lib"
  run venv_healthy
  [ "$status" -ne 0 ]
  venv_replaceable
}

@test "a virtual environment without pip counts as broken" {
  bare_venv
  run venv_healthy
  [ "$status" -ne 0 ]
  venv_replaceable
}

@test "none is left behind when making it fails" {
  fake_python_without_venv "$BATS_TEST_TMPDIR/bin"
  PATH=$BATS_TEST_TMPDIR/bin:$PATH run make_venv
  [ "$status" -ne 0 ]
  [ ! -e "$VENV" ]
  [[ $output == *"$LOG_FILE"* ]]
}

@test "one that was made by another Python, or was moved, is not healthy; a sound one is" {
  python3 -m venv "$VENV"
  venv_healthy
  sed -i 's/^version.*/version = 3.9.2/' "$VENV/pyvenv.cfg"
  run venv_healthy
  [ "$status" -ne 0 ]
  python3 -m venv --clear "$VENV"
  mv "$VENV" "$CHECKOUT/moved"
  VENV=$CHECKOUT/moved run venv_healthy
  [ "$status" -ne 0 ]
}

@test "packages are present only for the extras and lists they were installed for" {
  bare_venv
  printf '#!/bin/sh\n' >"$VENV/bin/sophia"
  chmod +x "$VENV/bin/sophia"
  printf '%s training,api\n' "$(packages_fingerprint)" >"$VENV/.sophia-packages"
  packages_present api,training
  run packages_present hosted
  [ "$status" -ne 0 ]
  echo 'new==1' >>"$CHECKOUT/requirements.lock"
  run packages_present api
  [ "$status" -ne 0 ]
}

@test "a package with a file missing or cut short is found" {
  bare_venv
  local site
  site=$(echo "$VENV"/lib/python*/site-packages)
  mkdir -p "$site/thing" "$site/thing-1.0.dist-info"
  echo 'x = 1' >"$site/thing/__init__.py"
  printf 'Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n' >"$site/thing-1.0.dist-info/METADATA"
  echo 'thing/__init__.py,,6' >"$site/thing-1.0.dist-info/RECORD"
  run "$VENV/bin/python" -I "$CHECKOUT/installer/lib/check_packages.py"
  [ "$status" -eq 0 ]
  printf 'x' >"$site/thing/__init__.py"
  run "$VENV/bin/python" -I "$CHECKOUT/installer/lib/check_packages.py"
  [ "$status" -eq 1 ]
  [ "$output" = thing==1.0 ]
}

@test "the lock file is plain pins, torch among them" {
  run grep -vE '^(#.*|[A-Za-z0-9._-]+==[A-Za-z0-9.]+)$' "$REPOSITORY/requirements.lock"
  [ -z "$output" ]
  [[ $(torch_requirement) == torch==* ]]
}

@test "every version that pyproject.toml fixes stands in the lock file as well" {
  python3 - "$REPOSITORY" <<'PYTHON'
import re, sys, tomllib
from pathlib import Path

root = Path(sys.argv[1])
project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
plain = lambda name: re.sub(r"[-_.]+", "-", name).lower()
lock = dict(
    (plain(line.split("==")[0]), line.split("==")[1].strip())
    for line in (root / "requirements.lock").read_text().splitlines()
    if "==" in line
)
needs = sum(project["optional-dependencies"].values(), project["dependencies"])
wrong = []
for need in needs:
    name, version = re.match(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?(?:==([^ ;]+))?", need).groups()
    if plain(name) not in lock or version and lock[plain(name)] != version:
        wrong.append(need)
sys.exit(f"run installer/make-lock.sh: {wrong}" if wrong else 0)
PYTHON
}

@test "a base model that is cut short or other than the pinned one is not taken" {
  mkdir -p "$DATA/models"
  echo 'GGUF' >"$DATA/models/SmolLM2-135M-Instruct.Q4_1.gguf"
  run python3 -I "$CHECKOUT/installer/lib/base_model.py" "$DATA/models" --check
  [ "$status" -eq 1 ]
}

@test "a base model that can't be fetched leaves nothing behind" {
  python3 -m venv "$VENV"
  mkdir -p "$DATA/models"
  PIP_NO_INDEX=1 PIP_FIND_LINKS=$BATS_TEST_TMPDIR HF_ENDPOINT=http://127.0.0.1:9 \
    run "$VENV/bin/python" -I "$CHECKOUT/installer/lib/base_model.py" "$DATA/models"
  [ "$status" -eq 1 ]
  [ -z "$(ls -A "$DATA/models")" ]
}

@test "the name sophia is linked only where it is free or ours" {
  # shellcheck source=/dev/null
  source "$CHECKOUT/installer/steps/60-command.sh"
  is_root() { false; }
  run command_check
  [ "$status" -ne 0 ]
  command_apply
  [ "$(readlink "$HOME/.local/bin/sophia")" = "$VENV/bin/sophia" ]
  rm "$HOME/.local/bin/sophia"
  echo mine >"$HOME/.local/bin/sophia"
  run command_check
  [ "$status" -eq 0 ]
  [[ $output == *'stays as it is'* ]]
  [ "$(cat "$HOME/.local/bin/sophia")" = mine ]
}
