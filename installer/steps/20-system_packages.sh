# shellcheck shell=bash
# System packages that Python needs to make a virtual environment. Only root ever gets to apply:
# preflight has refused an ordinary user before.

system_packages_check() { [[ -z $(missing_packages) ]]; }

system_packages_apply() {
  local packages
  read -r -a packages <<<"$(missing_packages)"
  install_system_packages "${packages[@]}" || fail 5 S311 \
    "$(text apt_failed "${packages[*]}")" "" "$(text apt_failed_remedy)"
}

# On a system of before Python 3.11 its own python3 is installed and still not enough.
system_packages_verify() {
  find_python >/dev/null || fail 1 S318 "$(text no_python)" "" "$(text no_python_remedy)"
  system_packages_check
}
