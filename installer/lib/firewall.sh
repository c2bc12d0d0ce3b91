# shellcheck shell=bash
# UFW: what its rules say, what else filters on this machine, the way back that is armed before it is
# enabled, and the proof by a new connection from outside. What is wanted is decided by the step.

readonly UNDO=sophia-firewall-undo
readonly PROOF=sophia-proof                           # the network space of the proof, and its link's name
readonly PROOF_HERE4=192.0.2.1 PROOF_THERE4=192.0.2.2 # addresses for examples, nobody's own
readonly PROOF_HERE6=2001:db8:5048:1a::1 PROOF_THERE6=2001:db8:5048:1a::2

ufw_folder() { echo "${SOPHIA_TEST_UFW_FOLDER:-/etc/ufw}"; }

ufw_defaults() { echo "${SOPHIA_TEST_UFW_DEFAULTS:-/etc/default/ufw}"; }

ufw_installed() { command -v ufw >/dev/null; }

ufw_active() {
  ufw_installed && [[ $(LC_ALL=C ufw status 2>/dev/null) == 'Status: active'* ]]
}

# One value of /etc/default/ufw, read as text.
ufw_default() { # NAME
  sed -nE "s/^[[:space:]]*$1=[\"']?([^\"'#[:space:]]*).*/\1/p" "$(ufw_defaults)" 2>/dev/null | tail -n 1
}

ufw_ipv6() { [[ $(ufw_default IPV6) != [nN][oO] && -n $(ufw_default IPV6) ]]; }

# Writes IPV6=yes|no, whole or not at all; every other line, the mode and the owner stay.
ufw_set_ipv6() { # yes|no
  local file new
  file=$(ufw_defaults)
  new=$(mktemp -- "$file.XXXXXX")
  if ! sed -E "s/^[[:space:]]*IPV6=.*/IPV6=$1/" -- "$file" >"$new" ||
    ! { grep -q '^IPV6=' "$new" || printf 'IPV6=%s\n' "$1" >>"$new"; } ||
    ! chmod --reference="$file" -- "$new" || ! chown --reference="$file" -- "$new" ||
    ! sync -- "$new" || ! mv -f -- "$new" "$file"; then
    rm -f -- "$new"
    return 1
  fi
}

# What UFW's own rules say about a TCP port from anywhere, by the file it keeps them in (the first
# rule that is for everybody counts): open, limit, deny; narrow where only some senders, addresses or
# interfaces are let through and the rest is left to the policy; none.
ufw_rule() { # PORT 4|6
  local file any
  if [[ $2 == 4 ]]; then
    file=$(ufw_folder)/user.rules any=0.0.0.0/0
  else
    file=$(ufw_folder)/user6.rules any=::/0
  fi
  [[ -r $file ]] || file=/dev/null
  awk -v wanted="$1" -v any="$any" '
    function covers(ports, list, pair, count, i) {
      if (ports == "any") return 1
      count = split(ports, list, ",")
      for (i = 1; i <= count; i++) {
        if (split(list[i], pair, ":") == 2) {
          if (wanted + 0 >= pair[1] + 0 && wanted + 0 <= pair[2] + 0) return 1
        } else if (list[i] == wanted) return 1
      }
      return 0
    }
    /^### tuple ###/ {
      action = $4; sub(/_log(-all)?$/, "", action)
      way = $10
      for (i = 10; i <= NF; i++) if ($i ~ /^(in|out)(_|$)/) { way = $i; break }
      if (action ~ /^route:/ || way ~ /^out/ || ($5 != "tcp" && $5 != "any") || !covers($6)) next
      whole = $7 == any && $8 == "any" && $9 == any && way == "in"
      if (whole) { result = action; exit }
      if (action == "allow" || action == "limit") narrow = 1
    }
    END {
      if (result == "") print narrow ? "narrow" : "none"
      else if (result == "allow") print "open"
      else if (result == "reject") print "deny"
      else print result
    }' "$file"
}

# Whether UFW's rules let everybody in to a port, by either family.
ufw_opens() { # PORT
  [[ $(ufw_rule "$1" 4)$(ufw_rule "$1" 6) =~ open|limit ]]
}

