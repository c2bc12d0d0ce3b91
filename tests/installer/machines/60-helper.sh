# long
# shellcheck shell=bash
# The root helper on a server: promotion into another owner's file, and what nobody gets from it.

# A service of account rag, which reads /srv/rag/rag.env and tells what it read; it does not come up
# with the model `broken`.
make_rag() {
  as_shell 'set -e
    useradd --system rag
    useradd --create-home --groups sophia maria
    useradd --create-home joao
    install -d -o rag -g rag -m 0755 /srv/rag
    printf "%s\n" "# the assistant" "DB_PASSWORD=\"s3cr3t of rag\"" "GEN_MODEL=old" >/srv/rag/rag.env
    chown rag:rag /srv/rag/rag.env && chmod 0640 /srv/rag/rag.env
    cat >/etc/systemd/system/rag-api.service <<UNIT
[Service]
User=rag
EnvironmentFile=/srv/rag/rag.env
ExecStart=/bin/sh -c "test \$\$GEN_MODEL != broken && echo \$\$GEN_MODEL >/srv/rag/seen && exec sleep infinity"
UNIT
    systemctl daemon-reload && systemctl start rag-api
    sudo -u postgres psql -q sophia -c "INSERT INTO sophia.models (id, kind, base, created_at)
      SELECT name, \$\$adapter\$\$, \$\$base\$\$, now() FROM unnest(ARRAY[\$\$sophia-v9\$\$, \$\$broken\$\$]) name"'
}

by() { # USER COMMAND...
  local user=$1
  shift
  on --user "$user" --workdir / -- "$@"
}

refused() { # CODE COMMAND...
  local code=$1 told
  shift
  if told=$("$@" 2>&1); then give_up "not refused: $*"; fi
  [[ $told == *"$code"* ]] || give_up "not $code: $told"
}

# One message to the helper, as USER; prints the answer.
ask_helper() { # USER JSON
  by "$1" /usr/bin/python3 -I -c 'import socket, sys
talk = socket.socket(socket.AF_UNIX)
talk.connect("/run/sophia/helper.sock")
talk.sendall(sys.argv[1].encode() + b"\n")
talk.shutdown(socket.SHUT_WR)
print(talk.makefile().read())' "$2"
}

scenario_helper_promotes_and_rolls_back() {
  machine_up --from installed
  make_rag
  local before
  before=$(as_shell 'sha256sum /srv/rag/rag.env; stat -c "%U:%G %a" /srv/rag/rag.env')
  refused S446 by maria sophia env declare /srv/rag/rag.env --restart rag-api.service --write
  refused P055 on sophia env declare /srv/rag/rag.env --restart rag-api.service --write
  on sophia env declare /srv/rag/rag.env --restart rag-api.service --write --owner rag --words 'The RAG'
  refused 'ermission' by maria cat /srv/rag/rag.env

  by maria sophia promote run sophia-v9 --no-probe --yes --json
  expect 'the file does not name the model' as_shell 'grep -qx GEN_MODEL=sophia-v9 /srv/rag/rag.env'
  expect 'the service did not read it' as_shell 'grep -qx sophia-v9 /srv/rag/seen'
  expect 'owner or mode changed' test "$(as_shell 'stat -c "%U:%G %a" /srv/rag/rag.env')" = 'rag:rag 640'
  fact 'promoted into a file of another owner, its unit restarted'

  by maria sophia promote rollback --yes --json
  expect 'not as it was' test "$before" = \
    "$(as_shell 'sha256sum /srv/rag/rag.env; stat -c "%U:%G %a" /srv/rag/rag.env')"
  expect 'the service does not read the old one' as_shell 'grep -qx old /srv/rag/seen'
  fact 'rolled back byte for byte'

  as_shell 'token=$(sed -n "s/^FINETUNE_TOKEN=//p" /etc/sophia/sophia.env)
    /usr/bin/python3 -I - "$token" <<CALL
import json, sys, urllib.request
for path, body in (("run", {"model": "sophia-v9", "probe": False}), ("rollback", {})):
    asked = urllib.request.Request("http://127.0.0.1:8000/api/v1/promote/" + path,
        json.dumps({**body, "confirm": True}).encode(),
        {"x-admin-token": sys.argv[1], "content-type": "application/json"})
    print(urllib.request.urlopen(asked, timeout=120).read().decode())
CALL'
  expect 'the API did not put it back' as_shell 'grep -qx old /srv/rag/seen'
  fact 'and by the API'

  refused P002 by maria sophia promote run broken --no-probe --yes
  expect 'a failed promotion left something' test "$before" = \
    "$(as_shell 'sha256sum /srv/rag/rag.env; stat -c "%U:%G %a" /srv/rag/rag.env')"
  expect 'the service is not up again' as_shell 'systemctl is-active rag-api && grep -qx old /srv/rag/seen'
  fact 'a unit that does not stay up: all put back'

  expect 'the journal does not name who did what' test 4 = \
    "$(as_shell 'journalctl --no-pager -t sophia-helper | grep -c "peer=sophia verb=replace person=maria"')"
  expect 'a secret is in the journal' as_shell '! journalctl --no-pager | grep -q "s3cr3t of rag"'
}

