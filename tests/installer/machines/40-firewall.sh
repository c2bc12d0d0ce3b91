# long
# shellcheck shell=bash
# The firewall, with real SSH connections from the host: nobody is locked out, and what nobody asked
# for is closed.

# A server with its packages, and listeners where Postgres and the API would stand, for everybody.
firewall_machine() {
  local port
  machine_up --from packages
  for port in 5432 8000; do
    as_shell "systemctl disable --now postgresql postgresql@15-main >/dev/null 2>&1
      systemd-run --quiet --unit=listen-$port python3 -m http.server --bind :: $port"
  done
  expect 'the listeners are not there' until_true 60 reached 5432
  expect 'the listeners are not there' until_true 60 reached 8000
}

# sshd's configuration, taken up at once or not.
sshd_is() { # LINES
  as_shell "printf '$1' >/etc/ssh/sshd_config.d/test.conf"
}

# A new connection of SSH from the host; a busy host gets a second and third try.
comes_in() { # PORT [--ipv6]
  local answer
  for _ in 1 2 3; do
    answer=$("$FM" ssh "$MACHINE" --port "$1" "${@:2}" -- echo in 2>&1) || true
    [[ $answer != in ]] || return 0
    printf 'ssh to port %s: %s\n' "$*" "$answer"
  done
  return 1
}

# Whether a port answers from outside.
reached() { "$FM" probe "$MACHINE" "$@" >/dev/null; } # PORT [--ipv6]

ufw_is() { as_shell "[[ \$(ufw status) == 'Status: $1'* ]]"; } # active or inactive

closed_to_others() {
  local port family
  for port in 5432 8000; do
    for family in '' --ipv6; do
      ! reached "$port" ${family:+"$family"} || give_up "port $port is open from outside $family"
    done
  done
}

no_trace() {
  as_shell '[[ -z $(ip netns) && -z $(ls /etc/systemd/system/*undo* 2>/dev/null) ]] &&
    ! systemctl is-active --quiet sophia-firewall-undo.timer && ! ip link show sophia-proof0 2>/dev/null'
}

step() { install --step firewall "$@"; }

# short
scenario_firewall_ssh_in_the_configuration() {
  firewall_machine
  sshd_is 'Port 2222\n'
  as_shell 'systemctl restart ssh'
  step
  expect_status 0
  expect_text 'SSH port 2222 (found by: config listening)' 'is greeted by sshd at' ']:2222'
  expect 'UFW is not active' ufw_is active
  expect 'no new connection over IPv4' comes_in 2222
  expect 'no new connection over IPv6' comes_in 2222 --ipv6
  closed_to_others
  expect 'something was left behind' no_trace
  local before
  before=$(as_shell 'ufw show added; iptables -S; ip6tables -S')
  step
  expect_status 0
  expect_text unchanged
  expect 'the second run changed rules' test "$before" = "$(as_shell 'ufw show added; iptables -S; ip6tables -S')"
  "$FM" reboot "$MACHINE"
  expect 'no new connection after a reboot' until_true 20 comes_in 2222
  expect 'UFW is not active after a reboot' ufw_is active
  fact 'in by 2222 over IPv4 and IPv6; 5432, 8000 closed; unchanged when run again; reboot'
}

scenario_firewall_ssh_running_and_not_reloaded() {
  firewall_machine
  sshd_is 'Port 2222\n'
  as_shell 'systemctl restart ssh'
  sshd_is 'Port 2300\n'
  step
  expect_status 0
  expect_text 'SSH port 2222 (found by: listening)' 'SSH port 2300 (found by: config)'
  expect 'no new connection by the running port' comes_in 2222
  as_shell 'systemctl restart ssh'
  expect 'no new connection by the new port' until_true 10 comes_in 2300
  fact 'in by 2222, which runs, and by 2300 after the reload'
}

