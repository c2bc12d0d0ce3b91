# shellcheck shell=bash
# The demo's base model in the data folder, whole or not at all.

model_check() {
  [[ -x $VENV/bin/python ]] &&
    "$VENV/bin/python" -I "$ROOT/installer/lib/base_model.py" "$DATA/models" --check
}

model_apply() {
  run_logged SmolLM2-135M-Instruct "$VENV/bin/python" -I "$ROOT/installer/lib/base_model.py" \
    "$DATA/models" || fail 5 S314 "$(text model_failed)" "" "$(text model_failed_remedy "$LOG_FILE")"
}

model_verify() { model_check; }
