# long
# shellcheck shell=bash
# The plain installation, run again, killed and taken up again.

# short
scenario_plain_install() {
  local begin=$SECONDS
  machine_up --from downloads
  begin=$SECONDS
  install --json
  expect_status 0
  fact "api,hosted from nothing in $((SECONDS - begin)) s, downloads apart"
  # a host with more to do than it has cores for measures itself, not the installer
  if (($(cut -d . -f 1 /proc/loadavg) > 2 * $(nproc))); then
    fact "time not judged, load $(cut -d ' ' -f 1 /proc/loadavg)"
  else
    expect 'slower than 3 minutes' test $((SECONDS - begin)) -lt 180
  fi
  expect_text '"result":"done"'
  expect 'not healthy' healthy
  "$FM" reboot "$MACHINE"
  expect 'not healthy after a reboot' healthy
  fact 'healthy after a reboot'
  run_again
}

# All that Sophia can do, the training's packages too.
scenario_plain_install_whole() {
  local begin
  machine_up --from everything
  INSTALL_ENV=("SOPHIA_WHEELS=$WHEELS")
  begin=$SECONDS
  install
  expect_status 0
  fact "everything from nothing in $((SECONDS - begin)) s, downloads apart"
  expect 'slower than 3 minutes' test $((SECONDS - begin)) -lt 180
  expect 'not healthy' healthy
}

# With the network and nothing prepared, on the newer Debian.
scenario_plain_install_trixie() {
  machine_up --from trixie
  INSTALL_ENV=("SOPHIA_EXTRAS=api,hosted")
  local begin=$SECONDS
  install
  expect_status 0
  fact "trixie, with downloads, in $((SECONDS - begin)) s"
  expect 'not healthy' healthy
}

# A further run changes nothing, and restarts nothing.
run_again() {
  local before started
  before=$(env_digest)
  started=$(as_shell 'systemctl show -p ExecMainStartTimestampMonotonic sophia-api sophia-worker postgresql@*-main')
  install
  expect_status 0
  expect_text 'Changed: nothing'
  expect 'the env file changed' test "$before" = "$(env_digest)"
  expect 'a service was restarted' test "$started" = \
    "$(as_shell 'systemctl show -p ExecMainStartTimestampMonotonic sophia-api sophia-worker postgresql@*-main')"
  fact 'run again: nothing changed, same env file, no restart'
}

scenario_run_twice() {
  machine_up --from installed
  run_again
}

scenario_killed_in_apt() {
  machine_up --from downloads
  install_behind
  expect 'apt never unpacked' until_true 120 as_shell 'grep -q Unpacking.*postgresql-[0-9] /var/log/sophia/install.log'
  "$FM" reboot "$MACHINE" --hard
  wait || true
  install
  expect_status 0
  expect_text 'An earlier run ended in the step "Packages of the system"'
  expect 'not healthy' healthy
  fact 'power cut while dpkg unpacked; the next run finished it'
}
