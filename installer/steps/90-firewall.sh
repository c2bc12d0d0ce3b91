# shellcheck shell=bash
# UFW lets SSH in and keeps the rest out. Nobody is locked out on the way: every SSH port is allowed
# first, the way back is armed, and only a new connection from outside takes it away again. What is
# there already is respected: an active UFW, its rules, other firewalls.

readonly API_PORT=8000 DATABASE_PORT=5432

firewall_check() {
  local why
  firewall_look
  if ufw_active && ! undo_armed; then
    firewall_check_active
    return
  fi
  if ! is_root; then
    say firewall_not_root
    firewall_tell
    return 1
  elif undo_armed; then say firewall_pending; elif why=$(firewall_obstacle); then
    firewall_skip "$why"
    return 0
  fi
  if [[ -n $FIREWALL_DENIED ]]; then
    firewall_skip denied
    return 0
  fi
  firewall_tell
  if [[ ${ASSUME_YES:-no} == no && ($AUTO == yes || $DRY_RUN == no) ]] && ! can_ask; then
    firewall_left_off
    return 0
  fi
  return 1
}

# Nothing is wanted of an active UFW but the SSH ports, and the API's port where it was asked for.
firewall_check_active() {
  step_note firewall active
  if [[ -n $FIREWALL_DENIED ]]; then say firewall_denied "$FIREWALL_DENIED"; fi
  if ufw_ipv6 || ! ssh_uses_ipv6 "$FIREWALL_ENDPOINTS"; then :; else say firewall_six_out; fi
  firewall_warn
  [[ -n $FIREWALL_MISSING ]] || ! api_rules_right || return 0
  firewall_tell
  return 1
}

firewall_apply() {
  FIREWALL_RESULT=enabled
  if ufw_active && ! undo_armed; then
    firewall_allow
    api_rules_apply
    FIREWALL_RESULT=active
    return
  fi
  if undo_armed; then undo_now || fail 1 S365 "$(text firewall_undo_failed)" "" \
    "$(text firewall_undo_failed_remedy)"; fi
  if ! ask_yes ask_firewall no "$FIREWALL_PORTS"; then
    FIREWALL_RESULT=declined
    firewall_left_off
    return
  fi
  ufw_installed || apt_install ufw
  if ! filter_works || ! run_logged check-requirements /usr/share/ufw/check-requirements -f; then
    FIREWALL_RESULT=skipped
    firewall_skip no_right
    return
  fi
  firewall_allow
  api_rules_apply
  firewall_enable
}

firewall_verify() {
  case $FIREWALL_RESULT in
    enabled) ufw_active && firewall_look && [[ -z $FIREWALL_MISSING ]] ;;
    active) firewall_look && [[ -z $FIREWALL_MISSING ]] && api_rules_right ;;
    *) ! ufw_active ;;
  esac
}

# What there is: the endpoints and ports of SSH, which of them UFW's rules don't let in yet, and for
# which its rules say no.
firewall_look() {
  local port four six
  api_senders >/dev/null
  FIREWALL_ENDPOINTS=$(ssh_endpoints)
  FIREWALL_PORTS=$(ssh_ports "$FIREWALL_ENDPOINTS" | paste -sd ' ')
  FIREWALL_MISSING='' FIREWALL_DENIED=''
  for port in $FIREWALL_PORTS; do
    four=$(ufw_rule "$port" 4)
    six=$(ufw_rule "$port" 6)
    if [[ $four == deny || $six == deny ]]; then
      FIREWALL_DENIED+="${FIREWALL_DENIED:+ }$port"
    elif port_missing "$four" "$six"; then
      FIREWALL_MISSING+="${FIREWALL_MISSING:+ }$port"
    fi
  done
  step_note ssh_ports "$FIREWALL_PORTS"
}

# Whether a port needs a rule of ours. Where UFW is active, rules for some senders are the owner's
# will; where it is not, everybody gets in today, and so nobody may be left out tomorrow. A rule of
# limit stays what it is: allowing the same port would replace it.
port_missing() { # RULE OF IPV4, RULE OF IPV6
  local four=$1 six=$2
  ufw_ipv6 || firewall_wants_ipv6 || six=$four
  case $four:$six in
    open:open | limit:* | *:limit) return 1 ;;
    none:none | open:none | none:open) return 0 ;;
  esac
  ! ufw_active || undo_armed
}

# IPV6=no makes UFW drop all of IPv6: that is changed only where it would lock SSH out.
firewall_wants_ipv6() { ! ufw_active && ! ufw_ipv6 && ssh_uses_ipv6 "$FIREWALL_ENDPOINTS"; }

firewall_left_off() {
  say firewall_off "$(firewall_command)"
  step_note firewall off
  step_note firewall_command "$(firewall_command)"
}

