# shellcheck shell=bash
# The virtual environment .venv in the checkout; a broken or half-made one is made anew.

venv_check() { venv_healthy; }

venv_apply() {
  make_venv || fail 1 S312 "$(text venv_failed)" "" "$(text venv_failed_remedy "$LOG_FILE")"
}

venv_verify() { venv_healthy; }
