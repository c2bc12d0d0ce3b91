# long
# shellcheck shell=bash disable=SC2016
# What watches and helps a server: figures, guesses of tokens, completion, the quiet mode, and the
# archive for support.

# The status of GET PATH, asked with the token that `$token` holds inside.
ask_status='ask() { TOKEN=$2 /opt/sophia/current/venv/bin/python -I -c "
import os, sys, httpx
headers = {\"x-admin-token\": os.environ[\"TOKEN\"]} if os.environ[\"TOKEN\"] else {}
found = httpx.get(\"http://127.0.0.1:8000\" + sys.argv[1], headers=headers, timeout=60)
print(found.status_code)
" "$1"; }
guess() { /opt/sophia/current/venv/bin/python -I -c "
import httpx
with httpx.Client(base_url=\"http://127.0.0.1:8000\", timeout=60) as http:
    answers = [http.get(\"/metrics\", headers={\"x-admin-token\": str(n)}) for n in range(20)]
print(answers[0].status_code, answers[-1].status_code)
"; }
token=$(sed -n "s/^FINETUNE_TOKEN=//p" /etc/sophia/sophia.env | tr -d "\"'\''")
'

scenario_support() {
  local said
  machine_up --from installed
  expect 'the server is not healthy' healthy
  as_shell 'useradd --create-home --groups sophia ana'

  said=$(as_shell "$ask_status"'
    echo "$(ask /metrics "") $(ask /metrics "$token")"
    echo "$(guess) $(ask /metrics "$token") $(ask /health "")"')
  expect "figures and guesses: $said" test "$said" == $'401 200\n401 429 200 200'

  # systemd says "started" when requests are answered, not before
  said=$(as_shell "$ask_status"'
    for _ in 1 2 3; do systemctl restart sophia-api && ask /openapi.json "$token"; done')
  expect "after restarts: $said" test "$said" == $'200\n200\n200'

  expect 'bash does not complete' as_shell '
    . /usr/share/bash-completion/completions/sophia
    COMP_LINE="sophia jobs sho" COMP_POINT=15
    _sophia
    [[ ${COMPREPLY[*]} == show ]]'
  expect 'a member cannot complete names' as_shell 'runuser -u ana -- sophia completion names jobs'

  said=$(as_shell 'cd / && runuser -u ana -- sophia --quiet jobs list 2>&1; echo $?')
  expect "the quiet mode says: $said" test "$said" == 0

  expect 'no archive for support' as_shell '
    set -e
    cd /home/ana
    runuser -u ana -- sophia --json setup bundle >/root/bundle.json
    path=$(sed -n "s/.*\"path\": \"\([^\"]*\)\".*/\1/p" /root/bundle.json)
    runuser -u ana -- test -r "$path"
    mkdir /root/bundle && tar --extract --file "$path" --directory /root/bundle --strip-components 1
    test -s /root/bundle/manifest.json
    grep -q "The HTTP API listens" /root/bundle/journal/sophia-api.txt
    grep -q "\"active\": \"active\"" /root/bundle/services.json'
  expect 'the archive holds a secret' as_shell '
    for key in DB_PASS FINETUNE_TOKEN; do
      value=$(sed -n "s/^$key=//p" /etc/sophia/sophia.env | tr -d "\"'\''")
      [[ ${#value} -ge 20 ]] || exit 1
      ! grep -rqF -- "$value" /root/bundle || exit 1
    done'
  fact "$(as_shell 'ls /root/bundle -R | wc -l') files, $(as_shell 'stat -c %s /var/lib/sophia/bundles/*') bytes"
}