scenario_firewall_ssh_by_socket() {
  firewall_machine
  as_shell 'mkdir /etc/systemd/system/ssh.socket.d
    printf "[Socket]\nListenStream=\nListenStream=2222\n" >/etc/systemd/system/ssh.socket.d/test.conf
    systemctl daemon-reload; systemctl disable --quiet --now ssh; systemctl enable --quiet --now ssh.socket'
  step
  expect_status 0
  expect_text 'SSH port 2222 (found by: socket)' 'is greeted by sshd at'
  expect 'no new connection over IPv4' comes_in 2222
  expect 'no new connection over IPv6' comes_in 2222 --ipv6
  closed_to_others
  fact 'in by the socket on 2222, IPv4 and IPv6'
}

scenario_firewall_ssh_by_ipv6() {
  firewall_machine
  sshd_is 'Port 2222\nAddressFamily inet6\n'
  as_shell 'systemctl restart ssh; sed -i s/^IPV6=.*/IPV6=no/ /etc/default/ufw'
  step
  expect_status 0
  expect_text 'IPV6=yes now' ']:2222'
  expect 'IPV6 was not set' as_shell 'grep -qx IPV6=yes /etc/default/ufw'
  expect 'no new connection over IPv6' comes_in 2222 --ipv6
  closed_to_others
  fact 'IPV6=no became yes, in by [::]:2222'
}

# The session's own port is found behind sudo, though nothing else tells it.
scenario_firewall_ssh_of_the_session() {
  firewall_machine
  sshd_is 'Port 22\nPort 2222\n'
  as_shell 'systemctl restart ssh; rm /etc/ssh/sshd_config.d/test.conf
    printf "#!/bin/sh\nexit 0\n" >/usr/local/bin/ss; chmod +x /usr/local/bin/ss'
  OUTPUT=$("$FM" ssh "$MACHINE" --port 2222 -- sudo /opt/src/install_sophia_llm.sh --lang en \
    --step firewall --auto --auto-assume-yes 2>&1) || give_up "$OUTPUT"
  printf '%s\n' "$OUTPUT"
  expect_text 'SSH port 2222 (found by: session)'
  expect 'no new connection by 2222' comes_in 2222
  expect 'no new connection by 22' comes_in 22
  fact 'port 2222 found in a parent of sudo, in by it'
}

# A rule that UFW runs before those of its user shuts SSH out: only a real connection can tell.
scenario_firewall_proof_fails() {
  firewall_machine
  as_shell 'sed -i "/^# ok icmp codes for INPUT/i -A ufw-before-input -p tcp --dport 22 -m conntrack --ctstate NEW -j DROP" /etc/ufw/before.rules'
  step
  expect_status 1
  expect_text SOPHIA-S366 'port 22'
  expect 'UFW is active' ufw_is inactive
  expect 'no new connection' comes_in 22
  expect 'something was left behind' no_trace
  fact 'SOPHIA-S366, UFW disabled at once, in by 22'
}

# Starts the step with a person at a terminal over SSH, who says yes to enabling and then nothing.
person_at_terminal() { # SECONDS
  mkfifo "$WORKPLACE/keys"
  sleep infinity >"$WORKPLACE/keys" &
  KEYS_HELD=$!
  "$FM" ssh "$MACHINE" --tty -- "SOPHIA_TEST_FIREWALL_SECONDS=$1 /opt/src/install_sophia_llm.sh --lang en --step firewall" \
    <"$WORKPLACE/keys" >"$WORKPLACE/screen" 2>&1 &
  PERSON=$!
  expect 'it was not asked for' until_true 30 grep -q 'Enable the firewall now' "$WORKPLACE/screen"
  echo y >"$WORKPLACE/keys"
  expect 'no second window was asked for' until_true 60 grep -q 'Did you get in' "$WORKPLACE/screen"
  expect 'UFW is not active' ufw_is active
}

# short
scenario_firewall_killed_before_the_proof() {
  WORKPLACE=$(mktemp -d)
  firewall_machine
  person_at_terminal 20
  as_shell 'pkill -KILL -f "bash /opt/src/install_sophia_llm.sh"'
  expect 'it was undone by something else than the timer' ufw_is active
  expect 'the timer did not undo it' until_true 30 ufw_is inactive
  kill "$KEYS_HELD" "$PERSON" 2>/dev/null || true
  expect 'no new connection' comes_in 22
  step
  expect_status 0
  expect 'UFW is not active' ufw_is active
  expect 'no new connection' comes_in 22
  expect 'something was left behind' no_trace
  fact 'kill -9: disabled by the timer within its 20 s; the next run enables it'
}

