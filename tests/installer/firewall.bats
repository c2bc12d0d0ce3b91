#!/usr/bin/env bats
# The firewall: what rules are read as, what is respected, and that nobody is locked out on the way.
# ufw is a small stand-in here that keeps rules and a state; the machines' scenarios use the real one.

bats_require_minimum_version 1.5.0

setup() {
  load helpers
  load_library
  make_server_folders
  source "$CHECKOUT/installer/steps/90-firewall.sh"
  fakes=$BATS_TEST_TMPDIR/fakes
  ufw=$BATS_TEST_TMPDIR/ufw
  mkdir -p "$fakes" "$ufw" "$BATS_TEST_TMPDIR/units" "$BATS_TEST_TMPDIR/systemd"
  export PATH=$fakes:$PATH UFW=$ufw
  export SOPHIA_TEST_UFW_FOLDER=$ufw SOPHIA_TEST_UFW_DEFAULTS=$ufw/defaults
  export SOPHIA_TEST_UNITS=$BATS_TEST_TMPDIR/units SOPHIA_TEST_SYSTEMD=$BATS_TEST_TMPDIR/systemd
  printf 'IPV6=yes\nDEFAULT_INPUT_POLICY="DROP"\n' >"$ufw/defaults"
  : >"$ufw/calls"
  fake_ufw
  fake systemctl 'case "$*" in
    *"is-active --quiet firewalld"*) [[ -e $UFW/firewalld ]] ;;
    *"is-active --quiet sophia-firewall-undo.timer"*) [[ -e $UFW/armed ]] ;;
    "restart sophia-firewall-undo.timer") echo armed >>"$UFW/calls"; : >"$UFW/armed" ;;
    "is-enabled --quiet nftables") [[ -e $UFW/nftables ]] ;;
    *"disable --now"*) echo disarmed >>"$UFW/calls"; rm -f "$UFW/armed" ;;
  esac'
  fake iptables exit 0
  fake ip6tables exit 0
  fake ip exit 1
  fake nft exit 0
  fake dpkg-query exit 1
  # what other libraries find on this machine is not of interest here
  is_root() { true; }
  iptables_listing() { :; }
  ssh_endpoints() { printf '2222 * listening\n'; }
  run_logged() { :; }
  AUTO=yes ASSUME_YES=yes DRY_RUN=no SSH_PORT='' ARGUMENTS=() MODE=server
}

fake() { # NAME LINE...
  printf '#!/bin/bash\n%s\n' "${*:2}" >"$fakes/$1"
  chmod +x "$fakes/$1"
}

fake_ufw() {
  fake ufw 'echo "ufw $*" >>"$UFW/calls"
    case "$*" in
      status) if [[ -e $UFW/active ]]; then echo "Status: active"; else echo "Status: inactive"; fi ;;
      "--force enable") [[ ! -e $UFW/broken ]] && : >"$UFW/active" ;;
      "--force disable") rm -f "$UFW/active" ;;
      "show added") cat "$UFW/added" 2>/dev/null || true ;;
      "--force delete "*) grep -v "^ufw ${*:3}" "$UFW/added" >"$UFW/new"; mv "$UFW/new" "$UFW/added" ;;
      allow*)
        rule="ufw $*"
        [[ $rule != *" comment "* ]] || rule="${rule% comment *} comment '"'\${rule##* comment }'"'"
        echo "$rule" >>"$UFW/added"
        if [[ $2 =~ ^([0-9]+)/tcp$ ]]; then
          echo "### tuple ### allow tcp ${BASH_REMATCH[1]} 0.0.0.0/0 any 0.0.0.0/0 in" >>"$UFW/user.rules"
          echo "### tuple ### allow tcp ${BASH_REMATCH[1]} ::/0 any ::/0 in" >>"$UFW/user6.rules"
        fi ;;
    esac'
}

calls() { grep -vE 'ufw (status|show added)' "$ufw/calls" || true; }

tuple() { # FILE FIELDS
  echo "### tuple ### $2" >>"$ufw/$1"
}

