#!/usr/bin/env bats
# The run of a server's set-up: what the machine must be, what goes into the env file, JSON, the end.

bats_require_minimum_version 1.5.0

setup() {
  load helpers
  load_library
  make_server_folders
  MODE=server AUTO=yes DRY_RUN=no JSON=no ARGUMENTS=(--auto) UPGRADE=no UNINSTALL=no
  local step
  for step in 11-machine 21-server_packages 31-account 40-packages 41-env 51-postgres 61-application; do
    # shellcheck source=/dev/null
    source "$CHECKOUT/installer/steps/$step.sh"
  done
  pg_clusters() { :; } # this machine's Postgres is none of ours
}

# A machine on which nothing is wrong.
fine_machine() {
  is_root() { true; }
  os_support() { echo known; }
  server_packages_missing() { :; }
  release_present() { true; }
  available_megabytes() { echo 8000; }
  apt_lock_holder() { :; }
  machine_hosts() { :; }
  resume_command() { echo ./install_sophia_llm.sh --auto; }
}

@test "everything that is wrong with a machine is told at once" {
  fine_machine
  is_root() { false; }
  os_support() { echo unknown; }
  os_field() { echo 'Fedora Linux 42'; }
  available_megabytes() { echo 200; }
  free_megabytes() { echo 10; }
  machine_now() { echo 1000; }
  machine_hosts() { echo no-such-host.invalid; }
  SOPHIA_WHEELS=/no/such/folder SOPHIA_PYTHON=/no/python run machine_check
  [ "$status" -eq 3 ]
  [[ $output == *'SOPHIA-S328'*'only root'*'Fedora Linux 42'*/no/python*/no/such/folder*'10 MB are free'*'200 MB are available'*'the clock'*no-such-host.invalid* ]]
}

@test "a machine without names is unavailable (5), one with too little of something failed (1)" {
  fine_machine
  machine_system() { :; }
  machine_hosts() { echo no-such-host.invalid; }
  run machine_check
  [ "$status" -eq 5 ]
  available_megabytes() { echo 200; }
  run machine_check
  [ "$status" -eq 1 ]
}

@test "hosts behind a proxy, and those of packages that are there, are not looked up" {
  release_present() { false; }
  server_packages_missing() { :; }
  [ "$(SOPHIA_WHEELS='' PIP_INDEX_URL=https://me:word@index.example:8443/simple machine_hosts)" = index.example ]
  [ -z "$(https_proxy=http://proxy:3128 machine_hosts)" ]
  [ -z "$(SOPHIA_WHEELS=/tmp machine_hosts)" ]
}

# env_apply without the account, which only root may make.
settle_env() {
  chown() { :; }
  env_ask() { :; }
  env_apply
}

@test "the env file gets what was given, defaults and new secrets; again it stays byte for byte" {
  OPENAI_API_KEY=given-key FINETUNE_DIR=./mine SOPHIA_WINDOW_DAYS=7 SOPHIA_WHEELS=/tmp take_environment
  settle_env
  [ "$(env_get OPENAI_API_KEY)" = given-key ]
  [ "$(env_get FINETUNE_DIR)" = /var/lib/sophia/mine ]
  [ "$(env_get SOPHIA_WINDOW_DAYS)" = 7 ]
  [ "$(env_get ALLOW_FINETUNE)" = false ]
  [[ $(env_get FINETUNE_TOKEN) =~ ^[A-Za-z0-9]{40}$ ]]
  [[ $(env_get DB_PASS) =~ ^[A-Za-z0-9]{40}$ ]]
  [ "$(env_get AION_TRAIN_ROOT)" = /var/lib/sophia/trainer ]
  ! env_has SOPHIA_WHEELS
  local before
  before=$(sha256sum "$ENV_FILE")
  settle_env
  GIVEN=()
  settle_env
  [ "$before" = "$(sha256sum "$ENV_FILE")" ]
}

