# shellcheck shell=bash
# Where this machine answers SSH: every port by which somebody is connected, or comes back after a
# reload or a restart. Looks only; lib/firewall.sh lets these ports through.
#
# An endpoint is a line "PORT ADDRESS SOURCE". ADDRESS has no brackets and * means every address;
# SOURCE is flag, config, listening, socket or session.

port_valid() { [[ $1 =~ ^[1-9][0-9]{0,4}$ ]] && (($1 <= 65535)); }

# Whether an address is of this machine alone.
address_loopback() { [[ $1 == 127.* || $1 == ::1 || $1 == ::ffff:127.* || $1 == localhost ]]; }

# Prints an endpoint of an address as ss, sshd and systemd write it, [::1]:22 say; nothing for what
# is no TCP port (a path of a unix socket).
endpoint() { # TEXT SOURCE
  local port=${1##*:} address=${1%:*}
  [[ $1 == *:* ]] || address='*'
  address=${address//[][]/}
  address=${address%%%*}
  port_valid "$port" || return 0
  printf '%s %s %s\n' "$port" "${address:-*}" "$2"
}

ssh_from_flag() { [[ -z ${SSH_PORT:-} ]] || endpoint "$SSH_PORT" flag; }

# What sshd would do with its configuration as it is written now. It refuses to tell where its run
# folder is missing (socket activation) or, in some versions, where there are Match blocks; then it
# is asked in a mount space of its own, and last the files are read as text.
sshd_config() {
  local program
  program=$(command -v sshd || command -v /usr/sbin/sshd) || return 0
  "$program" -T 2>/dev/null && return
  "$program" -T -C user=root,host=localhost,addr=127.0.0.1 2>/dev/null && return
  # shellcheck disable=SC2016 # for the inner shell
  unshare --mount sh -c 'mount -t tmpfs tmpfs /run && mkdir /run/sshd && exec "$0" -T' \
    "$program" 2>/dev/null && return
  sshd_written_config
}

# The ports of the configuration files, for an sshd that does not say them itself.
sshd_written_config() {
  local folder=${SOPHIA_TEST_SSH_FOLDER:-/etc/ssh} lines
  lines=$(cat -- "$folder/sshd_config" "$folder"/sshd_config.d/*.conf 2>/dev/null |
    sed -nE 's/^[[:space:]]*(Port|ListenAddress)[[:space:]=]+"?([^"#[:space:]]+).*/\L\1 \2/Ip')
  grep '^port ' <<<"$lines" || echo port 22
  grep -E '^listenaddress (\[.*\]|[^:]+):[0-9]+$' <<<"$lines" || true
}

ssh_from_config() {
  local key value listens='' ports=''
  while read -r key value; do
    case $key in
      listenaddress) listens+=$(endpoint "$value" config)$'\n' ;;
      port) ports+=$(endpoint "$value" config)$'\n' ;;
    esac
  done < <(sshd_config)
  printf '%s' "$listens$ports"
}

# Whether a process is the sshd that takes connections, and not one of its sessions: these listen
# too, for what somebody forwards through them.
ssh_listener() { # PID
  local command
  command=$(tr '\0' ' ' 2>/dev/null <"${SOPHIA_TEST_PROC:-/proc}/$1/cmdline") || return 0
  [[ $command != 'sshd: '* || $command == *'[listener]'* ]]
}

ssh_from_sockets() {
  local here users pid
  while read -r _ _ _ here _ users; do
    [[ $users =~ \"(sshd|dropbear)\",pid=([0-9]+) ]] || continue
    pid=${BASH_REMATCH[2]}
    if ssh_listener "$pid"; then endpoint "$here" listening; fi
  done < <(ss -Hltnp 2>/dev/null)
}

# Sockets that systemd holds for sshd, now or from the next start on. The unit that a distribution
# brings and nobody enabled does not count.
ssh_from_units() {
  local unit facts line
  for unit in ssh.socket sshd.socket dropbear.socket; do
    facts=$(systemctl show "$unit" --property=Listen,ActiveState,UnitFileState 2>/dev/null) || continue
    [[ $facts =~ (^|$'\n')(ActiveState=active|UnitFileState=enabled) ]] || continue
    while IFS= read -r line; do
      [[ $line == Listen=*'(Stream)'* ]] || continue
      line=${line#Listen=}
      line=${line%% *}
      endpoint "${line/#'[::]':/*:}" socket # such a socket takes IPv4 too
    done <<<"$facts"
  done
}

# SSH_CONNECTION of this process or the nearest of its parents: sudo takes it away.
ssh_connection() {
  local folder=${SOPHIA_TEST_PROC:-/proc} pid=$$ value=${SSH_CONNECTION:-}
  while [[ -z $value && $pid =~ ^[1-9][0-9]*$ ]]; do
    value=$(sed -zn '/^SSH_CONNECTION=/{s///p;q}' "$folder/$pid/environ" 2>/dev/null | tr -d '\0') ||
      value=
    pid=$(sed -n 's/^PPid:[[:space:]]*//p' "$folder/$pid/status" 2>/dev/null) || pid=0
  done
  printf '%s\n' "$value"
}

ssh_from_connection() {
  local to port
  read -r _ _ to port < <(ssh_connection) || return 0
  [[ $to =~ ^[0-9A-Fa-f:.]+(%[[:alnum:]._-]+)?$ ]] || return 0
  endpoint "[$to]:$port" session
}

# All of them, each once.
ssh_endpoints() {
  {
    ssh_from_flag
    ssh_from_config
    ssh_from_sockets
    ssh_from_units
    ssh_from_connection
  } | sort -k1,1n -k2 -u
}

# The ports of ENDPOINTS that are meant for others than this machine itself, in order.
ssh_ports() { # ENDPOINTS
  local port address source
  while read -r port address source; do
    if [[ -n $port ]] && { [[ $source == flag ]] || ! address_loopback "$address"; }; then
      echo "$port"
    fi
  done <<<"$1" | sort -nu
}

# Whether SSH over IPv6 is something that could be lost here: sshd answers it and the machine has
# such an address of its own, or somebody is connected that way.
ssh_uses_ipv6() { # ENDPOINTS
  local address source
  while read -r _ address source; do
    case $source:$address in
      session:*.*) ;;
      session:*:*) return 0 ;;
      *:'*' | *:*:*)
        if ! address_loopback "$address" && [[ -n $(own_addresses 6) ]]; then return 0; fi
        ;;
    esac
  done <<<"$1"
  return 1
}

# The addresses by which others reach this machine, one a line: own_addresses 4|6
own_addresses() {
  ip "-$1" -oneline address show scope global 2>/dev/null |
    awk '$2 !~ /^sophia-proof/ {sub("/.*", "", $4); print $4}'
}
