# shellcheck shell=bash
# What the core of a server set-up says: flags, account, packages, env file, application, summary.

# shellcheck disable=SC2034,SC2154 # read by text() in log.sh
MESSAGES_EN+=(
  [usage]='Sets Sophia up on this machine. It can be run again at any time: it changes only what is not as
it should be, goes on where it stopped and keeps every password.

  sudo ./install_sophia_llm.sh            set this server up, with questions
  sudo ./install_sophia_llm.sh --auto     the same without a question or a terminal
  ./install_sophia_llm.sh --demo          no server: everything in this folder, and the whole
                                          loop on sample data (see --demo --help)

  --auto                ask nothing; take the defaults
  --auto-env FILE       read settings from FILE first (KEY=VALUE lines); what the environment
                        gives stands above it
  --auto-assume-yes     answer yes to every question (switching the firewall on, say)
  --auto-open-menu      open the console at the end, where there is a terminal
  --dry-run             show what would be done, change nothing
  --ssh-port N          a port of SSH that the firewall must leave open, beside those found
  --upgrade             put this version in the place of the one that runs, after a backup
  --rotate-db-password  give the database role a new password
  --uninstall [--purge] remove Sophia; with --purge its data, database and settings too
  --step NAME           only this step:
                        machine server_packages account env postgres application
                        migrate units firewall health summary
  --json                a summary as JSON on standard output, all else on standard error
  --lang LANG           the language of the messages: en or pt_BR (default: the environment)
  --help                this text

Settings of Sophia in the environment (OPENAI_API_KEY, DATABASE_URL, DB_PASS, GEN_MODEL,
SOPHIA_...) go into /etc/sophia/sophia.env. Besides, for the set-up itself:

  SOPHIA_EXTRAS       what to install (default: training,api,hosted,serving,evaluation)
  SOPHIA_WHEELS       a folder of wheels to install from, without the network
  SOPHIA_TORCH_INDEX  a package index to take torch alone from (a build without CUDA, say)
  SOPHIA_PYTHON       the Python to use
  SOPHIA_APT_WAIT     seconds to wait for other programs that use apt (default: 600)
  PIP_INDEX_URL, HF_ENDPOINT, http_proxy, https_proxy, no_proxy   as everywhere

Exit codes: 0 done; 1 failed; 2 wrong options or settings; 3 refused (not root, not confirmed);
4 not found; 5 unavailable (network, packages, database); 75 another set-up is running;
129, 130, 143 ended by a lost connection, ^C or TERM. The log: /var/log/sophia/install.log'
  [flag_needs_value]='The option %s needs a value.'
  [flags_exclude]='%s and %s do not go together.'
  [flag_needs]='%s goes with %s only.'
  [bad_port]='%s is not a port (1 to 65535).'
  [bad_step]='There is no step %s.'
  [interrupted_step]='
Interrupted in the step "%s". What was done is kept; to go on:

    %s
'
  [stopped_before]='An earlier run ended in the step "%s"; this one goes on from there.'
  [unforeseen]='The step %s ended unforeseen (%s, line %s, status %s).'
  [unforeseen_remedy]='The log is %s. What was done is kept; to go on:

    %s
'
  [auto_env_later]='The settings of --auto-env are read after Python was installed.'
  [ask_default]='    %s -> %s (%s)'
  [ask_auto]='asked for nothing'
  [ask_no_terminal]='no terminal: the default'
  [ask_again]='Please answer y or n.'
  [choice_yes]='[Y/n]'
  [choice_no]='[y/N]'
  [word_yes]='yes'
  [word_no]='no'
  [word_nothing]='nothing'
  [env_not_written]='%s could not be written (%s).'
  [env_not_written_remedy]='Free disk space, or check the owner and mode of the folder; nothing was changed.'
  [env_file_missing]='The settings file %s can'\''t be read.'
  [env_file_missing_remedy]='Give the path of a file that is there and may be read.'
  [env_file_wrong]='The settings file %s is refused; nothing was changed.'
  [env_file_wrong_remedy]='Correct these lines. One KEY=VALUE a line; quotes are closed on their line.'
  [env_line_no_assignment]='line %s: no KEY=VALUE, or a name with other signs than A-Z, 0-9 and _'
  [env_line_several_lines]='line %s: the value goes over several lines'
  [env_line_control_sign]='line %s: a control character in the value'
  [env_line_open_quote]='line %s: a quote is opened and not closed'
  [env_line_dangerous]='line %s: this name changes how programs run and is no setting'
  [env_line_twice]='line %s: the name stands more than once'
  [env_line_nul]='line %s: a NUL byte'
  [env_line_no_utf8]='line %s: not UTF-8'
  [env_line_no_file]='it is no regular file (%s)'
  [env_line_too_large]='it is larger than 1 MB (%s)'
  [apt_lock_waited]='    Another program uses apt: %s. Waiting for it ...'
  [apt_lock_kept]='Another program still uses apt; that was waited for long enough.'
)