# Reading

@test "UFW's rules are read as UFW reads them: the first for everybody counts" {
  tuple user.rules 'limit tcp 22 0.0.0.0/0 any 0.0.0.0/0 in'
  tuple user.rules 'allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 OpenSSH - in'
  tuple user.rules 'allow tcp 80,443 0.0.0.0/0 any 10.0.0.0/8 in comment=612062'
  tuple user.rules 'deny tcp 443 0.0.0.0/0 any 0.0.0.0/0 in'
  tuple user.rules 'deny any 2222 0.0.0.0/0 any 0.0.0.0/0 in_eth0'
  tuple user.rules 'route:allow any any 0.0.0.0/0 any 0.0.0.0/0 in_eth0!out_lo'
  tuple user.rules 'allow udp 70 0.0.0.0/0 any 0.0.0.0/0 in'
  tuple user.rules 'allow tcp 71 0.0.0.0/0 any 0.0.0.0/0 out'
  tuple user.rules 'allow_log tcp 1000:1010 0.0.0.0/0 any 0.0.0.0/0 in'
  tuple user.rules 'reject any 99 0.0.0.0/0 any 0.0.0.0/0 in'
  tuple user6.rules 'allow tcp 2200 ::/0 any ::/0 SSH%20Server - in'
  local port wanted
  while read -r port wanted; do
    [ "$(ufw_rule "$port" 4)" = "$wanted" ] || { echo "$port: $(ufw_rule "$port" 4)"; false; }
  done <<'TABLE'
22 limit
80 narrow
443 deny
2222 none
70 none
71 none
1005 open
1011 none
99 deny
TABLE
  [ "$(ufw_rule 2200 6)" = open ]
  [ "$(ufw_rule 22 6)" = none ]
}

@test "IPV6 is changed in its line alone, the file stays what it is" {
  printf '# a comment\nIPV6=no\nIPT_MODULES=""\n' >"$ufw/defaults"
  chmod 600 "$ufw/defaults"
  run ! ufw_ipv6
  ufw_set_ipv6 yes
  ufw_ipv6
  [ "$(cat "$ufw/defaults")" = $'# a comment\nIPV6=yes\nIPT_MODULES=""' ]
  [ "$(stat -c %a "$ufw/defaults")" = 600 ]
  [ -z "$(find "$ufw" -name 'defaults.*')" ]
}

@test "a ruleset that closes the machine is seen; UFW's own and lists of blocked senders are not one" {
  nft_listing() { printf '%b' "$listing"; }
  listing='table ip filter {\n\tchain ufw-before-input {\n\t\tct state invalid counter drop\n\t}\n\tchain INPUT {\n\t\ttype filter hook input priority filter; policy accept;\n\t\tcounter jump ufw-before-input\n\t\tip saddr 192.0.2.9 counter drop\n\t\tct state invalid drop\n\t}\n}\ntable inet f2b-table {\n\tchain f2b-chain {\n\t\ttype filter hook input priority filter - 1; policy accept;\n\t\ttcp dport 22 ip saddr @addr-set-sshd reject\n\t}\n}\n'
  [ -z "$(closing_rules)" ]
  [ "$(foreign_rules)" = 'inet f2b-table' ]
  listing='table inet mine {\n\tchain in {\n\t\ttype filter hook input priority filter; policy drop;\n\t\ttcp dport 22 accept\n\t}\n}\n'
  [ "$(closing_rules)" = 'inet mine in: policy drop' ]
  [ "$(firewall_obstacle)" = closed_already ]
  listing='table ip filter {\n\tchain INPUT {\n\t\ttype filter hook input priority filter; policy accept;\n\t\ttcp dport 22 accept\n\t\tcounter packets 0 bytes 0 reject\n\t}\n}\n'
  [[ $(closing_rules) == *': counter packets 0 bytes 0 reject' ]]
}

