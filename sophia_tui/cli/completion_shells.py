# ruff: noqa: E501  (lines of shells, which have no other way to break)
"""The three shells' completion scripts, to be filled with the table of commands.

Each does the same: finds subject, verb and how many places are filled in what stands before the
cursor, then offers what fits there. Names come from `sophia`, are never expanded by the shell, and
are waited for two seconds at most.
"""

BASH = r"""# Completion of sophia for bash. Made by `sophia completion bash`, version {version}.

_sophia_verbs() {{
  case $1 in
{verbs}
  esac
}}

_sophia_table() {{
  case $1 in
{table}
  esac
}}

# The kind of the value that an option takes; false where it takes none.
_sophia_kind() {{ # OPTION
  local each
  for each in $options $shared; do
    if [[ ${{each%%=*}} == "$1" && $each == *=* ]]; then
      kind=${{each#*=}}
      return 0
    fi
  done
  return 1
}}

_sophia_offer() {{ # KIND
  case $1 in
    @*) timeout 2 sophia completion names "${{1#@}}" </dev/null 2>/dev/null ;;
    '' | -) ;;
    *) printf '%s\n' "${{1//|/$'\n'}}" ;;
  esac
}}

_sophia_candidates() {{
  local place
  if [[ -n $wants ]]; then
    _sophia_offer "$kind"
  elif [[ $cur == --*=* && $ended == no ]]; then
    if _sophia_kind "${{cur%%=*}}"; then
      _sophia_offer "$kind" | while IFS= read -r place; do printf '%s\n' "${{cur%%=*}}=$place"; done
    fi
  elif [[ $cur == -* && $ended == no ]]; then
    for place in $options $shared; do printf '%s\n' "${{place%%=*}}"; done
  elif [[ -z $subject ]]; then
    printf '%s\n' $subjects
  else
    if [[ -z $verb && -n $verbs && ${{#filled[@]}} -eq 0 ]]; then printf '%s\n' $verbs; fi
    read -ra places <<<"$places"
    place=${{places[${{#filled[@]}}]:-}}
    if [[ ${{#places[@]}} -gt 1 && ${{places[-1]}} == ... && ${{#filled[@]}} -ge $((${{#places[@]}} - 1)) ]]; then
      place=${{places[-2]}}
    fi
    _sophia_offer "$place"
  fi
}}

_sophia() {{
  local subjects={subjects} shared={shared}
  local line=${{COMP_LINE:0:COMP_POINT}} cur='' word subject='' verb='' verbs='' options='' places=''
  local wants='' kind='' ended=no prefix=''
  local -a words=() filled=()
  read -ra words <<<"$line"
  if [[ $line != *[[:space:]] && ${{#words[@]}} -gt 1 ]]; then
    cur=${{words[-1]}}
    unset 'words[-1]'
  fi
  for word in "${{words[@]:1}}"; do
    if [[ -n $wants ]]; then
      wants=''
    elif [[ $word == -- ]]; then
      ended=yes
    elif [[ $word == -* && $ended == no ]]; then
      if [[ $word != *=* ]] && _sophia_kind "$word"; then wants=yes; fi
    elif [[ -z $subject ]]; then
      subject=$word
      _sophia_verbs "$subject"
      _sophia_table "$subject.run"
    elif [[ -z $verb && ${{#filled[@]}} -eq 0 && " $verbs " == *" $word "* ]]; then
      verb=$word
      _sophia_table "$subject.$verb"
    else
      filled+=("$word")
    fi
  done
  COMPREPLY=()
  # readline completes what stands behind the last of its own word breaks
  case $cur in
    *[:=@]*) prefix=${{cur%"${{cur##*[:=@]}}"}} ;;
  esac
  while IFS= read -r word; do
    if [[ $word == "$cur"* && -n $word ]]; then
      word=${{word#"$prefix"}}
      COMPREPLY+=("$(printf '%q' "$word")")
    fi
  done < <(_sophia_candidates)
}}

complete -o default -F _sophia sophia
"""