scenario_helper_refuses() {
  machine_up --from installed
  make_rag
  on sophia env declare /srv/rag/rag.env --restart rag-api.service --write --owner rag
  local answer
  for answer in '{"verb":"read","file":"/etc/shadow"}' '{"verb":"read","file":"/srv/rag/../../etc/shadow"}' \
    '{"verb":"read","file":"/proc/self/root/srv/rag/rag.env"}'; do
    [[ $(ask_helper maria "$answer") == *P052* ]] || give_up "not refused: $answer"
  done
  for answer in ssh.service 'rag-api.service ssh.service' '--now' 'sophia-step@application.service'; do
    [[ $(ask_helper maria "{\"verb\":\"restart\",\"unit\":\"$answer\"}") == *P053* ]] || give_up "not refused: $answer"
  done
  # the owner of the folder turns the file into a link to what root alone reads
  on --user rag -- bash -c 'mv /srv/rag/rag.env /srv/rag/real && ln -s /etc/shadow /srv/rag/rag.env'
  [[ $(ask_helper maria '{"verb":"read","file":"/srv/rag/rag.env"}') == *P055* ]] || give_up 'a link was followed'
  as_shell 'rm /srv/rag/rag.env; ln /etc/shadow /srv/rag/rag.env'
  [[ $(ask_helper maria '{"verb":"read","file":"/srv/rag/rag.env"}') == *P055* ]] || give_up 'a hard link was read'
  as_shell 'rm /srv/rag/rag.env; mv /srv/rag/real /srv/rag/rag.env'
  [[ $(ask_helper maria '{"verb":"read","file":"/srv/rag/rag.env"}') == *'"ok": true'* ]] || give_up 'it is not read'
  refused 'PermissionError' ask_helper joao '{"verb":"declared"}'
  [[ $(ask_helper root '{"verb":"declared"}') == *'"ok": true'* ]] || give_up 'root is not answered'
  fact 'undeclared files and units, links, hard links and strangers refused'
}

scenario_env_set_and_read_alike() {
  machine_up --from installed
  as_shell 'useradd --create-home --groups sophia maria'
  local value="it's \$HOME \\ \"#\" %n \`id\` ü" told
  told=$(by maria bash -c 'printf "%s\n" "$1" | sophia env set OPENAI_API_KEY --json' - "$value")
  [[ $told == *sophia-api.service* ]] || give_up "it does not say what restarts: $told"
  [[ $told != *'HOME'* ]] || give_up 'the value is shown'
  expect 'owner or mode changed' test "$(as_shell 'stat -c "%U:%G %a" /etc/sophia/sophia.env')" = 'root:sophia 640'
  expect 'no backup for root alone' test \
    "$(as_shell 'stat -c "%U %a" /var/lib/sophia-install/helper/backups/*')" = 'root 600'
  # as a person does: the restarted services read it
  as_shell 'systemctl restart sophia-api sophia-worker'
  expect 'not healthy with it' healthy
  expect 'the value is in the journal' as_shell '! journalctl --no-pager | grep -qF "\$HOME"'
  refused T422 by maria bash -c 'sophia env set SOPHIA_WINDOW_DAYS <<<many'
  fact 'a nasty value set by a member of the group'
  "$FM" push "$MACHINE" "$HERE/read_alike.py" /root/read_alike.py
  fact "$(on /usr/bin/python3 -X utf8 /root/read_alike.py /opt/sophia/current/src) nasty values read alike by bash, systemd and the parser"
}