# Whether the kernel lets this process look at its packet filter; a container may be without it.
filter_works() {
  iptables -w 5 -S INPUT >/dev/null 2>&1 &&
    { [[ ! -e /proc/net/if_inet6 ]] || ip6tables -w 5 -S INPUT >/dev/null 2>&1; }
}

# The kernel's packet filter as nft prints it, and as iptables does: the tables that nft doesn't know
# (the older iptables), or all where there is no nft.
nft_listing() { nft -s list ruleset 2>/dev/null || true; }

iptables_listing() {
  local each programs=()
  command -v nft >/dev/null || programs+=(iptables-save ip6tables-save)
  if [[ -s /proc/net/ip_tables_names || -s /proc/net/ip6_tables_names ]]; then
    programs+=(iptables-legacy-save ip6tables-legacy-save)
  fi
  for each in "${programs[@]}"; do
    ! command -v "$each" >/dev/null || "$each" 2>/dev/null || true
  done
}

# Rules of others that close this machine to who isn't named: a policy of drop, or a drop or reject
# that isn't about certain senders. One a line; UFW's own and lists of blocked senders are none.
closing_rules() {
  nft_listing | awk '
    /^table / { table = $2 " " $3 }
    /^\tchain / { chain = $2; input = 0 }
    /type filter hook input/ {
      input = 1
      if ($0 ~ /policy drop/) print table " " chain ": policy drop"
      next
    }
    /^\t}/ { input = 0 }
    input && /(^|[ \t])(drop|reject|xt target "(DROP|REJECT)")([ \t]|$)/ &&
      !/ct state invalid|ufw6?-|f2b-/ && (!/saddr/ || /saddr !=/) {
      line = $0; sub(/^\t+/, "", line); print table " " chain ": " line
    }'
  iptables_listing | awk '
    /^\*/ { filter = $0 == "*filter" }
    filter && /^:INPUT DROP/ { print "iptables INPUT: policy drop" }
    filter && /^-A INPUT / && /-j (DROP|REJECT)/ && !/--ctstate INVALID/ &&
      (!/ -s | --match-set [^ ]+ src/ || /! -s |! --match-set/) { print "iptables " $0 }'
}

# What others have in the packet filter, one a line; it stays as it is.
foreign_rules() {
  nft_listing | awk '
    /^table / && !($2 ~ /^ip6?$/ && $3 ~ /^(filter|nat|mangle|raw|security)$/) { print $2 " " $3 }'
  { iptables -w 5 -S INPUT && ip6tables -w 5 -S INPUT; } 2>/dev/null |
    awk '/^-A INPUT / && !/-j ufw6?-/ { print "iptables " $0 }'
}

unit_active() { systemctl is-active --quiet "$1" 2>/dev/null; }

# Whether a package keeps rules here that UFW's package can't be installed beside.
rules_kept_by_package() { apt_present netfilter-persistent || apt_present iptables-persistent; }

# Prints why UFW can't be enabled here, in a word; returns 1 where it can.
firewall_obstacle() {
  if [[ ! -d ${SOPHIA_TEST_SYSTEMD:-/run/systemd/system} ]]; then
    echo no_systemd
  elif unit_active firewalld; then
    echo firewalld
  elif rules_kept_by_package; then
    echo persistent
  elif ufw_installed && ! filter_works; then
    echo no_right
  elif [[ -n $(closing_rules) ]]; then
    echo closed_already
  elif [[ $(ufw_default MANAGE_BUILTINS) == [yY][eE][sS] && -n $(foreign_rules) ]]; then
    echo builtins
  else
    return 1
  fi
}

# The way back

undo_folder() { echo "${SOPHIA_TEST_UNITS:-/etc/systemd/system}"; }

undo_seconds() { echo "${SOPHIA_TEST_FIREWALL_SECONDS:-300}"; }

undo_armed() { unit_active "$UNDO.timer"; }