# The command that does what was left out.
firewall_command() {
  printf '%s' "sudo $ROOT/install_sophia_llm.sh --step firewall"
  [[ -z $SSH_PORT ]] || printf ' --ssh-port %s' "$SSH_PORT"
  printf ' --auto --auto-assume-yes'
}

firewall_skip() { # REASON
  say firewall_skipped
  case $1 in
    no_systemd) say firewall_no_systemd ;;
    firewalld) say firewall_firewalld ;;
    persistent) say firewall_persistent ;;
    no_right) say firewall_no_right ;;
    closed_already)
      say firewall_closed_already
      closing_rules | sed 's/^/        /'
      ;;
    builtins)
      say firewall_builtins
      foreign_rules | sed 's/^/        /'
      ;;
    denied)
      say firewall_denied "$FIREWALL_DENIED"
      LC_ALL=C ufw show added 2>/dev/null | sed -n 's/^ufw /        ufw /p'
      ;;
  esac
  step_note firewall skipped
  step_note firewall_reason "$1"
}

# The ports, where each was found, and the rules that are to come.
firewall_tell() {
  local port others rule
  if [[ -z $FIREWALL_PORTS ]]; then say firewall_no_ssh; fi
  for port in $FIREWALL_PORTS; do
    say firewall_port "$port" "$(awk -v port="$port" '$1 == port {print $3}' \
      <<<"$FIREWALL_ENDPOINTS" | sort -u | paste -sd ' ')"
  done
  others=$(foreign_rules)
  if [[ -n $others ]]; then
    say firewall_kept
    printf '        %s\n' "${others//$'\n'/$'\n'        }"
  fi
  for port in $FIREWALL_MISSING; do say firewall_rule "ufw allow $port/tcp"; done
  api_rules_missing | while IFS= read -r rule; do say firewall_rule "ufw allow $rule"; done
  api_rules_surplus | while IFS= read -r rule; do say firewall_rule "ufw delete allow $rule"; done
  if ! ufw_active; then
    if firewall_wants_ipv6; then say firewall_six_change; fi
    say firewall_rule "ufw enable"
  fi
  firewall_warn
}

# Ports of Sophia's that others' rules, or a policy of others', leave open to everybody.
firewall_warn() {
  local port
  for port in "$API_PORT" "$DATABASE_PORT"; do
    if ufw_opens "$port"; then say firewall_world "$port"; fi
  done
  if [[ $(ufw_default DEFAULT_INPUT_POLICY) == ACCEPT ]]; then say firewall_policy; fi
  if systemctl is-enabled --quiet nftables 2>/dev/null; then say firewall_nftables; fi
}

firewall_allow() {
  local port
  if firewall_wants_ipv6; then
    ufw_set_ipv6 yes || fail 1 S361 "$(text firewall_no_write "$(ufw_defaults)")" "" \
      "$(text no_folder_remedy)"
    say firewall_six_changed
  fi
  for port in $FIREWALL_MISSING; do
    ufw_whole allow "$port/tcp" || fail 1 S362 "$(text firewall_rule_failed "$port")" \
      "" "$(text firewall_log "$LOG_FILE")"
  done
}

# Enables UFW with the way back armed, and takes it away only when SSH is proved.
firewall_enable() {
  local targets='' before=''
  if proof_begin; then
    targets=$(proof_targets "$FIREWALL_ENDPOINTS")
    before=$(proof_look "$targets")
  fi
  undo_arm || {
    undo_disarm || true
    fail 1 S363 "$(text firewall_no_undo)" "" "$(text firewall_log "$LOG_FILE")"
  }
  FIREWALL_BEGIN=$SECONDS
  FIREWALL_PROVED=no
  on_exit_add firewall_unproved
  if ! ufw_whole --force enable; then
    firewall_unproved
    fail 1 S364 "$(text firewall_not_enabled)" "$(text firewall_undone)" "$(text firewall_log "$LOG_FILE")"
  fi
  say firewall_enabled "$(undo_seconds)"
  if ! prove_ssh "$FIREWALL_PORTS" "$before"; then
    firewall_unproved
    fail 1 S366 "$(text firewall_not_proved)" "${PROOF_WRONG%$'\n'}" "$(text firewall_not_proved_remedy)"
  fi
  proof_end
  if [[ $PROOF_BY == connection ]]; then
    say firewall_proved "$(awk '$4 == "ssh" {print ($2 == 6 ? "[" $3 "]" : $3) ":" $1}' <<<"$before" |
      paste -sd ' ')"
  else
    say firewall_proved_by_rules
  fi
  step_note firewall_proof "$PROOF_BY"
  if ! firewall_confirm; then
    firewall_unproved
    FIREWALL_RESULT=undone
    say firewall_not_confirmed
    firewall_left_off
    return
  fi
  if ! undo_disarm; then
    FIREWALL_PROVED=yes
    fail 1 S367 "$(text firewall_too_late)" "" "$(text firewall_too_late_remedy)"
  fi
  FIREWALL_PROVED=yes
  step_note firewall enabled
}