@test "where iptables alone tells, rules that close the machine are seen too" {
  local line
  iptables_listing() { printf '%s\n' '*nat' ':INPUT DROP' '*filter' ':INPUT ACCEPT [0:0]' "$line"; }
  for line in '-A INPUT -p tcp --dport 22 -j ACCEPT' '-A INPUT -s 192.0.2.9/32 -j DROP' '-A INPUT -j ufw-reject' \
    '-A INPUT -m set --match-set f2b src -j REJECT' '-A INPUT -m conntrack --ctstate INVALID -j DROP'; do
    [ -z "$(closing_rules)" ] || { echo "$line"; false; }
  done
  for line in '-A INPUT -j DROP' '-A INPUT ! -s 10.0.0.0/8 -p tcp --dport 22 -j DROP' ':INPUT DROP [0:0]' \
    '-A INPUT -p tcp --dport 22 -j REJECT --reject-with tcp-reset'; do
    [ -n "$(closing_rules)" ] || { echo "$line"; false; }
  done
}

@test "rules of others in iptables are told, UFW's own are not" {
  fake iptables 'printf "%s\n" "-P INPUT ACCEPT" "-A INPUT -j ufw-before-input" "-A INPUT -s 192.0.2.9/32 -j DROP"'
  [ "$(foreign_rules)" = 'iptables -A INPUT -s 192.0.2.9/32 -j DROP' ]
}

@test "what makes UFW impossible here is named" {
  run ! firewall_obstacle
  : >"$ufw/firewalld"
  [ "$(firewall_obstacle)" = firewalld ]
  rm "$ufw/firewalld"
  fake dpkg-query 'printf installed'
  [ "$(firewall_obstacle)" = persistent ]
  fake dpkg-query exit 1
  fake iptables exit 4
  [ "$(firewall_obstacle)" = no_right ]
  fake iptables '[[ $* != *"-S INPUT" ]] || echo "-A INPUT -s 192.0.2.9/32 -j DROP"'
  run ! firewall_obstacle
  echo MANAGE_BUILTINS=yes >>"$ufw/defaults"
  [ "$(firewall_obstacle)" = builtins ]
  rmdir "$SOPHIA_TEST_SYSTEMD"
  [ "$(firewall_obstacle)" = no_systemd ]
}

loaded() { # LINE... of the user's chain
  printf '%s\n' '-P INPUT DROP' '-A INPUT -j ufw-before-input' '-A ufw-before-input -j ufw-user-input' "$@" \
    >"$ufw/loaded"
  fake iptables 'cat "$UFW/loaded"'
}

@test "the kernel's rules let a port in, or they don't" {
  loaded '-A ufw-user-input -s 192.0.2.9/32 -j DROP' '-A ufw-user-input -p tcp -m tcp --dport 2222 -j ACCEPT' \
    '-A ufw-user-input -p udp -m udp --dport 53 -j ACCEPT' '-A ufw-user-input -p tcp -m multiport --dports 80,1000:1010 -j ACCEPT' \
    '-A ufw-user-input -s 10.0.0.0/8 -p tcp -m tcp --dport 81 -j ACCEPT' '-A ufw-user-input -p tcp -m tcp --dport 22 -j ufw-user-limit-accept'
  local port
  for port in 2222 80 1005 22; do kernel_allows 4 "$port" || { echo "$port"; false; }; done
  for port in 53 81 222 1011; do run ! kernel_allows 4 "$port"; done
}

@test "a rule of the kernel counts only behind none that denies, and where packets come by" {
  loaded '-A ufw-user-input -p tcp -m tcp --dport 2222 -j DROP' '-A ufw-user-input -p tcp -m tcp --dport 2222 -j ACCEPT'
  run ! kernel_allows 4 2222
  loaded '-A ufw-user-input -p tcp -m tcp --dport 2222 -j ACCEPT'
  sed -i '/-A INPUT/d' "$ufw/loaded"
  run ! kernel_allows 4 2222
  sed -i 's/-P INPUT DROP/-P INPUT ACCEPT/' "$ufw/loaded"
  kernel_allows 4 2222
}

