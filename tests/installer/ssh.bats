#!/usr/bin/env bats
# Where a machine answers SSH: each place that is looked at, and what they say together.

bats_require_minimum_version 1.5.0

setup() {
  load helpers
  load_library
  fakes=$BATS_TEST_TMPDIR/fakes
  export SOPHIA_TEST_PROC=$BATS_TEST_TMPDIR/proc SOPHIA_TEST_SSH_FOLDER=$BATS_TEST_TMPDIR/ssh
  mkdir -p "$fakes" "$SOPHIA_TEST_PROC" "$SOPHIA_TEST_SSH_FOLDER/sshd_config.d"
  export PATH=$fakes:$PATH
  unset SSH_CONNECTION
  SSH_PORT=''
  fake ss exit 0
  fake sshd exit 1
  fake systemctl exit 1
  fake ip exit 0
}

# A program of that name that runs the rest as a line of shell.
fake() { # NAME LINE...
  printf '#!/bin/bash\n%s\n' "${*:2}" >"$fakes/$1"
  chmod +x "$fakes/$1"
}

process() { # PID PARENT COMMAND
  mkdir -p "$SOPHIA_TEST_PROC/$1"
  printf 'Name:\tx\nPPid:\t%s\n' "$2" >"$SOPHIA_TEST_PROC/$1/status"
  printf '%s\0' "$3" >"$SOPHIA_TEST_PROC/$1/cmdline"
}

@test "an address is read as ss, sshd and systemd write it" {
  local line
  while read -r given wanted; do
    line=$(endpoint "$given" config)
    [ "$line" = "${wanted:+${wanted/|/ } config}" ] || { echo "$given: $line"; false; }
  done <<'TABLE'
22 22|*
*:22 22|*
0.0.0.0:2222 2222|0.0.0.0
[::]:2222 2222|::
[2001:db8::7]:22 22|2001:db8::7
[fe80::1%eth0]:22 22|fe80::1
[fe80::1]%eth0:22 22|fe80::1
192.0.2.7%eth0:22 22|192.0.2.7
/run/sshd.sock
0
65536
[::]:022
TABLE
}

@test "sshd says all of its ports and addresses" {
  fake sshd 'printf "port 22\nport 2222\nlistenaddress [2001:db8::7]:2200\nlistenaddress 0.0.0.0:2222\n"'
  run ssh_ports "$(ssh_endpoints)"
  [ "$output" = $'22\n2200\n2222' ]
}

@test "an sshd that wants to know of whom Match blocks speak is told" {
  fake sshd '[[ $* == *"-C user="* ]] && echo listenaddress 0.0.0.0:2222'
  run ssh_ports "$(ssh_endpoints)"
  [ "$output" = 2222 ]
}

@test "an sshd that refuses is read in its files: several ports, any spelling, brackets, comments" {
  cat >"$SOPHIA_TEST_SSH_FOLDER/sshd_config" <<'CONFIG'
#Port 1
  port 2201 # the first
PORT=2202
Port "2203"
PortForwarding 9
ListenAddress 192.0.2.7
ListenAddress [2001:db8::7]:2204
Match User someone
  AllowTcpForwarding no
CONFIG
  echo 'Port 2205' >"$SOPHIA_TEST_SSH_FOLDER/sshd_config.d/a.conf"
  run ssh_ports "$(ssh_from_config)"
  [ "$output" = $'2201\n2202\n2203\n2204\n2205' ]
}

@test "files that name no port mean 22" {
  echo 'PasswordAuthentication no' >"$SOPHIA_TEST_SSH_FOLDER/sshd_config"
  [ "$(ssh_from_config)" = '22 * config' ]
}