# The end of an attempt that was not proved, also when the program is ended in the middle.
firewall_unproved() {
  [[ ${FIREWALL_PROVED:-yes} == no ]] || return 0
  FIREWALL_PROVED=yes
  undo_now || true # the timer is armed still and tries until it works
}

# A person at a terminal is the last proof: from a second window they come in, or it is undone.
firewall_confirm() {
  local answer left port host
  if [[ ${ASSUME_YES:-no} == yes ]] || ! can_ask || [[ -z $FIREWALL_PORTS ]]; then return 0; fi
  port=$(awk '$3 == "session" {print $1; exit}' <<<"$FIREWALL_ENDPOINTS")
  host=$(awk '$3 == "session" {print $2; exit}' <<<"$FIREWALL_ENDPOINTS")
  say firewall_second_session "$(($(undo_seconds) - SECONDS + FIREWALL_BEGIN))" \
    "ssh -p ${port:-${FIREWALL_PORTS%% *}} ${SUDO_USER:-$(id -un)}@${host:-$(uname -n)}"
  while left=$(($(undo_seconds) - 3 - SECONDS + FIREWALL_BEGIN)) && ((left > 0)); do
    printf '%s ' "$(text firewall_came_in)" >&2
    IFS= read -r -t "$left" answer || return 1
    case ${answer,,} in
      y | yes | s | sim) return 0 ;;
      n | no | nao | não) return 1 ;;
    esac
  done
  return 1
}

# The API's port: closed, unless SOPHIA_OPEN_API_PORT=yes and SOPHIA_OPEN_API_FROM name who may come.

firewall_setting() { # KEY; of this run, else of the env file
  if [[ -v GIVEN[$1] ]]; then printf '%s' "${GIVEN[$1]}"; else env_get "$1" 2>/dev/null || true; fi
}

# The networks that may come to the API, one a line, as UFW writes them; none where nobody asked.
api_senders() {
  local from
  [[ $(firewall_setting SOPHIA_OPEN_API_PORT) == [yY][eE][sS] ]] || return 0
  from=$(firewall_setting SOPHIA_OPEN_API_FROM)
  FROM=$from "$(system_python)" -I -c '
import ipaddress, os, sys
senders = os.environ["FROM"].replace(",", " ").split()
try:
    for sender in senders:
        if sender != "any":
            network = ipaddress.ip_network(sender)
            if network.prefixlen == 0:
                raise ValueError("said as any")
            alone = network.prefixlen == network.max_prefixlen
            sender = str(network.network_address if alone else network)
        print(sender)
except ValueError:
    sys.exit(1)
sys.exit(not senders)' || fail 2 S368 "$(text bad_api_sender)" "" "$(text bad_api_sender_remedy)"
}

# The rules that are wanted for the API, one a line, as `ufw show added` writes them.
api_rules_wanted() {
  local sender
  for sender in $(api_senders); do
    if [[ $sender == any ]]; then echo "$API_PORT/tcp"; else
      echo "from $sender to any port $API_PORT proto tcp"
    fi
  done
}

# The rules that we made, known by their comment; with "all", those of others for the same too.
api_rules_there() { # [all]
  ufw_installed && is_root || return 0
  if [[ ${1:-} == all ]]; then
    LC_ALL=C ufw show added 2>/dev/null | sed -nE "s/ comment '.*'\$//; s/^ufw allow //p"
  else
    LC_ALL=C ufw show added 2>/dev/null | sed -nE "s/^ufw allow (.*) comment 'Sophia API'\$/\1/p"
  fi
}

api_rules_missing() { grep -vxF -f <(api_rules_there all) <(api_rules_wanted) || true; }

api_rules_surplus() { grep -vxF -f <(api_rules_wanted) <(api_rules_there) || true; }

api_rules_right() { [[ -z $(api_rules_missing)$(api_rules_surplus) ]]; }

# Makes the rules that are missing and takes away those of ours that nobody asks for any more.
api_rules_apply() {
  local rule missing surplus
  missing=$(api_rules_missing)
  surplus=$(api_rules_surplus)
  # shellcheck disable=SC2086 # the words of a rule
  while IFS= read -r rule; do
    [[ -n $rule ]] || continue
    ufw_whole --force delete allow $rule || fail 1 S362 "$(text firewall_rule_failed "$API_PORT")" \
      "" "$(text firewall_log "$LOG_FILE")"
    say firewall_api_closed "$rule"
  done <<<"$surplus"
  # shellcheck disable=SC2086
  while IFS= read -r rule; do
    [[ -n $rule ]] || continue
    ufw_whole allow $rule comment 'Sophia API' || fail 1 S362 \
      "$(text firewall_rule_failed "$API_PORT")" "" "$(text firewall_log "$LOG_FILE")"
    say firewall_api_open "$rule"
  done <<<"$missing"
}