# The way back and the proof

@test "the way back is a timer of systemd on disk that disables UFW, and leaves no trace" {
  : >"$ufw/active"
  SOPHIA_TEST_FIREWALL_SECONDS=20 undo_arm
  grep -qx "ExecStart=$fakes/ufw --force disable" "$SOPHIA_TEST_UNITS/sophia-firewall-undo.service"
  grep -qx OnActiveSec=20 "$SOPHIA_TEST_UNITS/sophia-firewall-undo.timer"
  grep -qx WantedBy=timers.target "$SOPHIA_TEST_UNITS/sophia-firewall-undo.timer"
  undo_disarm
  [ -z "$(ls "$SOPHIA_TEST_UNITS")" ]
}

@test "a timer that was faster is told" {
  undo_arm
  run ! undo_disarm
}

# A server on this machine that greets as sshd does; PORT is set.
greeter() { # GREETING
  coproc SERVER { exec python3 -u -c '
import socket, sys
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1])
while True:
    peer, _ = server.accept()
    peer.sendall(sys.argv[1].encode())
    peer.close()' "$1"; }
  read -r -u "${SERVER[0]}" PORT
}

@test "a new connection tells sshd from another program, from nobody and from silence" {
  fake ip 'shift 3; exec "$@"'
  greeter $'SSH-2.0-OpenSSH\r\n'
  [ "$(outside_answer 127.0.0.1 "$PORT")" = ssh ]
  kill "$SERVER_PID"
  greeter $'220 mail\r\n'
  [ "$(outside_answer 127.0.0.1 "$PORT")" = open ]
  kill "$SERVER_PID"
  [ "$(outside_answer 127.0.0.1 1)" = refused ]
  fake ip exit 1
  [ "$(outside_answer 127.0.0.1 1)" = nothing ]
}

@test "each endpoint is reached at an address of its own, of both families" {
  own_addresses() { if [[ $1 == 4 ]]; then printf '192.0.2.7\n192.0.2.8\n'; else echo 2001:db8::7; fi; }
  run proof_targets $'22 * socket\n22 0.0.0.0 config\n2222 192.0.2.8 listening\n2223 :: config\n2224 127.0.0.1 config\n2225 203.0.113.1 config\n2226 fe80::1 config'
  [ "$output" = $'22 4 192.0.2.7\n22 6 2001:db8::7\n2222 4 192.0.2.8\n2223 6 2001:db8::7' ]
}

@test "lost is what answered before and does not now" {
  kernel_allows() { true; }
  outside_answer() { if [[ $2 == 22 ]]; then echo ssh; else echo nothing; fi; }
  prove_ssh '22' '22 4 192.0.2.7 ssh'
  [ "$PROOF_BY" = connection ]
  run ! prove_ssh '22 2222' $'22 4 192.0.2.7 ssh\n2222 4 192.0.2.7 ssh'
}

@test "where nobody answered before, the kernel's rules are the proof, and it is said so" {
  kernel_allows() { [[ $2 == 22 ]]; }
  prove_ssh 22 ''
  [ "$PROOF_BY" = rules ]
  prove_ssh 22 '22 4 192.0.2.7 refused'
  [ "$PROOF_BY" = rules ]
  run ! prove_ssh '22 2222' ''
}

# The step

step() {
  if firewall_check; then return; fi
  firewall_apply
  firewall_verify
}

@test "with --auto alone UFW is not enabled, and the command is told" {
  ASSUME_YES=no SSH_PORT=2222
  run step
  [ "$status" -eq 0 ]
  [[ $output == *'was not enabled'*"--step firewall --ssh-port 2222 --auto --auto-assume-yes"* ]]
  [ -z "$(calls)" ]
}

@test "--dry-run shows the rules and touches nothing" {
  DRY_RUN=yes
  printf 'IPV6=no\n' >"$ufw/defaults"
  ssh_uses_ipv6() { true; }
  run firewall_check
  [ "$status" -eq 1 ]
  [[ $output == *'ufw allow 2222/tcp'*IPV6=yes*'ufw enable'* ]]
  [ -z "$(calls)" ]
  [ "$(cat "$ufw/defaults")" = IPV6=no ]
}