@test "the sshd that listens counts; what its sessions forward does not" {
  process 40 1 'sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups'
  process 41 1 /usr/sbin/dropbear
  process 50 40 'sshd: ana@pts/0'
  fake ss 'cat <<LINES
LISTEN 0 128 0.0.0.0:2222 0.0.0.0:* users:(("sshd",pid=40,fd=3))
LISTEN 0 128 [::]:2223 [::]:* users:(("sshd",pid=40,fd=4))
LISTEN 0 128 *:2224 *:* users:(("dropbear",pid=41,fd=4))
LISTEN 0 128 0.0.0.0:9000 0.0.0.0:* users:(("sshd",pid=50,fd=9))
LISTEN 0 128 0.0.0.0:5432 0.0.0.0:* users:(("postgres",pid=60,fd=9))
LINES'
  run ssh_from_sockets
  [ "$output" = $'2222 0.0.0.0 listening\n2223 :: listening\n2224 * listening' ]
}

@test "sockets of systemd count where they are at work or start with the machine" {
  fake systemctl 'case $2 in
ssh.socket) printf "Listen=[::]:2222 (Stream)\nListen=0.0.0.0:2223 (Stream)\nActiveState=active\nUnitFileState=disabled\n" ;;
sshd.socket) printf "Listen=[::]:2224 (Stream)\nActiveState=inactive\nUnitFileState=enabled\n" ;;
*) printf "Listen=[::]:22 (Stream)\nActiveState=inactive\nUnitFileState=disabled\n" ;;
esac'
  run ssh_from_units
  [ "$output" = $'2222 * socket\n2223 0.0.0.0 socket\n2224 * socket' ]
}

@test "the session's port is found in the environment" {
  SSH_CONNECTION='198.51.100.9 50000 192.0.2.7 2222' run ssh_from_connection
  [ "$output" = '2222 192.0.2.7 session' ]
}

@test "behind sudo the session's port is found in a parent, over IPv6 too" {
  process $$ 70 bash
  process 70 71 sudo
  process 71 1 bash
  printf 'HOME=/root\0' >"$SOPHIA_TEST_PROC/$$/environ"
  printf 'A=1\0SSH_CONNECTION=2001:db8::9 50000 2001:db8::7 2222\0B=2\0' >"$SOPHIA_TEST_PROC/71/environ"
  run ssh_from_connection
  [ "$output" = '2222 2001:db8::7 session' ]
}

@test "without a session, or with a made-up one, none is said" {
  local each
  process $$ 1 bash
  run ssh_from_connection
  [ -z "$output" ]
  for each in 'x' 'a b $(touch x) 22' '1.2.3.4 5 1.2.3.4 99999' '1.2.3.4 5 1.2.3.4 22;reboot'; do
    SSH_CONNECTION=$each run ssh_from_connection
    [ "$status" -eq 0 ] && [ -z "$output" ] || { echo "$each: $output"; false; }
  done
}

@test "together they are a union, each port once; what only this machine can reach is left out" {
  process 40 1 'sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups'
  fake sshd 'printf "listenaddress 0.0.0.0:2222\nlistenaddress [::1]:2300\nlistenaddress 127.0.0.1:2301\n"'
  fake ss 'echo "LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:((\"sshd\",pid=40,fd=3))"'
  fake systemctl 'printf "Listen=[::]:2222 (Stream)\nActiveState=active\n"'
  SSH_PORT=2200
  SSH_CONNECTION='198.51.100.9 50000 192.0.2.7 2201' run ssh_endpoints
  run ssh_ports "$output"
  [ "$output" = $'22\n2200\n2201\n2222' ]
}

@test "IPv6 is in use where sshd answers it and the machine has an address, or a session comes by it" {
  run ! ssh_uses_ipv6 '22 :: listening'
  fake ip 'echo "2: eth0 inet6 2001:db8::7/64 scope global"'
  ssh_uses_ipv6 '22 :: listening'
  ssh_uses_ipv6 '22 * socket'
  ssh_uses_ipv6 '22 2001:db8::7 config'
  run ! ssh_uses_ipv6 '22 0.0.0.0 listening'
  run ! ssh_uses_ipv6 '22 ::1 listening'
  run ! ssh_uses_ipv6 '22 192.0.2.7 session'
  fake ip exit 0
  ssh_uses_ipv6 '22 2001:db8::7 session'
}
