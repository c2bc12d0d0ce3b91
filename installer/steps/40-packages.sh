# shellcheck shell=bash
# Sophia itself and the Python packages it stands on, in the tested versions.

readonly DEMO_EXTRAS=training,api,hosted,serving,evaluation

packages_check() { venv_healthy && packages_present "$DEMO_EXTRAS" >/dev/null; }

packages_apply() {
  if [[ ! -e /dev/nvidiactl ]] && torch_brings_cuda; then
    say cuda_note
    room_for "$ROOT" 12000
  fi
  install_packages "$DEMO_EXTRAS" || fail 5 S313 "$(text packages_failed)" "" \
    "$(text packages_failed_remedy "$LOG_FILE")"
}

packages_verify() { packages_present "$DEMO_EXTRAS"; }