@test "SSH is allowed and the way back armed before UFW is enabled; proved, it is taken away" {
  kernel_allows() { true; }
  run step
  [ "$status" -eq 0 ]
  [ "$(calls)" = $'ufw allow 2222/tcp\narmed\nufw --force enable\ndisarmed' ]
  [ -e "$ufw/active" ]
  [[ $output == *'Proved by the rules'* ]]
}

@test "SSH that is not proved is undone at once, and told" {
  kernel_allows() { false; }
  watched() {
    trap run_on_exit EXIT
    step
  }
  run watched
  [ "$status" -eq 1 ]
  [[ $output == *SOPHIA-S366*'2222'* ]]
  [ ! -e "$ufw/active" ]
  [ "$(calls | tail -n 2)" = $'ufw --force disable\ndisarmed' ]
}

@test "ended between enabling and proof, it is undone on the way out" {
  prove_ssh() { exit 143; }
  watched() {
    trap run_on_exit EXIT
    step
  }
  run watched
  [ "$status" -eq 143 ]
  [ ! -e "$ufw/active" ]
}

@test "where the way back can't be armed, UFW is not enabled" {
  undo_arm() { false; }
  run step
  [ "$status" -eq 1 ]
  [[ $output == *SOPHIA-S363* ]]
  [[ $(calls) != *enable* ]]
}

@test "a UFW that fails to start is disabled" {
  : >"$ufw/broken"
  run step
  [ "$status" -eq 1 ]
  [[ $output == *SOPHIA-S364* ]]
  [ "$(calls | tail -n 2)" = $'ufw --force disable\ndisarmed' ]
}

@test "what an earlier run could not prove is undone and begun anew" {
  kernel_allows() { true; }
  : >"$ufw/active"
  : >"$ufw/armed"
  run step
  [ "$status" -eq 0 ]
  [ "$(calls)" = $'ufw --force disable\ndisarmed\nufw allow 2222/tcp\narmed\nufw --force enable\ndisarmed' ]
}

@test "a person who says no, or nothing, gets UFW disabled again" {
  kernel_allows() { true; }
  firewall_confirm() { false; }
  run step
  [ "$status" -eq 0 ]
  [ ! -e "$ufw/active" ]
  [[ $output == *'Not confirmed'*'was not enabled'* ]]
}

@test "the question to the person ends before the timer does" {
  FIREWALL_ENDPOINTS='2222 192.0.2.7 session' FIREWALL_PORTS=2222 FIREWALL_BEGIN=$SECONDS ASSUME_YES=no
  can_ask() { true; }
  SUDO_USER=ana run firewall_confirm <<<yes
  [ "$status" -eq 0 ]
  [[ $output == *'ssh -p 2222 ana@192.0.2.7'* ]]
  run ! firewall_confirm <<<no
  SOPHIA_TEST_FIREWALL_SECONDS=3 run ! firewall_confirm <<<yes
  run ! firewall_confirm </dev/null
}

@test "IPV6=no is changed only where SSH over IPv6 would be lost" {
  kernel_allows() { true; }
  printf 'IPV6=no\n' >"$ufw/defaults"
  ssh_uses_ipv6() { false; }
  run step
  [ "$(cat "$ufw/defaults")" = IPV6=no ]
  rm -f "$ufw"/active "$ufw"/user*.rules
  ssh_uses_ipv6() { true; }
  run step
  [ "$(cat "$ufw/defaults")" = IPV6=yes ]
  [[ $output == *'IPV6=yes now'* ]]
}