MESSAGES_PT+=(
  [usage]='Prepara a Sophia nesta máquina. Pode ser executado de novo a qualquer momento: muda só o que não
está como deveria, continua de onde parou e mantém todas as senhas.

  sudo ./install_sophia_llm.sh            prepara este servidor, com perguntas
  sudo ./install_sophia_llm.sh --auto     o mesmo, sem perguntas e sem terminal
  ./install_sophia_llm.sh --demo          sem servidor: tudo nesta pasta, e o ciclo inteiro
                                          com dados de exemplo (veja --demo --help)

  --auto                não pergunta nada; usa os padrões
  --auto-env FILE       lê antes as configurações de FILE (linhas KEY=VALUE); o que vem do
                        ambiente vale mais
  --auto-assume-yes     responde sim a todas as perguntas (ligar o firewall, por exemplo)
  --auto-open-menu      abre o console no fim, onde houver um terminal
  --dry-run             mostra o que seria feito, não muda nada
  --ssh-port N          uma porta de SSH que o firewall deve deixar aberta, além das encontradas
  --upgrade             põe esta versão no lugar da que está em uso, depois de um backup
  --rotate-db-password  dá uma senha nova ao papel do banco de dados
  --uninstall [--purge] remove a Sophia; com --purge também dados, banco e configurações
  --step NAME           só esta etapa:
                        machine server_packages account env postgres application
                        migrate units firewall health summary
  --json                um resumo em JSON na saída padrão; todo o resto na saída de erros
  --lang LANG           o idioma das mensagens: en ou pt_BR (padrão: o do ambiente)
  --help                este texto

As configurações da Sophia no ambiente (OPENAI_API_KEY, DATABASE_URL, DB_PASS, GEN_MODEL,
SOPHIA_...) vão para /etc/sophia/sophia.env. Além disso, para a própria instalação:

  SOPHIA_EXTRAS       o que instalar (padrão: training,api,hosted,serving,evaluation)
  SOPHIA_WHEELS       uma pasta de wheels de onde instalar, sem a rede
  SOPHIA_TORCH_INDEX  um índice de pacotes só para o torch (uma versão sem CUDA, por exemplo)
  SOPHIA_PYTHON       o Python a usar
  SOPHIA_APT_WAIT     segundos a esperar por outros programas que usam o apt (padrão: 600)
  PIP_INDEX_URL, HF_ENDPOINT, http_proxy, https_proxy, no_proxy   como em toda parte

Códigos de saída: 0 feito; 1 falhou; 2 opções ou configurações erradas; 3 recusado (sem root, sem
confirmação); 4 não encontrado; 5 indisponível (rede, pacotes, banco); 75 outra instalação está
em andamento; 129, 130, 143 fim por conexão perdida, ^C ou TERM. O log: /var/log/sophia/install.log'
  [flag_needs_value]='A opção %s precisa de um valor.'
  [flags_exclude]='%s e %s não combinam.'
  [flag_needs]='%s só vale com %s.'
  [bad_port]='%s não é uma porta (1 a 65535).'
  [bad_step]='Não existe a etapa %s.'
  [interrupted_step]='
Interrompido na etapa "%s". O que foi feito fica; para continuar:

    %s
'
  [stopped_before]='Uma execução anterior terminou na etapa "%s"; esta continua dali.'
  [unforeseen]='A etapa %s terminou de forma imprevista (%s, linha %s, código %s).'
  [unforeseen_remedy]='O log está em %s. O que foi feito fica; para continuar:

    %s
'
  [auto_env_later]='As configurações de --auto-env são lidas depois de instalado o Python.'
  [ask_default]='    %s -> %s (%s)'
  [ask_auto]='nada foi perguntado'
  [ask_no_terminal]='sem terminal: o padrão'
  [ask_again]='Responda s ou n.'
  [choice_yes]='[S/n]'
  [choice_no]='[s/N]'
  [word_yes]='sim'
  [word_no]='não'
  [word_nothing]='nada'
  [env_not_written]='%s não pôde ser escrito (%s).'
  [env_not_written_remedy]='Libere espaço em disco, ou confira o dono e as permissões da pasta; nada foi alterado.'
  [env_file_missing]='O arquivo de configurações %s não pode ser lido.'
  [env_file_missing_remedy]='Indique o caminho de um arquivo que exista e possa ser lido.'
  [env_file_wrong]='O arquivo de configurações %s foi recusado; nada foi alterado.'
  [env_file_wrong_remedy]='Corrija estas linhas. Um KEY=VALUE por linha; aspas se fecham na mesma linha.'
  [env_line_no_assignment]='linha %s: sem KEY=VALUE, ou um nome com outros sinais que A-Z, 0-9 e _'
  [env_line_several_lines]='linha %s: o valor ocupa várias linhas'
  [env_line_control_sign]='linha %s: um caractere de controle no valor'
  [env_line_open_quote]='linha %s: aspas abertas e não fechadas'
  [env_line_dangerous]='linha %s: este nome muda como os programas rodam e não é uma configuração'
  [env_line_twice]='linha %s: o nome aparece mais de uma vez'
  [env_line_nul]='linha %s: um byte NUL'
  [env_line_no_utf8]='linha %s: não está em UTF-8'
  [env_line_no_file]='não é um arquivo comum (%s)'
  [env_line_too_large]='é maior que 1 MB (%s)'
  [apt_lock_waited]='    Outro programa usa o apt: %s. Esperando por ele ...'
  [apt_lock_kept]='Outro programa ainda usa o apt; já se esperou o bastante.'
)