# From now on UFW is disabled after a while by systemd, whatever becomes of this program, this SSH
# session or the machine's power: the timer is a unit on disk, so it begins anew after a restart.
undo_arm() {
  local folder ufw
  folder=$(undo_folder)
  ufw=$(command -v ufw)
  cat >"$folder/$UNDO.service" <<UNIT
[Unit]
Description=Sophia: disable a firewall that was not proved to let SSH in
[Service]
Type=oneshot
ExecStart=$ufw --force disable
ExecStartPost=/bin/rm -f $folder/timers.target.wants/$UNDO.timer
ExecStartPost=-/usr/bin/env ip netns delete $PROOF
Restart=on-failure
RestartSec=3
UNIT
  cat >"$folder/$UNDO.timer" <<UNIT
[Unit]
Description=Sophia: disable the firewall unless it is proved in time
[Timer]
OnActiveSec=$(undo_seconds)
AccuracySec=1s
[Install]
WantedBy=timers.target
UNIT
  systemctl daemon-reload && systemctl --quiet enable "$UNDO.timer" 2>/dev/null &&
    systemctl restart "$UNDO.timer" && undo_armed
}

# Takes the way back away. Returns 1 where it was faster.
undo_disarm() {
  local folder
  folder=$(undo_folder)
  systemctl --quiet disable --now "$UNDO.timer" 2>/dev/null || true
  rm -f -- "$folder/timers.target.wants/$UNDO.timer" "$folder/$UNDO.timer" "$folder/$UNDO.service"
  systemctl daemon-reload
  ufw_active
}

# Runs ufw to its end, whatever happens to this program or its terminal meanwhile.
ufw_whole() { # ARG...
  setsid --wait ufw "$@" >>"$LOG_FILE" 2>&1 </dev/null 9<&-
}

# Goes the way back at once. The timer stays where that fails, and tries again by itself.
undo_now() {
  ufw_whole --force disable || return 1
  undo_disarm || true
}

# The proof

# Makes a machine outside: a network space with a link to this one, that only goes in through the
# packet filter as any other machine's does. Returns 1 where that can't be made.
proof_begin() {
  proof_end
  command -v ip >/dev/null || return 1
  [[ -z $(ip -4 route show root 192.0.2.0/24 2>/dev/null) ]] || return 1
  on_exit_add proof_end
  {
    ip netns add "$PROOF" && ip link add "${PROOF}0" type veth peer name "${PROOF}1" &&
      ip link set "${PROOF}1" netns "$PROOF" &&
      ip address add "$PROOF_HERE4/30" dev "${PROOF}0" && ip link set "${PROOF}0" up &&
      ip -n "$PROOF" address add "$PROOF_THERE4/30" dev "${PROOF}1" &&
      ip -n "$PROOF" link set lo up && ip -n "$PROOF" link set "${PROOF}1" up &&
      ip -n "$PROOF" route add default via "$PROOF_HERE4"
  } >>"$LOG_FILE" 2>&1 || {
    proof_end
    return 1
  }
  if [[ -e /proc/net/if_inet6 ]]; then
    {
      ip address add "$PROOF_HERE6/64" dev "${PROOF}0" nodad &&
        ip -n "$PROOF" address add "$PROOF_THERE6/64" dev "${PROOF}1" nodad &&
        ip -n "$PROOF" route add default via "$PROOF_HERE6"
    } >>"$LOG_FILE" 2>&1 || true # without IPv6 outside, its targets are held by the rules
  fi
}

proof_end() {
  ip link delete "${PROOF}0" 2>/dev/null || true
  ip netns delete "$PROOF" 2>/dev/null || true
}

# What a new connection from outside meets: ssh (with its greeting), open (something else), refused
# (nobody listens; the packets pass) or nothing. ADDRESS may be of either family.
outside_answer() { # ADDRESS PORT
  local answer
  # shellcheck disable=SC2016 # for the inner shell
  answer=$(timeout 8 ip netns exec "$PROOF" bash -c '
    exec 3<>"/dev/tcp/$1/$2" || exit 9
    IFS= read -r -t 6 line <&3 || true
    printf "answer %s" "$line"' outside "$1" "$2" 2>&1) || true # what it said tells
  case $answer in
    *'answer SSH-'*) echo ssh ;;
    *'answer '*) echo open ;;
    *'onnection refused'*) echo refused ;;
    *) echo nothing ;;
  esac
}