@test "what people changed in the env file stays, comments too; what is given anew is changed alone" {
  settle_env
  sed -i 's/^ALLOW_FINETUNE=.*/# ours\nALLOW_FINETUNE=true/' "$ENV_FILE"
  local token
  token=$(env_get FINETUNE_TOKEN)
  GIVEN=([GEN_MODEL]='a model')
  settle_env
  [ "$(env_get ALLOW_FINETUNE)" = true ]
  [ "$(env_get GEN_MODEL)" = 'a model' ]
  [ "$(env_get FINETUNE_TOKEN)" = "$token" ]
  grep -qx '# ours' "$ENV_FILE"
}

@test "a database of the operator's gets no new password" {
  GIVEN=([DATABASE_URL]=postgresql://me@db.example/prod)
  settle_env
  ! env_has DB_PASS
  env_has FINETUNE_TOKEN
}

@test "a given value with a line feed is refused, and no file is left" {
  GIVEN=([GEN_MODEL]=$'one\ntwo')
  run settle_env
  [ "$status" -eq 2 ]
  [[ $output == *'SOPHIA-S333'* && $output != *two* ]]
  [ -z "$(ls -A "${ENV_FILE%/*}")" ]
}

@test "what --auto-env gives stands below the environment, and the set-up's own keys reach no file" {
  printf 'GEN_MODEL=file\nEXPANSION_MODEL=file\nSOPHIA_EXTRAS=api\nSOPHIA_DATA_DIR=/x\nhttp_proxy=http://p:1\n' \
    >"$BATS_TEST_TMPDIR/given"
  unset http_proxy SOPHIA_EXTRAS
  AUTO_ENV=$BATS_TEST_TMPDIR/given GEN_MODEL=environment
  take_environment
  load_auto_env
  [ "${GIVEN[GEN_MODEL]}" = environment ]
  [ "${GIVEN[EXPANSION_MODEL]}" = file ]
  [ "${GIVEN[http_proxy]}" = http://p:1 ]
  [ "$http_proxy" = http://p:1 ]
  [ "$SOPHIA_EXTRAS" = api ]
  [ -z "${GIVEN[SOPHIA_EXTRAS]:-}${GIVEN[SOPHIA_DATA_DIR]:-}" ]
}

@test "every setting of Sophia that an environment may give is taken" {
  local key
  while read -r key; do
    [[ $key == SOPHIA_* ]] || is_one_of "$key" "${FIELD_KEYS[@]}" || { echo "not taken: $key"; false; }
  done < <(sed -n '/^SURROUNDINGS/,/^)/p' "$REPOSITORY/sophia_tui/settings.py" | grep -oE '"[A-Za-z_]+"' | tr -d '"'
    grep -oE '^ {4,8}"[A-Z][A-Z0-9_]+",$|_setting\("[A-Z][A-Z0-9_]+"' \
    "$REPOSITORY/sophia_tui/settings.py" | grep -oE '[A-Z][A-Z0-9_]+' | grep -vE '^[A-Z][0-9]{3}$' | sort -u)
}

@test "a store elsewhere needs no Postgres here" {
  local url
  for url in postgresql://me@db.example:5432/x 'postgresql://me:p@10.0.0.1/x'; do
    GIVEN=([SOPHIA_STORE_URL]=$url)
    store_elsewhere || { echo "$url"; false; }
  done
  for url in postgresql://me@localhost/x postgresql://127.0.0.1:5433/x postgresql:///x ''; do
    GIVEN=([SOPHIA_STORE_URL]=$url)
    ! store_elsewhere || { echo "$url"; false; }
  done
}

@test "a step that was cut off is known to the next run, and forgotten when it is done" {
  thing_check() { return 1; }
  thing_apply() { [ "$(state_get step)" = thing ] && made=yes; }
  thing_verify() { [ "$made" = yes ]; }
  MESSAGES_EN[title_thing]='The thing' made=no
  run_step thing 1
  [ "$made" = yes ]
  run state_get step
  [ "$status" -eq 1 ]
  [ "${CHANGED_STEPS[*]}" = thing ]
}

@test "with --dry-run a step is planned and not applied" {
  thing_check() { return 1; }
  thing_apply() { false; }
  MESSAGES_EN[title_thing]='The thing' MESSAGES_EN[plan_thing]='make the thing'
  DRY_RUN=yes
  run run_step thing 1
  [ "$status" -eq 0 ]
  [[ $output == *'would be done: make the thing'* ]]
  [ ! -e "$STATE_FOLDER" ]
}

@test "the summary is true JSON, whatever is in it" {
  CHANGED_STEPS=(env) UNCHANGED_STEPS=(machine)
  step_note odd $'a"b\\c\nd\te'
  json_summary 'done' 3>"$BATS_TEST_TMPDIR/json"
  python3 - "$BATS_TEST_TMPDIR/json" <<'PYTHON'
import json, sys
found = json.load(open(sys.argv[1]))
assert found["odd"] == 'a"b\\c\nd\te', found
assert found["changed"] == ["env"] and found["result"] == "done", found
PYTHON
}

@test "as an ordinary user --json says in JSON why it failed, and nothing else on standard output" {
  [ "$EUID" -eq 0 ] || skip 'needs root to become an ordinary user'
  chmod 755 "$BATS_RUN_TMPDIR" "$BATS_TEST_TMPDIR" "${BATS_TEST_TMPDIR%/*}"
  run --separate-stderr setpriv --reuid 65534 --regid 65534 --clear-groups \
    bash "$CHECKOUT/install_sophia_llm.sh" --auto --json
  [ "$status" -eq 3 ]
  python3 -c 'import json, sys; found = json.loads(sys.argv[1]); assert found["code"] == "SOPHIA-S328"' "$output"
  [[ $stderr == *'only root'* ]]
}

@test "a release is named by what is in it" {
  local first
  cp -r -- "$REPOSITORY"/{README.md,LICENSE,finetune} "$CHECKOUT/"
  first=$(release_name)
  [[ $first =~ ^[0-9.]+-[0-9a-f]{12}$ ]]
  mkdir -p "$CHECKOUT/sophia_tui/__pycache__" && touch "$CHECKOUT/sophia_tui/__pycache__/x.pyc"
  [ "$(release_name)" = "$first" ]
  echo '#' >>"$CHECKOUT/sophia_tui/errors.py"
  [ "$(release_name)" != "$first" ]
}

@test "the health check believes only an API that answers and guards" {
  local page
  cat >"$BATS_TEST_TMPDIR/api.py" <<'PYTHON'
import http.server, sys
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        health, guarded, token = sys.argv[1:4]
        if self.path == "/health":
            status, body = 200, health
        else:
            right = self.headers.get("x-admin-token") == "right"
            status, body = (200 if right else int(guarded)), "{}"
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body.encode())
    def log_message(self, *_): pass
server = http.server.HTTPServer(("127.0.0.1", 0), Page)
print(server.server_port, flush=True)
server.serve_forever()
PYTHON
  ask() { # HEALTH GUARDED TOKEN
    python3 "$BATS_TEST_TMPDIR/api.py" "$1" "$2" x >"$BATS_TEST_TMPDIR/port" &
    local server=$! port
    until port=$(cat "$BATS_TEST_TMPDIR/port") && [ -n "$port" ]; do kill -0 "$server"; done
    printf 'FINETUNE_TOKEN=%s\n' "$3" >"$ENV_FILE"
    sed "s/127.0.0.1:8000/127.0.0.1:$port/" "$CHECKOUT/installer/lib/health.py" >"$CHECKOUT/installer/lib/h.py"
    run python3 -I "$CHECKOUT/installer/lib/h.py" "$ENV_FILE" 0
    kill "$server"
  }
  ask '{"status":"ok"}' 401 right
  [ "$status" -eq 0 ]
  ask '{"status":"unavailable"}' 401 right
  [ "$status" -eq 1 ]
  ask '{"status":"ok"}' 200 right
  [ "$status" -eq 1 ]
  [[ $output == *'without a token: 200'* ]]
  ask '{"status":"ok"}' 401 wrong
  [ "$status" -eq 1 ]
  [[ $output == *'with the token: 401'* && $output != *wrong* ]]
}

@test "the hosts that are asked for packages are those of apt and of pip" {
  release_present() { false; }
  server_packages_missing() { echo ufw; }
  unset http_proxy https_proxy HTTPS_PROXY PIP_INDEX_URL SOPHIA_WHEELS
  apt-config() { :; }
  [[ "$(set -e; machine_hosts | sort -u | xargs)" == *pypi.org* ]]
}
