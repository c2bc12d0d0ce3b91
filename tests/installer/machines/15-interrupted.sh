# long
# shellcheck shell=bash
# Ended in the middle: by ^C, a lost connection, TERM and power cuts; and what must not be waited for.

STEPS_OF_A_SERVER=(machine server_packages account env postgres application migrate units firewall)

# Runs the installer, waits until STEP is under way (or done), and then does something to it.
when() { # TEXT of the log
  log_says "$1" 180
}

secrets_of_env() { as_shell 'grep -E "^(DB_PASS|FINETUNE_TOKEN)=" /etc/sophia/sophia.env 2>/dev/null || true'; }

# Whatever was in the env file before is in it now.
secrets_kept() { # BEFORE
  [[ -z $1 || $1 == "$(secrets_of_env)" ]]
}

# Finishes by a further run and looks at the result.
resumed() { # BEFORE (secrets)
  install
  expect_status 0
  expect 'password or token changed' secrets_kept "$1"
  expect 'not healthy' healthy
}

# A power cut as soon as each step has begun, and one as soon as each is done.
scenario_power_cut_at_each_step() {
  local step before
  machine_up --from packages
  for step in "${STEPS_OF_A_SERVER[@]:2}"; do
    install_behind
    when "step $step"
    "$FM" reboot "$MACHINE" --hard
    wait || true
    before=$(secrets_of_env)
    as_shell 'mv /var/log/sophia/install.log "/var/log/sophia/install.log.$(date +%s%N)"'
    echo "=== cut in $step"
  done
  resumed "$before"
  fact "cut in: ${STEPS_OF_A_SERVER[*]:2}; then healthy, same password"
}

scenario_power_cut_after_each_step() {
  local step before=''
  machine_up --from packages
  for step in account env postgres application migrate units firewall; do
    install_behind
    when "step $step changed"
    "$FM" reboot "$MACHINE" --hard
    wait || true
    expect 'password or token changed' secrets_kept "$before"
    before=$(secrets_of_env)
    as_shell 'mv /var/log/sophia/install.log "/var/log/sophia/install.log.$(date +%s%N)"'
    echo "=== cut after $step"
  done
  resumed "$before"
  fact 'cut after each of account to firewall; then healthy, same password'
}

# A signal as soon as each step has begun: the exit status, the words, and that the next run ends well.
scenario_signal_at_each_step() {
  local step before='' signal status
  machine_up --from packages
  for step in "${STEPS_OF_A_SERVER[@]}"; do
    for signal in INT TERM; do
      status=$([[ $signal == INT ]] && echo 130 || echo 143)
      as_shell 'rm -f /root/status /var/log/sophia/install.log'
      install_behind
      # a step may be over before the signal is there, and the next one names itself
      signal_install "step $step" "$signal"
      install_ended
      expect "no own exit status for $signal in $step: $STATUS" test "$STATUS" = "$status"
      expect_text 'Interrupted in the step' ' /opt/src/install_sophia_llm.sh --auto'
      expect 'password or token changed' secrets_kept "$before"
      before=$(secrets_of_env)
    done
  done
  resumed "$before"
  fact "INT and TERM in each of ${STEPS_OF_A_SERVER[*]}"
}

# A true SSH session that is lost while the application is installed.
scenario_ssh_drop() {
  machine_up --from packages
  local client
  "$FM" ssh "$MACHINE" --tty -- env "${INSTALL_ENV[@]}" \
    /opt/src/install_sophia_llm.sh "${INSTALL_FLAGS[@]}" < <(exec sleep 900) >/dev/null 2>&1 &
  client=$!
  when 'pip install .[api,hosted]'
  kill -KILL "$client"
  expect 'the installer lives on without its terminal' until_true 30 as_shell \
    '! pgrep -f "^[b]ash /opt/src/install_sophia_llm.sh"'
  expect 'pip lives on' until_true 10 as_shell '! pgrep -f "[p]ip install"'
  expect 'the log does not tell it' as_shell 'grep -q "interrupted (129) in application" /var/log/sophia/install.log'
  local before
  before=$(secrets_of_env)
  resumed "$before"
  fact 'the line dropped while pip ran: ended with its children, the next run went on'
}

# Real ^C typed on a terminal, while pip runs.
scenario_interrupt_typed() {
  machine_up --from packages
  install_typing 'The program in /opt/sophia' '' 'Processing' '\x03' -- --auto
  expect_status 130
  expect_text 'Interrupted in the step "The program in /opt/sophia"' ' /opt/src/install_sophia_llm.sh --lang en --auto'
  expect 'pip lives on' until_true 10 as_shell '! pgrep -f "[p]ip install"'
  fact '^C typed while pip ran: 130, pip ended'
}

# A person answers the questions, and the console opens at the end.
scenario_interactive() {
  machine_up --from packages
  install_typing 'is not shown): ' 'sk-canary\n' 'here; not shown): ' '\n' 'Enable the firewall' 'y\n' \
    'Did you get in' 'y\n' 'Ask the services' '' Overview q -- --auto-open-menu
  expect_status 0
  expect_no_text canary
  expect 'the typed key is not in the env file' as_shell 'grep -qx OPENAI_API_KEY=sk-canary /etc/sophia/sophia.env'
  expect 'the firewall is off' as_shell 'ufw status | grep -q "Status: active"'
  expect 'not healthy' healthy
  expect 'the key stands in the log' as_shell '! grep -rq canary /var/log/sophia'
  fact 'questions answered over a terminal, key not echoed, console opened and left by q'
}

# Without a terminal and without standard input it ends by itself, with --auto and without.
scenario_stdin_closed() {
  machine_up --from packages
  INSTALL_FLAGS=()
  STATUS=0
  OUTPUT=$(on --timeout 400 --env "${INSTALL_ENV[0]}" --env "${INSTALL_ENV[1]}" -- bash -c \
    '/opt/src/install_sophia_llm.sh --lang en <&- 2>&1') || STATUS=$?
  echo "$OUTPUT"
  expect_status 0
  expect_text 'no terminal: the default' 'UFW was not enabled'
  expect 'the firewall was enabled without a yes' as_shell '! ufw status | grep -q "Status: active"'
  expect 'not healthy' healthy
  STATUS=0
  OUTPUT=$(on --timeout 400 --env "${INSTALL_ENV[0]}" --env "${INSTALL_ENV[1]}" -- bash -c \
    '/opt/src/install_sophia_llm.sh --auto --auto-open-menu --lang en <&- 2>&1') || STATUS=$?
  expect_status 0
  expect_text 'The console was not opened: there is no terminal.'
  fact 'closed stdin: defaults shown and taken, no menu; UFW stays off without a yes'
}