# Where a new connection to each endpoint goes, one a line: PORT 4|6 ADDRESS. An endpoint for every
# address is reached by the first of the machine's own, of both families where it has both.
proof_targets() { # ENDPOINTS
  local port address family own
  while read -r port address _; do
    if [[ -z $port || $address == fe80:* ]] || address_loopback "$address"; then continue; fi
    for family in 4 6; do
      # read whole: one that is left while it writes complains where SIGPIPE is ignored
      own=$(own_addresses "$family")
      case $family:$address in
        4:'*' | 4:0.0.0.0 | 6:'*' | 6:::)
          [[ -z $own ]] || echo "$port $family ${own%%$'\n'*}"
          ;;
        4:*:*) ;;
        4:*.* | 6:*:*)
          if grep -qxF -- "$address" <<<"$own"; then echo "$port $family $address"; fi
          ;;
      esac
    done
  done <<<"$1" | sort -k1,1n -k2 -u
}

# The targets with what each answers now: PORT 4|6 ADDRESS ANSWER.
proof_look() { # TARGETS
  local port family address
  while read -r port family address; do
    [[ -n $port ]] || continue
    echo "$port $family $address $(outside_answer "$address" "$port")"
  done <<<"$1"
}

# Whether UFW's rules as loaded in the kernel let a TCP port in from anywhere.
kernel_allows() { # 4|6 PORT
  local command=iptables prefix=ufw
  if [[ $1 == 6 ]]; then command=ip6tables prefix=ufw6; fi
  "$command" -w 5 -S 2>/dev/null | awk -v wanted="$2" -v prefix="$prefix" '
    function covers(ports, list, pair, count, i) {
      count = split(ports, list, ",")
      for (i = 1; i <= count; i++) {
        if (split(list[i], pair, ":") == 2) {
          if (wanted + 0 >= pair[1] + 0 && wanted + 0 <= pair[2] + 0) return 1
        } else if (list[i] == wanted) return 1
      }
      return 0
    }
    $1 == "-P" && $2 == "INPUT" { policy = $3 }
    $1 == "-A" && $2 == "INPUT" && $NF == prefix "-before-input" { entered = 1 }
    $1 == "-A" && $2 == prefix "-before-input" && $NF == prefix "-user-input" { joined = 1 }
    $1 == "-A" && $2 == prefix "-user-input" && result == "" {
      ports = ""; target = ""; narrow = 0; protocol = "tcp"
      for (i = 3; i < NF; i++) {
        if ($i == "--dport" || $i == "--dports") ports = $(i + 1)
        if ($i == "-j") target = $(i + 1)
        if ($i == "-p") protocol = $(i + 1)
        if ($i ~ /^(-s|-d|-i|--sport|--sports|!)$/) narrow = 1
      }
      if (protocol != "tcp" || narrow || (ports != "" && !covers(ports))) next
      if (target == "ACCEPT" || target ~ /-user-limit(-accept)?$/) result = "allow"
      if (target == "DROP" || target == "REJECT") result = "deny"
    }
    END { exit !(policy == "ACCEPT" && result != "deny" || entered && joined && result == "allow") }'
}

# Holds every SSH port to the proof after UFW was enabled. BEFORE is what proof_look saw before, empty
# where there is no outside. PROOF_BY says how far the proof goes (connection, or rules), PROOF_WRONG
# what is wrong, one a line; then it returns 1.
prove_ssh() { # PORTS BEFORE
  local port family address was now connected=0
  PROOF_WRONG=
  while read -r port family address was; do
    [[ $was == ssh ]] || continue
    for _ in 1 2 3; do
      now=$(outside_answer "$address" "$port")
      [[ $now != ssh ]] || break
    done
    if [[ $now == ssh ]]; then connected=$((connected + 1)); else
      PROOF_WRONG+="$(text proof_lost "$port" "$address" "$now")"$'\n'
    fi
  done <<<"$2"
  for port in $1; do
    for family in 4 6; do
      if [[ $family == 6 ]] && { ! ufw_ipv6 || [[ ! -e /proc/net/if_inet6 ]]; }; then continue; fi
      if ! kernel_allows "$family" "$port" && ! grep -q "^$port $family .* ssh\$" <<<"$2"; then
        PROOF_WRONG+="$(text proof_no_rule "$port" "$family")"$'\n'
      fi
    done
  done
  # shellcheck disable=SC2034 # the step reads it
  if ((connected)); then PROOF_BY=connection; else PROOF_BY=rules; fi
  [[ -z $PROOF_WRONG ]]
}