scenario_firewall_power_cut_before_the_proof() {
  WORKPLACE=$(mktemp -d)
  firewall_machine
  person_at_terminal 20
  "$FM" reboot "$MACHINE" --hard
  kill "$KEYS_HELD" "$PERSON" 2>/dev/null || true
  expect 'the timer did not undo it' until_true 40 ufw_is inactive
  "$FM" reboot "$MACHINE"
  expect 'UFW is active after one more reboot' ufw_is inactive
  expect 'no new connection' until_true 20 comes_in 22
  fact 'the timer is there after the power cut and disables UFW for good'
}

scenario_firewall_line_drops_before_the_proof() {
  WORKPLACE=$(mktemp -d)
  firewall_machine
  person_at_terminal 60
  kill "$PERSON" "$KEYS_HELD"
  expect 'it was not undone' until_true 30 ufw_is inactive
  expect 'no new connection' comes_in 22
  expect 'something was left behind' until_true 10 no_trace
  fact 'SSH dropped: disabled at once, without waiting for the timer'
}

scenario_firewall_person_confirms() {
  WORKPLACE=$(mktemp -d)
  firewall_machine
  person_at_terminal 60
  expect 'the person does not get in' comes_in 22
  echo y >"$WORKPLACE/keys"
  expect 'it did not end' until_true 30 grep -q changed "$WORKPLACE/screen"
  kill "$KEYS_HELD"
  expect 'UFW is not active' ufw_is active
  expect 'something was left behind' no_trace
  fact 'a second window, yes: UFW stays'
}

scenario_firewall_person_is_silent() {
  WORKPLACE=$(mktemp -d)
  firewall_machine
  person_at_terminal 15
  expect 'it was not undone' until_true 30 grep -q 'Not confirmed' "$WORKPLACE/screen"
  expect 'UFW is active' ufw_is inactive
  kill "$KEYS_HELD"
  expect 'something was left behind' until_true 10 no_trace
  fact 'no answer: disabled'
}

scenario_firewall_active_with_rules_of_others() {
  firewall_machine
  as_shell 'ufw allow from 10.0.0.0/8 to any port 22 proto tcp comment mine; ufw allow 9999/tcp
    ufw limit 7777/tcp; ufw deny 25; ufw --force enable' >/dev/null
  local before
  before=$(as_shell 'ufw show added')
  step
  expect_status 0
  expect_text unchanged
  expect 'rules were changed' test "$before" = "$(as_shell 'ufw show added')"
  step --ssh-port 2222
  expect_status 0
  expect 'more than the missing rule was changed' test "$before"$'\n''ufw allow 2222/tcp' = "$(as_shell 'ufw show added')"
  step --ssh-port 7777
  expect_text unchanged
  expect 'no new connection' comes_in 22
  closed_to_others
  fact 'narrow, limiting and foreign rules stay; only the missing port is added'
}

scenario_firewall_not_asked_for() {
  firewall_machine
  local before
  before=$(as_shell 'ufw show added; iptables-save | grep -v ^#; cat /etc/default/ufw; ls /etc/systemd/system')
  INSTALL_FLAGS=(--auto)
  step
  expect_status 0
  expect_text 'UFW was not enabled' '--step firewall --auto --auto-assume-yes'
  INSTALL_FLAGS=()
  step # no terminal, so the default
  expect_status 0
  INSTALL_FLAGS=(--auto --auto-assume-yes)
  step --dry-run
  expect_status 0
  expect_text 'rule: ufw allow 22/tcp' 'rule: ufw enable'
  expect 'something was changed' test "$before" = \
    "$(as_shell 'ufw show added; iptables-save | grep -v ^#; cat /etc/default/ufw; ls /etc/systemd/system')"
  fact '--auto alone, no terminal and --dry-run change nothing'
}

