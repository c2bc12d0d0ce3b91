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
  SOPHIA_OPEN_API_PORT=yes with SOPHIA_OPEN_API_FROM=10.0.0.0/8,... opens port 8000 in the
                      firewall for these networks (default: closed)
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
  [apt_lock_kept]='Another program still uses apt: %s. That was waited for long enough.'
  [title_machine]='Look at this machine'
  [plan_machine]='look at system, disk, memory, network, clock and apt'
  [title_server_packages]='Packages of the system'
  [plan_server_packages]='apt-get install what is missing (Python, Postgres, ufw, sudo, polkit)'
  [title_account]='The account sophia and its folders'
  [plan_account]='make the system account and the group, /etc/sophia, /var/lib/sophia'
  [title_env]='Settings (/etc/sophia/sophia.env)'
  [plan_env]='write what was given and the defaults that are missing; make password and token once'
  [title_application]='The program in /opt/sophia'
  [plan_application]='copy this version into a release of its own, install its packages, switch to it'
  [title_health]='Ask the services'
  [plan_health]='call /health and a route with the token; look at the worker'
  [title_summary]='Summary'
  [plan_summary]='tell where things are'
  [machine_wrong]='This machine is not ready (%s); nothing was changed:'
  [machine_wrong_remedy]='Put this right, then run it again.'
  [machine_root]='only root may set a server up; you are %s. Run: sudo %s'
  [machine_os]='the system is %s; Debian 12 and 13 and Ubuntu 24.04 are supported'
  [machine_systemd]='systemd does not run here; the services need it'
  [machine_processor]='the processor is %s; x86_64 and aarch64 are supported'
  [machine_python]='the Python in SOPHIA_PYTHON is not there or older than 3.11: %s'
  [machine_wheels]='the folder in SOPHIA_WHEELS is not there: %s'
  [machine_read_only]='%s can'\''t be written (read-only file system?)'
  [machine_disk]='too little space on the disk of %s: %s MB are free, %s MB are needed'
  [machine_memory]='too little memory: %s MB are available, %s MB are needed'
  [machine_facts]='      %s, %s MB free in /opt, %s MB of memory'
  [machine_clock]='the clock says %s, which is in the past; certificates would be refused'
  [machine_clock_note]='      Note: the clock is not synchronised with a time server.'
  [machine_dns]='the name %s is not found (network, DNS?); a proxy goes by http_proxy, https_proxy'
  [machine_apt_busy]='      Note: another program uses apt just now: %s. It will be waited for.'
  [machine_apt_broken]='      Note: an earlier run of dpkg was cut off; it will be finished first.'
  [apt_disk_full]='The disk of /var is full: %s MB are free.'
  [server_apt_remedy]='Check the disk, the network and the package sources, then run this again: what apt left half done is finished first. The log is %s.'
  [account_foreign]='There is an account sophia already that is no account of a service.'
  [account_foreign_why]='It has the number %s, the home %s and the shell %s.'
  [account_foreign_remedy]='Rename that account, then run this again; nothing of it was changed.'
  [account_link]='%s is a link, and is not followed.'
  [account_link_remedy]='Put a folder in its place (a mount is fine), then run this again.'
  [ask_person]='Shall %s be a member of the group sophia, and so share its jobs and data?'
  [ask_openai_key]='OPENAI_API_KEY (enter for none; it is not shown):'
  [ask_database_url]='DATABASE_URL of your production database (enter: a new one here; not shown):'
  [env_value_refused]='A setting that was given has a control character in it (a line feed, say).'
  [env_value_refused_remedy]='Give values of one line; nothing was changed.'
  [not_healthy]='The services do not answer as they must.'
  [not_healthy_remedy]='The end of the journal stands above (journalctl -u sophia-api). Then run again:

    %s
'
  [summary_server]='
Sophia is set up. Changed: %s

    sophia              the console
    sophia --help       the same as commands