@test "an active UFW only gets the SSH ports that it lacks, and no way back is armed" {
  : >"$ufw/active"
  tuple user.rules 'allow tcp 22 0.0.0.0/0 any 10.0.0.0/8 in'
  ssh_endpoints() { printf '22 * listening\n2222 * config\n'; }
  run step
  [ "$status" -eq 0 ]
  [ "$(calls)" = 'ufw allow 2222/tcp' ]
  run step
  [ "$(calls)" = 'ufw allow 2222/tcp' ]
}

@test "rules of limit and deny for SSH are never replaced" {
  kernel_allows() { true; }
  tuple user.rules 'limit tcp 2222 0.0.0.0/0 any 0.0.0.0/0 in'
  tuple user6.rules 'limit tcp 2222 ::/0 any ::/0 in'
  run step
  [ "$(calls)" = $'armed\nufw --force enable\ndisarmed' ]
  rm "$ufw/active"
  : >"$ufw/calls"
  tuple user.rules 'deny tcp 22 0.0.0.0/0 any 0.0.0.0/0 in'
  ssh_endpoints() { echo '22 * listening'; }
  run step
  [ "$status" -eq 0 ]
  [[ $output == *'nothing changed'*'denies SSH port 22'* ]]
  [ -z "$(calls)" ]
}

@test "rules for some senders don't leave out who comes from elsewhere, as long as UFW was not active" {
  kernel_allows() { true; }
  tuple user.rules 'allow tcp 2222 0.0.0.0/0 any 10.0.0.0/8 in'
  run step
  [[ $(calls) == 'ufw allow 2222/tcp'* ]]
}

@test "an obstacle leaves everything as it is and says why" {
  : >"$ufw/firewalld"
  run step
  [ "$status" -eq 0 ]
  [[ $output == *'nothing changed'*firewalld* ]]
  [ -z "$(calls)" ]
}

@test "nobody asked for the API's port: no rule, and one of ours is taken away" {
  kernel_allows() { true; }
  run step
  [[ $(calls) != *8000* ]]
  echo "ufw allow from 10.0.0.0/8 to any port 8000 proto tcp comment 'Sophia API'" >>"$ufw/added"
  echo "ufw allow from 192.0.2.0/24 to any port 8000 proto tcp" >>"$ufw/added"
  : >"$ufw/calls"
  run step
  [ "$(calls)" = 'ufw --force delete allow from 10.0.0.0/8 to any port 8000 proto tcp' ]
}

@test "the API's port is opened for whom the settings name, and once" {
  : >"$ufw/active"
  GIVEN[SOPHIA_OPEN_API_PORT]=yes
  GIVEN[SOPHIA_OPEN_API_FROM]='10.0.0.0/8, 192.0.2.7'
  run step
  [ "$status" -eq 0 ]
  [[ $(calls) == *'ufw allow from 10.0.0.0/8 to any port 8000 proto tcp comment Sophia API'* ]]
  [[ $(calls) == *'ufw allow from 192.0.2.7 to any port 8000 proto tcp comment Sophia API'* ]]
  : >"$ufw/calls"
  run step
  [ -z "$(calls)" ]
}

@test "opening the API without saying for whom is refused before anything is done" {
  local each
  GIVEN[SOPHIA_OPEN_API_PORT]=yes
  for each in '' , 10.0.0.1/8 0.0.0.0/0 300.1.1.1 'any; reboot'; do
    GIVEN[SOPHIA_OPEN_API_FROM]=$each
    run step
    [ "$status" -eq 2 ] && [[ $output == *SOPHIA-S368* ]] || { echo "$each: $output"; false; }
  done
  [ -z "$(calls)" ]
}

@test "what others do against the firewall is told, and stays" {
  : >"$ufw/active"
  tuple user.rules 'allow tcp 2222 0.0.0.0/0 any 0.0.0.0/0 in'
  tuple user6.rules 'allow tcp 2222 ::/0 any ::/0 in'
  tuple user.rules 'allow tcp 5432 0.0.0.0/0 any 0.0.0.0/0 in'
  : >"$ufw/nftables"
  run step
  [[ $output == *'leaves port 5432 open'*'nftables.service'* ]]
  [ -z "$(calls)" ]
}
