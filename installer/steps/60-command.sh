# shellcheck shell=bash
# A link named sophia where commands are looked for, if that name is free or already ours.

command_link() {
  if is_root; then echo /usr/local/bin/sophia; else echo "${HOME:?}/.local/bin/sophia"; fi
}

# Whether the name belongs to somebody else: a file, or a link to no environment of a checkout.
command_taken() {
  local link target
  link=$(command_link)
  [[ -e $link || -L $link ]] || return 1
  target=$(readlink -- "$link") || return 0
  [[ $target != */.venv/bin/sophia ]]
}

command_check() {
  if command_taken; then
    say command_taken "$(command_link)" "$VENV/bin/sophia"
    return 0
  fi
  [[ $(readlink -- "$(command_link)" 2>/dev/null) == "$VENV/bin/sophia" ]]
}

command_apply() {
  local link folder
  link=$(command_link)
  folder=${link%/*}
  if ! mkdir -p -- "$folder" || ! ln -sfn -- "$VENV/bin/sophia" "$link"; then
    fail 1 S315 "$(text no_folder "$folder")" "" "$(text no_folder_remedy)"
  fi
  say command_linked "$link"
  [[ :$PATH: == *":$folder:"* ]] || say command_path "$folder" "$VENV/bin/sophia"
}

command_verify() { command_check; }