ZSH = r"""#compdef sophia
# Completion of sophia for zsh. Made by `sophia completion zsh`, version {version}.

_sophia_verbs() {{
  case $1 in
{verbs}
  esac
}}

_sophia_table() {{
  case $1 in
{table}
  esac
}}

# The kind of the value that an option takes; false where it takes none.
_sophia_kind() {{ # OPTION
  local each
  for each in $options $shared; do
    if [[ ${{each%%=*}} == $1 && $each == *=* ]]; then
      kind=${{each#*=}}
      return 0
    fi
  done
  return 1
}}

_sophia_offer() {{ # KIND
  local -a found
  case $1 in
    @*)
      found=(${{(f)"$(timeout 2 sophia completion names ${{1#@}} </dev/null 2>/dev/null)"}})
      compadd -- $found
      ;;
    '' | -) _files ;;
    *)
      found=(${{(s:|:)1}})
      compadd -- $found
      ;;
  esac
}}

_sophia() {{
  local -a subjects shared options places verbs filled
  subjects=({subjects})
  shared=({shared})
  local word subject='' verb='' wants='' kind='' ended=no place=''
  for word in ${{words[2,CURRENT-1]}}; do
    if [[ -n $wants ]]; then
      wants=''
    elif [[ $word == -- ]]; then
      ended=yes
    elif [[ $word == -* && $ended == no ]]; then
      if [[ $word != *=* ]] && _sophia_kind $word; then wants=yes; fi
    elif [[ -z $subject ]]; then
      subject=$word
      _sophia_verbs $subject
      _sophia_table $subject.run
    elif [[ -z $verb && $#filled -eq 0 && -n ${{(M)verbs:#$word(:*|)}} ]]; then
      verb=$word
      _sophia_table $subject.$verb
    else
      filled+=($word)
    fi
  done
  if [[ -n $wants ]]; then
    _sophia_offer "$kind"
  elif [[ $PREFIX == --*=* && $ended == no ]]; then
    if _sophia_kind ${{PREFIX%%=*}}; then
      compset -P '*='
      _sophia_offer "$kind"
    fi
  elif [[ $PREFIX == -* && $ended == no ]]; then
    compadd -- ${{options%%=*}} ${{shared%%=*}}
  elif [[ -z $subject ]]; then
    _describe -t commands command subjects
  else
    if [[ -z $verb && $#verbs -gt 0 && $#filled -eq 0 ]]; then _describe -t commands command verbs; fi
    place=${{places[$#filled + 1]}}
    if [[ ${{places[-1]}} == ... && $#filled -ge $(($#places - 1)) ]]; then place=${{places[-2]}}; fi
    if [[ $#places -gt 0 && ($#filled -lt $#places || ${{places[-1]}} == ...) ]]; then
      _sophia_offer "$place"
    fi
  fi
}}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
  _sophia "$@"
else
  compdef _sophia sophia
fi
"""

FISH = r"""# Completion of sophia for fish. Made by `sophia completion fish`, version {version}.

function __sophia_verbs --no-scope-shadowing
    switch $argv[1]
{verbs}
    end
end

function __sophia_table --no-scope-shadowing
    switch $argv[1]
{table}
    end
end

# The kind of the value that an option takes; false where it takes none.
function __sophia_kind --no-scope-shadowing
    for each in $options $shared
        set -l parts (string split -m 1 = -- $each)
        if test "$parts[1]" = "$argv[1]"; and test (count $parts) -eq 2
            set kind $parts[2]
            return 0
        end
    end
    return 1
end

function __sophia_offer # KIND BEFORE
    set -l before $argv[2]
    switch "$argv[1]"
        case '@*'
            for each in (timeout 2 sophia completion names (string sub -s 2 -- $argv[1]) </dev/null 2>/dev/null)
                echo $before$each
            end
        case '' -
            __fish_complete_path (commandline -ct)
        case '*'
            for each in (string split '|' -- $argv[1])
                echo $before$each
            end
    end
end

function __sophia_complete
    set -l options
    set -l places
    set -l verbs
    set -l filled
    set -l subject ''
    set -l verb ''
    set -l wants no
    set -l kind ''
    set -l ended no
    {subjects}
    {shared}
    set -l cur (commandline -ct)
    set -l before (commandline -opc)
    for word in $before[2..]
        if test $wants = yes
            set wants no
        else if test "$word" = --
            set ended yes
        else if string match -q -- '-*' $word; and test $ended = no
            if not string match -q -- '*=*' $word; and __sophia_kind $word
                set wants yes
            end
        else if test -z "$subject"
            set subject $word
            __sophia_verbs $subject
            __sophia_table $subject.run
        else if test -z "$verb"; and test (count $filled) -eq 0; and string match -q -- "$word"\t'*' $verbs
            set verb $word
            __sophia_table $subject.$verb
        else
            set -a filled $word
        end
    end
    if test $wants = yes
        __sophia_offer "$kind" ''
    else if string match -q -- '--*=*' $cur; and test $ended = no
        set -l parts (string split -m 1 = -- $cur)
        if __sophia_kind $parts[1]
            __sophia_offer "$kind" $parts[1]=
        end
    else if string match -q -- '-*' $cur; and test $ended = no
        for each in $options $shared
            string split -m 1 -f 1 = -- $each
        end
    else if test -z "$subject"
        printf '%s\n' $subjects
    else
        if test -z "$verb"; and test (count $filled) -eq 0; and test (count $verbs) -gt 0
            printf '%s\n' $verbs
        end
        set -l last (count $places)
        set -l next (math (count $filled) + 1)
        if test $last -gt 0; and test "$places[$last]" = ...
            set last (math $last - 1)
            if test $next -gt $last
                set next $last
            end
        end
        if test $next -le $last
            __sophia_offer "$places[$next]" ''
        end
    end
end

complete -c sophia -f -a '(__sophia_complete)'
"""