scenario_firewall_obstacles() {
  firewall_machine
  as_shell 'iptables -A INPUT -p tcp --dport 22 -j ACCEPT
    iptables -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT; iptables -P INPUT DROP'
  step
  expect_status 0
  expect_text 'nothing changed' 'INPUT: policy drop'
  expect 'UFW is active' ufw_is inactive
  expect 'rules of others are gone' as_shell '[[ $(iptables -S INPUT | wc -l) == 3 ]]'
  as_shell 'iptables -P INPUT ACCEPT; iptables -F INPUT; iptables -A INPUT -s 203.0.113.9 -j DROP
    ufw deny 22/tcp >/dev/null'
  step
  expect_text 'nothing changed' 'denies SSH port 22' 'ufw deny 22/tcp'
  expect 'UFW is active' ufw_is inactive
  as_shell 'ufw delete deny 22/tcp' >/dev/null
  OUTPUT=$(as_shell 'systemd-run --quiet --wait --pipe --property=CapabilityBoundingSet=~CAP_NET_ADMIN \
    /opt/src/install_sophia_llm.sh --lang en --step firewall --auto --auto-assume-yes 2>&1')
  printf '%s\n' "$OUTPUT"
  expect_text 'nothing changed' NET_ADMIN
  expect 'UFW is active' ufw_is inactive
  step
  expect_status 0
  expect_text 'Rules of others stay' '-s 203.0.113.9/32 -j DROP' 'is greeted by sshd at'
  expect 'the rule of others is gone' as_shell 'iptables -C INPUT -s 203.0.113.9 -j DROP'
  fact 'a closing ruleset, a rule of deny and a missing capability: skipped with the reason; a list of blocked senders stays'
}

# Without a network space of its own the rules in the kernel are the proof, and it says so.
scenario_firewall_proof_by_rules() {
  firewall_machine
  as_shell 'printf "#!/bin/sh\n[ \"\$1\" != netns ] || exit 1\nexec /usr/sbin/ip \"\$@\"\n" >/usr/local/bin/ip
    chmod +x /usr/local/bin/ip'
  step
  expect_status 0
  expect_text 'Proved by the rules as the kernel has them'
  expect 'no new connection' comes_in 22
  closed_to_others
  fact 'said to be proved by rules alone'
}

scenario_firewall_opens_the_api_when_asked() {
  firewall_machine
  INSTALL_ENV=("SOPHIA_OPEN_API_PORT=yes" "SOPHIA_OPEN_API_FROM=10.89.77.0/24")
  step
  expect_status 0
  expect '8000 is not open to the network that was named' reached 8000
  ! reached 8000 --ipv6 || give_up '8000 is open to others'
  ! reached 5432 || give_up '5432 is open'
  step
  expect_text unchanged
  INSTALL_ENV=("SOPHIA_OPEN_API_PORT=no")
  step
  expect_status 0
  closed_to_others
  INSTALL_ENV=("SOPHIA_OPEN_API_PORT=yes")
  step
  expect_status 2
  expect_text SOPHIA-S368
  fact 'open to one network, closed again; without a network refused (SOPHIA-S368)'
}

# The whole installation without consent, and the consent given later by the set-up screen's unit.
scenario_firewall_enabled_later() {
  machine_up --from packages
  INSTALL_FLAGS=(--auto)
  install
  expect_status 0
  [[ ${OUTPUT##*Sophia is set up} == *'UFW was not enabled'*'--step firewall'* ]] ||
    give_up 'the summary does not tell that UFW is off'
  expect 'UFW is active' ufw_is inactive
  as_shell 'runuser -u sophia -- systemctl start sophia-step@firewall.service' ||
    give_up "$(as_shell 'journalctl --no-pager -n 40 -u sophia-step@firewall.service')"
  expect 'UFW is not active' ufw_is active
  expect 'no new connection' comes_in 22
  expect 'the journal does not tell the proof' as_shell \
    'journalctl -u sophia-step@firewall.service | grep -q -e "is greeted by sshd" -e "o sshd atende"'
  expect 'something was left behind' no_trace
  expect 'not healthy' healthy
  fact 'off and told with the command; enabled by the account through sophia-step@firewall, proved'
}