Settings (with the API'\''s token, FINETUNE_TOKEN): %s
Data: %s   API: http://127.0.0.1:8000   Log: %s'
  [summary_joined]='%s is now in the group sophia: log in anew to use the command sophia.'
  [no_menu]='The console was not opened: there is no terminal.'
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
  SOPHIA_OPEN_API_PORT=yes com SOPHIA_OPEN_API_FROM=10.0.0.0/8,... abre a porta 8000 no
                      firewall para essas redes (padrão: fechada)
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
  [apt_lock_kept]='Outro programa ainda usa o apt: %s. Já se esperou o bastante.'
  [title_machine]='Olhar esta máquina'
  [plan_machine]='olhar sistema, disco, memória, rede, relógio e apt'
  [title_server_packages]='Pacotes do sistema'
  [plan_server_packages]='apt-get install do que falta (Python, Postgres, ufw, sudo, polkit)'
  [title_account]='A conta sophia e suas pastas'
  [plan_account]='criar a conta de sistema e o grupo, /etc/sophia, /var/lib/sophia'
  [title_env]='Configurações (/etc/sophia/sophia.env)'
  [plan_env]='escrever o que foi dado e os padrões que faltam; criar senha e token uma única vez'
  [title_application]='O programa em /opt/sophia'
  [plan_application]='copiar esta versão para uma pasta própria, instalar seus pacotes, passar a usá-la'
  [title_health]='Perguntar aos serviços'
  [plan_health]='chamar /health e uma rota com o token; olhar o worker'
  [title_summary]='Resumo'
  [plan_summary]='mostrar onde está cada coisa'
  [machine_wrong]='Esta máquina não está pronta (%s); nada foi alterado:'
  [machine_wrong_remedy]='Corrija isso e execute de novo.'
  [machine_root]='só root pode preparar um servidor; você é %s. Execute: sudo %s'
  [machine_os]='o sistema é %s; são suportados Debian 12 e 13 e Ubuntu 24.04'
  [machine_systemd]='o systemd não está rodando aqui; os serviços precisam dele'
  [machine_processor]='o processador é %s; são suportados x86_64 e aarch64'
  [machine_python]='o Python em SOPHIA_PYTHON não existe ou é mais antigo que 3.11: %s'
  [machine_wheels]='a pasta em SOPHIA_WHEELS não existe: %s'
  [machine_read_only]='não é possível escrever em %s (sistema de arquivos só de leitura?)'
  [machine_disk]='pouco espaço no disco de %s: %s MB livres, são necessários %s MB'
  [machine_memory]='pouca memória: %s MB disponíveis, são necessários %s MB'
  [machine_facts]='      %s, %s MB livres em /opt, %s MB de memória'
  [machine_clock]='o relógio diz %s, que está no passado; os certificados seriam recusados'
  [machine_clock_note]='      Aviso: o relógio não está sincronizado com um servidor de tempo.'
  [machine_dns]='o nome %s não é encontrado (rede, DNS?); um proxy vai em http_proxy, https_proxy'
  [machine_apt_busy]='      Aviso: outro programa usa o apt agora: %s. Ele será esperado.'
  [machine_apt_broken]='      Aviso: uma execução anterior do dpkg foi interrompida; ela será concluída antes.'
  [apt_disk_full]='O disco de /var está cheio: %s MB livres.'
  [server_apt_remedy]='Verifique o disco, a rede e as fontes de pacotes e execute de novo: o que o apt deixou pela metade é concluído antes. O log está em %s.'
  [account_foreign]='Já existe uma conta sophia que não é uma conta de serviço.'
  [account_foreign_why]='Ela tem o número %s, a pasta %s e o shell %s.'
  [account_foreign_remedy]='Renomeie essa conta e execute de novo; nada dela foi alterado.'
  [account_link]='%s é um link e não será seguido.'
  [account_link_remedy]='Ponha uma pasta no lugar dele (um ponto de montagem serve) e execute de novo.'
  [ask_person]='%s deve ser membro do grupo sophia e assim compartilhar jobs e dados?'
  [ask_openai_key]='OPENAI_API_KEY (enter para nenhuma; não é mostrada):'
  [ask_database_url]='DATABASE_URL do seu banco de produção (enter: um novo aqui; não é mostrada):'
  [env_value_refused]='Uma configuração dada contém um caractere de controle (uma quebra de linha, por exemplo).'
  [env_value_refused_remedy]='Dê valores de uma linha; nada foi alterado.'
  [not_healthy]='Os serviços não respondem como deveriam.'
  [not_healthy_remedy]='O fim do journal está acima (journalctl -u sophia-api). Depois execute de novo:

    %s
'
  [summary_server]='
A Sophia está pronta. Alterado: %s

    sophia              o console
    sophia --help       o mesmo como comandos

Configurações (com o token da API, FINETUNE_TOKEN): %s
Dados: %s   API: http://127.0.0.1:8000   Log: %s'
  [summary_joined]='%s agora está no grupo sophia: entre de novo na sessão para usar o comando sophia.'
  [no_menu]='O console não foi aberto: não há um terminal.'
)
