"""Sophia's own settings, declared once: flag > Sophia's table > environment > .env > default.

Loaded after `--help` and the first paint. Connection settings and secrets are never in the table.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from sophia_tui import envfile, paths
from sophia_tui.domain.calendar import DEFAULT_DAYS, read_days
from sophia_tui.domain.gates import ADVICE_DEFAULT, read_bounds, read_ranges
from sophia_tui.domain.gates import DEFAULT as DEFAULT_BOUNDS
from sophia_tui.domain.managed import is_elsewhere
from sophia_tui.domain.model_gates import DEFAULT_RULES, read_rules
from sophia_tui.domain.promotions import (
    BOUNDS_DEFAULT,
    read_named_urls,
    read_promotion_bounds,
)
from sophia_tui.domain.targets import DEFAULT as DEFAULT_TARGETS
from sophia_tui.domain.targets import read_targets
from sophia_tui.errors import UsageError
from sophia_tui.i18n import N_, _
from sophia_tui.paths import Paths
from sophia_tui.validation import where_and_what

#: Keys that may never be stored in the settings table: they say where the table is, or are secret.
CONNECTION_KEYS = frozenset(
    {
        "DATABASE_URL",
        "DB_PASS",
        "SOPHIA_STORE_URL",
        "SOPHIA_STORE_PASS",
        "SOPHIA_NEXT_PASS",
        "SOPHIA_DATA_DIR",
        "SOPHIA_ENV_FILE",
        "SOPHIA_ROLES",
        "SOPHIA_API_ROLE",
        "SOPHIA_API_PROXIES",
        "SOPHIA_WRONG_TOKENS",
        "ALLOW_FINETUNE",
    }
)

#: What opens the HTTP API, each for its own role.
TOKEN_KEYS = (
    "FINETUNE_TOKEN",
    "SOPHIA_VIEWER_TOKEN",
    "SOPHIA_OPERATOR_TOKEN",
    "SOPHIA_MODEL_TOKEN",
)
#: A shorter token can be guessed.
LEAST_TOKEN = 16

#: What guards the HTTP API and the own store: never changed over HTTP itself.
GUARDED_KEYS = (CONNECTION_KEYS | frozenset(TOKEN_KEYS)) - {"SOPHIA_ENV_FILE"}

#: What says in which databases the source and the own tables are.
DATABASE_KEYS = ("DATABASE_URL", "DB_PASS", "SOPHIA_STORE_URL", "SOPHIA_STORE_PASS")

#: What libraries read from the environment itself, and a server's env file may hold: proxies, the
#: mirror of the hub, where it keeps its files, certificates.
SURROUNDINGS = (
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("HF_ENDPOINT", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
)

_LOOPBACK = frozenset({"127.0.0.1", "::1"})


def _setting(key: str, default: Any, help: str, **bounds: Any) -> Any:
    return Field(default=default, validation_alias=key, description=help, **bounds)


class Settings(BaseSettings):
    """Every setting with its key in the environment, its default and its meaning."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True, populate_by_name=False)

    database_url: SecretStr | None = _setting(
        "DATABASE_URL",
        None,
        N_("The owner's production Postgres: where questions and feedback are."),
    )
    db_pass: SecretStr | None = _setting(
        "DB_PASS", None, N_("The password for DATABASE_URL where the address holds none.")
    )
    store_url: SecretStr | None = _setting(
        "SOPHIA_STORE_URL",
        None,
        N_("Where Sophia keeps its own tables: a Postgres address, or the word embedded."),
    )
    store_pass: SecretStr | None = _setting(
        "SOPHIA_STORE_PASS",
        None,
        N_("The password for SOPHIA_STORE_URL where the address holds none."),
    )
    next_pass: SecretStr | None = _setting(
        "SOPHIA_NEXT_PASS",
        None,
        N_(
            "While the store's password is being changed: the new one, tried where the other is"
            " refused."
        ),
    )
    source_schema: str | None = _setting(
        "SOPHIA_SOURCE_SCHEMA",
        None,
        N_("The schema of the owner's tables; looked up where not set."),
    )
    timezone: str = _setting(
        "SOPHIA_TIMEZONE",
        "America/Sao_Paulo",
        N_("The time zone of periods and of timestamps without zone in the source."),
    )
    window_days: int = _setting(
        "SOPHIA_WINDOW_DAYS", 30, N_("How many days back collect reads."), ge=1, le=36500
    )
    closed_statuses: str = _setting(
        "SOPHIA_CLOSED_STATUSES",
        "closed,resolved,fechada,resolvida,encerrada,concluida",
        N_("Conversation statuses that mean complete, separated by commas."),
    )
    idle_hours: float = _setting(
        "SOPHIA_IDLE_HOURS",
        24.0,
        N_("Idle hours after which a conversation that the assistant ended is complete; 0: never."),
        ge=0,
        le=876000,
    )
    assistant_senders: str = _setting(
        "SOPHIA_ASSISTANT_SENDERS",
        "assistant,bot,agent,ai,atendente,assistente,sophia",
        N_("Values of sender_type that mean the assistant, separated by commas."),
    )
    customer_senders: str = _setting(
        "SOPHIA_CUSTOMER_SENDERS",
        "customer,user,client,cliente,usuario,contact",
        N_("Values of sender_type that mean the customer, separated by commas."),
    )
    finetune_base: str | None = _setting(
        "FINETUNE_BASE", None, N_("The base model: a path, a hub id, a GGUF file or a hosted name.")
    )
    finetune_dir: str = _setting(
        "FINETUNE_DIR", "./finetune", N_("The folder whose *.jsonl files are merged for a job.")
    )
    variations_target: int = _setting(
        "SOPHIA_VARIATIONS_TARGET",
        5500,
        N_("How many variations of constitutional examples are made."),
        ge=1,
        le=1_000_000,
    )
    finetune_history: str | None = _setting(
        "FINETUNE_HISTORY", None, N_("The history file; default history.jsonl in FINETUNE_DIR.")
    )
    allow_finetune: bool = _setting(
        "ALLOW_FINETUNE", False, N_("Whether training may be started over HTTP.")
    )
    finetune_token: SecretStr | None = _setting(
        "FINETUNE_TOKEN", None, N_("The token of the HTTP API; without one only /health answers.")
    )
    api_role: str = _setting(
        "SOPHIA_API_ROLE", "admin", N_("The role of who presents FINETUNE_TOKEN.")
    )
    viewer_token: SecretStr | None = _setting(
        "SOPHIA_VIEWER_TOKEN", None, N_("A second token for the HTTP API that may only look.")
    )
    operator_token: SecretStr | None = _setting(
        "SOPHIA_OPERATOR_TOKEN", None, N_("A third token for the HTTP API with the role operator.")
    )
    model_token: SecretStr | None = _setting(
        "SOPHIA_MODEL_TOKEN",
        None,
        N_("The key for served models (/v1) and nothing else: what clients send as their API key."),
    )
    wrong_tokens: int = _setting(
        "SOPHIA_WRONG_TOKENS",
        10,
        N_(
            "How many wrong tokens of an address in a minute the HTTP API answers with 401; more "
            "get 429. The right one always passes."
        ),
        ge=1,
        le=100_000,
    )
    api_proxies: str = _setting(
        "SOPHIA_API_PROXIES",
        "",
        N_(
            "Proxies before the HTTP API whose X-Forwarded-For is believed: addresses or networks "
            "with commas between."
        ),
    )
    api_url: str = _setting("API_URL", "http://localhost:8000", N_("Where the HTTP API answers."))
    openai_api_key: SecretStr | None = _setting(
        "OPENAI_API_KEY", None, N_("The key for the OpenAI-compatible service.")
    )
    openai_base_url: str | None = _setting(
        "OPENAI_BASE_URL", None, N_("The address of the OpenAI-compatible service.")
    )
    training_provider: Literal["auto", "local", "openai"] = _setting(
        "SOPHIA_TRAINING_PROVIDER",
        "auto",
        N_("Where a base trains whose name could be either: local, openai, or auto."),
    )
    provider_poll_seconds: float = _setting(
        "SOPHIA_PROVIDER_POLL_SECONDS",
        30.0,
        N_("The longest wait between two looks at a hosted job."),
        ge=0.05,
        le=3600,
        allow_inf_nan=False,
    )
    watch_seconds: float = _setting(
        "SOPHIA_WATCH_SECONDS",
        3600.0,
        N_("How long POST /finetune holds its answer while it watches a job."),
        gt=0,
        le=604800,
        allow_inf_nan=False,
    )
    huggingface_token: SecretStr | None = _setting(
        "HUGGINGFACE_TOKEN", None, N_("The token for gated base models on the hub.")
    )
    roles: str = _setting(
        "SOPHIA_ROLES",
        "*=admin",
        N_(
            "Who may do what: user=role pairs separated by commas; * is everyone else. "
            "Empty: everyone is admin."
        ),
    )
    managed_env_files: str = _setting(
        "SOPHIA_MANAGED_ENV_FILES",
        "",
        N_("Env files of other services that promote may write, separated by colons."),
    )
    maximum_resumes: int = _setting(
        "SOPHIA_MAXIMUM_RESUMES",
        3,
        N_("How often a vanished run is resumed by itself."),
        ge=0,
        le=1000,
    )
    stalled_seconds: int = _setting(
        "SOPHIA_STALLED_SECONDS",
        25,
        N_("After how many seconds without a sign a run counts as stuck, is ended and taken up."),
        ge=5,
        le=86400,
    )
    training_slots: str = _setting(
        "SOPHIA_TRAINING_SLOTS",
        "auto",
        N_("How many runs a machine has at once; auto: one for each GPU, or one."),
    )
    worker_queues: str = _setting(
        "SOPHIA_WORKER_QUEUES",
        "auto",
        N_(
            "What a worker does: names with commas between (training, evaluation, merge, hosted, "
            "gpu, or your own); auto: all that its machine can."
        ),
    )
    training_memory_limit: str = _setting(
        "SOPHIA_TRAINING_MEMORY_LIMIT",
        "auto",
        N_("The most memory of one run, e.g. 12G; auto: 80 % of the machine's by slots; or off."),
    )
    disk_floor_mb: int = _setting(
        "SOPHIA_DISK_FLOOR_MB",
        1024,
        N_("Free disk in MB below which no run starts and trainings pause; 0: none."),
        ge=0,
        le=1_000_000_000,
    )
    memory_floor_mb: int = _setting(
        "SOPHIA_MEMORY_FLOOR_MB",
        256,
        N_("Free memory in MB below which no run starts and trainings pause; 0: none."),
        ge=0,
        le=1_000_000_000,
    )
    quiet_hours: str = _setting(
        "SOPHIA_QUIET_HOURS",
        "",
        N_(
            "Hours in SOPHIA_TIMEZONE in which no training runs here, e.g. "
            "08:00-12:00,13:00-18:00; a running one is paused and goes on by itself."
        ),
    )
    training_recipe: str = _setting(
        "SOPHIA_RECIPE",
        "auto",
        N_("The recipe of a training: a name, a YAML file, or auto (by the base's size)."),
    )
    training_processes: str = _setting(
        "SOPHIA_TRAINING_PROCESSES",
        "auto",
        N_("How many processes share a training; auto: one for each GPU that it may use."),
        pattern=r"^(auto|[1-9][0-9]?)$",
    )
    training_threads: str = _setting(
        "SOPHIA_TRAINING_THREADS", "auto", N_("Processor threads of a training, or auto.")
    )
    serving_engine: Literal["auto", "llamacpp", "transformers", "vllm"] = _setting(
        "SOPHIA_SERVING_ENGINE",
        "auto",
        N_(
            "The program that serves models; auto: vllm where a GPU and it are there, else "
            "llamacpp, and transformers for what that can't serve."
        ),
    )
    serving_precision: Literal["q8_0", "f16", "bf16", "f32"] = _setting(
        "SOPHIA_SERVING_PRECISION",
        "f16",
        N_("The numbers in which llamacpp serves weights; a GGUF file is served as it is."),
    )
    serving_context: int = _setting(
        "SOPHIA_SERVING_CONTEXT",
        8192,
        N_("How many tokens an engine's context holds at most, shared by its requests."),
        ge=128,
        le=10_000_000,
    )
    serving_slots: int = _setting(
        "SOPHIA_SERVING_SLOTS",
        4,
        N_("How many requests an engine answers at once, where it can."),
        ge=1,
        le=256,
    )
    serving_ready_seconds: int = _setting(
        "SOPHIA_SERVING_READY_SECONDS",
        600,
        N_("How many seconds a served model may take until it answers."),
        ge=5,
        le=86400,
    )
    parity_seconds: float = _setting(
        "SOPHIA_PARITY_SECONDS",
        60.0,
        N_("How many seconds a served model may take for one answer of a parity check."),
        gt=0,
        le=3600,
        allow_inf_nan=False,
    )
    serving_restarts: int = _setting(
        "SOPHIA_SERVING_RESTARTS",
        3,
        N_("How often the vanished engine of a served model is started again by itself."),
        ge=0,
        le=1000,
    )
    serving_stuck_seconds: float = _setting(
        "SOPHIA_SERVING_STUCK_SECONDS",
        120.0,
        N_("After how many seconds an engine that nobody waits for and that is silent restarts."),
        gt=0,
        le=86400,
        allow_inf_nan=False,
    )
    probe_seconds: float = _setting(
        "SOPHIA_PROBE_SECONDS",
        30.0,
        N_("How many seconds a model may take to answer the probe of a promotion."),
        gt=0,
        le=3600,
    )
    golden_prompts: str | None = _setting(
        "SOPHIA_GOLDEN_PROMPTS",
        None,
        N_(
            "The questions that a promoted model must answer: JSON Lines with `question` and, where"
            " it matters, `accepted`; default a few of Sophia's own."
        ),
    )
    promotion_bounds: str = _setting(
        "SOPHIA_PROMOTION_BOUNDS",
        BOUNDS_DEFAULT,
        N_(
            "What a promoted model must keep to at those questions: median and p95 in seconds, "
            "errors as a share, with commas between."
        ),
    )
    promotion_health_urls: str = _setting(
        "SOPHIA_PROMOTION_HEALTH_URLS",
        "",
        N_(
            "Health addresses that must answer after a promotion: URL, or UNIT=URL or FILE=URL for "
            "promotions of that unit or env file, with commas between."
        ),
    )
    promotion_health_seconds: float = _setting(
        "SOPHIA_PROMOTION_HEALTH_SECONDS",
        300.0,
        N_("How many seconds the health check of a promotion may take; then it has failed."),
        gt=0,
        le=3600,
        allow_inf_nan=False,
    )
    promotion_elsewhere: str = _setting(
        "SOPHIA_PROMOTION_ELSEWHERE",
        "",
        N_(
            "Units of other hosts that read the promoted env files, as HOST:UNIT with commas "
            "between; a person restarts them."
        ),
    )
    targets: str = _setting(
        "SOPHIA_TARGETS",
        DEFAULT_TARGETS,
        N_("What a model should reach: name<target(baseline) or name>target, with commas between."),
    )
    quality_gate: str = _setting(
        "SOPHIA_QUALITY_GATE",
        DEFAULT_BOUNDS,
        N_("What a data set should reach: name>=bound or name<=bound, with commas between."),
    )
    model_gate: str = _setting(
        "SOPHIA_MODEL_GATE",
        DEFAULT_RULES,
        N_(
            "What a model must show before it is promoted: loss<bound, examples>=number, parity, "
            "lost<=share, items>=number, right>=number, days<=number, with commas between; or off."
        ),
    )
    advice: str = _setting(
        "SOPHIA_ADVICE",
        ADVICE_DEFAULT,
        N_("From when tuning is worth it, and what other ways save: name=low..high, with commas."),
    )
    machine_usd_per_hour: float | None = _setting(
        "SOPHIA_MACHINE_USD_PER_HOUR",
        None,
        N_("What an hour of this machine costs, for the cost of local models and trainings."),
        ge=0,
        le=100_000,
        allow_inf_nan=False,
    )
    training_budget_usd: float | None = _setting(
        "SOPHIA_TRAINING_BUDGET_USD",
        None,
        N_("The most that one training may cost by its estimate; above it is refused."),
        ge=0,
        le=10_000_000,
        allow_inf_nan=False,
    )
    prices_file: str | None = _setting(
        "SOPHIA_PRICES_FILE",
        None,
        N_(
            "Prices and shutdown dates that go over Sophia's own; default /etc/sophia/prices.yaml, "
            "else prices.yaml in the data folder."
        ),
    )
    calendar_days: str = _setting(
        "SOPHIA_CALENDAR_DAYS",
        DEFAULT_DAYS,
        N_("From how many days before a model ends people are warned, each time once."),
    )
    calendar_seconds: float = _setting(
        "SOPHIA_CALENDAR_SECONDS",
        10.0,
        N_("How many seconds a provider may take to list its models."),
        gt=0,
        le=300,
        allow_inf_nan=False,
    )
    succession_base: str | None = _setting(
        "SOPHIA_SUCCESSION_BASE",
        None,
        N_(
            "The base of this machine that the successor of a model that ends is trained from; "
            "default FINETUNE_BASE where that trains here."
        ),
    )
    succession_prompts: int = _setting(
        "SOPHIA_SUCCESSION_PROMPTS",
        50,
        N_("How many questions of production a model that ends is asked for golden answers."),
        ge=1,
        le=2000,
    )
    tuning_bases: str = _setting(
        "SOPHIA_TUNING_BASES",
        "",
        N_(
            "Bases that stand for other names at /v1/fine_tuning: name=base, with commas between; "
            "*=base for every name that is no base here."
        ),
    )
    upload_bytes: int = _setting(
        "SOPHIA_UPLOAD_BYTES",
        8 * 1024**3,
        N_("The largest file that /v1/files and /v1/uploads take, in bytes."),
        ge=1,
        le=2**50,
    )
    aion_train_root: str = _setting(
        "AION_TRAIN_ROOT", "./trainer", N_("The folder of the adaptive training's files.")
    )
    aion_lora_base: str = _setting(
        "AION_LORA_BASE",
        "mistralai/Mistral-7B-Instruct-v0.3",
        N_("The base model of the adaptive training."),
    )
    aion_events_file: str = _setting(
        "AION_EVENTS_JSONL",
        "./trainer/events.jsonl",
        N_("The file of events that the adaptive training learns from."),
    )
    primary_tenant: str | None = _setting(
        "PRIMARY_TENANT_ID", None, N_("The tenant whose events count; every one where not set.")
    )
    adaptive_pairs: int = _setting(
        "SOPHIA_ADAPTIVE_PAIRS",
        20_000,
        N_("How many of the newest answers the adaptive training learns from at most."),
        ge=1,
        le=10_000_000,
    )
    persona_pairs: int = _setting(
        "SOPHIA_PERSONA_PAIRS",
        10,
        N_("How many pairs a persona needs before it is tuned for the first time."),
        ge=1,
        le=1_000_000,
    )
    persona_large: float = _setting(
        "SOPHIA_PERSONA_LARGE",
        3e9,
        N_("From how many parameters on a base is large: personas then get the larger rank."),
        gt=0,
        le=1e15,
    )
    persona_rank_small: int = _setting(
        "SOPHIA_PERSONA_RANK_SMALL", 8, N_("The rank of a persona's adapter, small bases."), ge=1
    )
    persona_rank_large: int = _setting(
        "SOPHIA_PERSONA_RANK_LARGE", 16, N_("The rank of a persona's adapter, large bases."), ge=1
    )
    persona_alpha: float = _setting(
        "SOPHIA_PERSONA_ALPHA", 16.0, N_("The alpha of a persona's adapter."), gt=0
    )
    notify_on: str = _setting(
        "SOPHIA_NOTIFY_ON",
        "succeeded,failed,paused",
        N_("Of which ends of a job people are told: succeeded, failed, cancelled, paused."),
    )
    notification_language: Literal["en", "pt_BR"] = _setting(
        "SOPHIA_NOTIFICATION_LANGUAGE", "pt_BR", N_("The language of notifications.")
    )
    webhook_url: SecretStr | None = _setting(
        "SOPHIA_WEBHOOK_URL", None, N_("Where notifications are posted as JSON.")
    )
    webhook_secret: SecretStr | None = _setting(
        "SOPHIA_WEBHOOK_SECRET",
        None,
        N_("Signs what is posted there: header x-sophia-signature, HMAC-SHA256 of time and body."),
    )
    smtp_url: SecretStr | None = _setting(
        "SOPHIA_SMTP_URL",
        None,
        N_("The mail server: smtp://user:password@host:587 (STARTTLS) or smtps://…:465."),
    )
    email_from: str | None = _setting(
        "SOPHIA_EMAIL_FROM", None, N_("The sender of notifications by e-mail.")
    )
    email_to: str = _setting(
        "SOPHIA_EMAIL_TO", "", N_("Who gets notifications by e-mail, separated by commas.")
    )
    whatsapp_token: SecretStr | None = _setting(
        "SOPHIA_WHATSAPP_TOKEN", None, N_("The key for WhatsApp's Cloud API.")
    )
    whatsapp_phone_id: str | None = _setting(
        "SOPHIA_WHATSAPP_PHONE_ID", None, N_("The id of the sender's number at the Cloud API.")
    )
    whatsapp_to: str = _setting(
        "SOPHIA_WHATSAPP_TO", "", N_("Numbers that get notifications, separated by commas.")
    )
    whatsapp_template: str | None = _setting(
        "SOPHIA_WHATSAPP_TEMPLATE",
        None,
        N_("An approved template with one text parameter; without one plain text is sent."),
    )
    whatsapp_url: str = _setting(
        "SOPHIA_WHATSAPP_URL",
        "https://graph.facebook.com/v23.0",
        N_("The address of WhatsApp's Cloud API."),
    )
    pseudonym_key: SecretStr | None = _setting(
        "SOPHIA_PSEUDONYM_KEY",
        None,
        N_(
            "The key for pseudonyms of personal data that are the same in all records; without one "
            "placeholders are numbered within a record."
        ),
    )
    backup_dir: str | None = _setting(
        "SOPHIA_BACKUP_DIR", None, N_("The folder of backups; in the data folder where not set.")
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = _setting(
        "SOPHIA_LOG_LEVEL", "INFO", N_("How much the logs tell.")
    )

    env_file: Path | None = Field(default=None, validation_alias="SOPHIA_ENV_FILE")

    @field_validator("*", mode="before")
    @classmethod
    def _blank_is_unset(cls, value: Any, info: Any) -> Any:
        if isinstance(value, str) and not value.strip():
            return cls.model_fields[info.field_name].default
        return value

    @field_validator("timezone")
    @classmethod
    def _is_a_zone(cls, value: str) -> str:
        from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

        try:
            return ZoneInfo(value.strip()).key
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise PydanticCustomError(
                "no_zone", _("must be a time zone, e.g. America/Sao_Paulo or UTC")
            ) from None

    @field_validator("targets")
    @classmethod
    def _are_targets(cls, value: str) -> str:
        try:
            read_targets(value)
        except ValueError:
            raise PydanticCustomError(
                "no_targets", _("must be parts like perplexity<2.5(3.0), each name once")
            ) from None
        return value

    @field_validator("promotion_bounds")
    @classmethod
    def _are_promotion_bounds(cls, value: str) -> str:
        try:
            read_promotion_bounds(value)
        except ValueError:
            raise PydanticCustomError(
                "no_promotion_bounds",
                _("must be parts like median<2, p95<3 or errors<0.01, each name once"),
            ) from None
        return value

    @field_validator("promotion_health_urls")
    @classmethod
    def _are_health_urls(cls, value: str) -> str:
        try:
            read_named_urls(value)
        except ValueError:
            raise PydanticCustomError(
                "no_health_urls", _("must be addresses: http://… or UNIT=http://…, with commas")
            ) from None
        return value

    @field_validator("promotion_elsewhere")
    @classmethod
    def _are_elsewhere(cls, value: str) -> str:
        if any(not is_elsewhere(part.strip()) for part in value.split(",") if part.strip()):
            raise PydanticCustomError(
                "no_elsewhere", _("must be HOST:UNIT, e.g. web2:rag-api.service, with commas")
            )
        return value

    @field_validator("quality_gate")
    @classmethod
    def _are_bounds(cls, value: str) -> str:
        try:
            read_bounds(value)
        except ValueError:
            raise PydanticCustomError(
                "no_bounds", _("must be parts like examples>=500 or copied<=0.1, each name once")
            ) from None
        return value

    @field_validator("model_gate")
    @classmethod
    def _are_rules(cls, value: str) -> str:
        try:
            read_rules(value)
        except ValueError:
            raise PydanticCustomError(
                "no_rules",
                _("must be rules like loss<0, parity or lost<=0.05, each name once; or off"),
            ) from None
        return value

    @field_validator("advice")
    @classmethod
    def _are_ranges(cls, value: str) -> str:
        try:
            read_ranges(value)
        except ValueError:
            raise PydanticCustomError(
                "no_ranges", _("must name all of conversations, usd, prompts, smaller_model")
            ) from None
        return value

    @field_validator("calendar_days")
    @classmethod
    def _are_days(cls, value: str) -> str:
        try:
            read_days(value)
        except ValueError:
            raise PydanticCustomError(
                "no_days", _("must be different numbers of days like 90,30,7")
            ) from None
        return value

    @field_validator("api_proxies")
    @classmethod
    def _are_networks(cls, value: str) -> str:
        from sophia_tui.networks import read

        try:
            read(value)
        except ValueError:
            raise PydanticCustomError(
                "no_networks", _("must be addresses or networks like 127.0.0.1,10.0.0.0/8")
            ) from None
        return value

    @field_validator("training_slots")
    @classmethod
    def _are_slots(cls, value: str) -> str:
        text = value.strip().lower()
        if text == "auto" or (text.isdecimal() and len(text) <= 3 and int(text) >= 1):
            return text
        raise PydanticCustomError(
            "no_slots", _("must be auto, or a whole number from 1 to {limit}").format(limit=999)
        )

    @field_validator("training_memory_limit")
    @classmethod
    def _is_a_size(cls, value: str) -> str:
        from sophia_tui.domain.limits import read_size

        text = value.strip().lower()
        if text in ("auto", "off") or read_size(text) is not None:
            return text
        raise PydanticCustomError("no_size", _("must be auto, off, or a size like 12G or 800M"))

    @field_validator("quiet_hours")
    @classmethod
    def _are_hours(cls, value: str) -> str:
        from sophia_tui.domain.limits import read_hours

        try:
            read_hours(value)
        except ValueError:
            raise PydanticCustomError(
                "no_hours", _("must be hours like 08:00-12:00,13:00-18:00")
            ) from None
        return value.strip()

    @field_validator("training_threads")
    @classmethod
    def _is_auto_or_a_count(cls, value: str) -> str:
        text = value.strip().lower()
        if text == "auto" or (text.isdecimal() and 1 <= len(text) <= 4 and int(text) >= 1):
            return text
        raise PydanticCustomError(
            "no_threads", _("must be auto, or a whole number from 1 to {limit}").format(limit=9999)
        )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)  # `load` merges the sources itself, with our env file parser

    @property
    def api_place(self) -> tuple[str, int] | None:
        """Host and port of API_URL where it is plain HTTP on this machine's loopback."""
        parts = urlsplit(self.api_url)
        host = {"localhost": "127.0.0.1"}.get(parts.hostname or "", parts.hostname)
        try:
            port = parts.port or 80
        except ValueError:  # no number, or none that a port can have
            return None
        return (host, port) if parts.scheme == "http" and host in _LOOPBACK else None

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels of notifications that are set up."""
        ready = {
            "webhook": self.webhook_url is not None,
            "email": self.smtp_url is not None and bool(self.email_to.strip()),
            "whatsapp": self.whatsapp_token is not None
            and bool(self.whatsapp_phone_id)
            and bool(self.whatsapp_to.strip()),
        }
        return tuple(name for name, is_set in ready.items() if is_set)

    @property
    def embedded(self) -> bool:
        """Whether the own store is the embedded server: SOPHIA_STORE_URL says so, or neither it
        nor DATABASE_URL is set."""
        if self.store_url is not None:
            return self.store_url.get_secret_value().strip().lower() == "embedded"
        return self.database_url is None

    @property
    def root(self) -> Path:
        """What relative folders are resolved against: the .env's folder, else the working one.

        Beside a server's env file, and beside the copy of it that systemd makes for a service,
        nothing of ours may lie: there it is the server's data folder.
        """
        if self.env_file is None:
            return Path.cwd()
        folder = self.env_file.parent
        served = self.env_file == paths.SERVER_ENV or folder.is_relative_to(paths.CREDENTIALS)
        return paths.SERVER_DATA if served else folder

    @property
    def finetune_folder(self) -> Path:
        """FINETUNE_DIR, absolute."""
        chosen = Path(self.finetune_dir).expanduser()
        return (chosen if chosen.is_absolute() else self.root / chosen).absolute()

    @property
    def history_file(self) -> Path:
        """FINETUNE_HISTORY, absolute; by default history.jsonl in FINETUNE_DIR."""
        if not self.finetune_history:
            return self.finetune_folder / "history.jsonl"
        chosen = Path(self.finetune_history).expanduser()
        return (chosen if chosen.is_absolute() else self.root / chosen).absolute()

    def _placed(self, text: str) -> Path:
        chosen = Path(text).expanduser()
        return (chosen if chosen.is_absolute() else self.root / chosen).absolute()

    @property
    def train_root(self) -> Path:
        """AION_TRAIN_ROOT, absolute."""
        return self._placed(self.aion_train_root)

    @property
    def events_file(self) -> Path:
        """AION_EVENTS_JSONL, absolute."""
        return self._placed(self.aion_events_file)

    def backups_folder(self, data: Path) -> Path:
        """SOPHIA_BACKUP_DIR, absolute; by default `backups` in the data folder."""
        return self._placed(self.backup_dir) if self.backup_dir else data / "backups"

    @property
    def units_elsewhere(self) -> tuple[str, ...]:
        """Units of other hosts, each as HOST:UNIT."""
        return tuple(each.strip() for each in self.promotion_elsewhere.split(",") if each.strip())

    @property
    def golden_file(self) -> Path | None:
        """SOPHIA_GOLDEN_PROMPTS, absolute; None for Sophia's own."""
        return self._placed(self.golden_prompts) if self.golden_prompts else None

    @property
    def managed_files(self) -> tuple[Path, ...]:
        """The env files that promote may write, absolute."""
        return tuple(
            (self.root / Path(each).expanduser()).absolute()
            for each in self.managed_env_files.split(":")
            if each.strip()
        )


def words(text: str) -> tuple[str, ...]:
    """A comma-separated setting as lower-case words."""
    return tuple(word.strip().lower() for word in text.split(",") if word.strip())


def keys() -> dict[str, str]:
    """Field name by environment key."""
    return {
        str(field.validation_alias): name
        for name, field in Settings.model_fields.items()
        if field.validation_alias
    }


def is_secret(key: str) -> bool:
    """Whether the setting's value must never be shown."""
    field = Settings.model_fields.get(keys().get(key, ""))
    return field is not None and "SecretStr" in str(field.annotation)


def storable(key: str) -> bool:
    """Whether the setting may be changed in Sophia and kept in its table."""
    return key in keys() and key not in CONNECTION_KEYS and not is_secret(key)


def find_env_file(environment: Mapping[str, str]) -> Path | None:
    """SOPHIA_ENV_FILE, else .env in the working directory, else /etc/sophia/sophia.env.

    The program that the installer installed on a server goes by the server's env file alone:
    without it, it would begin a store of its own, beside the server's.

    Raises UsageError T406, T407.
    """
    chosen = environment.get("SOPHIA_ENV_FILE")
    if chosen:
        path = Path(chosen).expanduser().absolute()
        if not path.is_file():
            raise UsageError(
                "T406",
                _("The env file {path} does not exist.").format(path=path),
                _("SOPHIA_ENV_FILE names it."),
                _("Correct SOPHIA_ENV_FILE, or unset it."),
            )
        return path
    server = paths.is_server_program()
    if server and not os.access(paths.SERVER_ENV, os.R_OK):
        raise UsageError(
            "T407",
            _("The env file {path} of this server is not there, or can't be read.").format(
                path=paths.SERVER_ENV
            ),
            _("Without it Sophia would use another store than the server's."),
            _("Use the command `sophia` as a member of the group {group}.").format(
                group=paths.SERVER_ACCOUNT
            ),
        )
    for path in (paths.SERVER_ENV,) if server else (Path.cwd() / ".env", paths.SERVER_ENV):
        if os.path.isfile(path) and os.access(path, os.R_OK):
            return path
    return None


def _unreadable(path: Path, problem: Exception) -> UsageError:
    return UsageError(
        "T405",
        _("The env file {path} can't be read.").format(path=path),
        type(problem).__name__,
        _("Check its mode and its encoding (UTF-8)."),
    )


def read_sources(environment: Mapping[str, str]) -> tuple[Path | None, dict[str, str]]:
    """The env file's path, and the values of environment over env file.

    Raises UsageError T405 where the env file can't be read.
    """
    path = find_env_file(environment)
    merged: dict[str, str] = {}
    if path:
        try:
            merged.update(envfile.values(path.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError) as problem:
            raise _unreadable(path, problem) from problem
    known = keys()
    merged.update({key: value for key, value in environment.items() if key in known})
    if "HUGGINGFACE_TOKEN" not in merged and (token := environment.get("HF_TOKEN")):
        merged["HUGGINGFACE_TOKEN"] = token
    return path, merged


def surroundings(environment: Mapping[str, str]) -> dict[str, str]:
    """Those of SURROUNDINGS that the env file sets and the environment does not.

    Raises UsageError T405 where the env file can't be read.
    """
    path = find_env_file(environment)
    if path is None:
        return {}
    try:
        found = envfile.values(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as problem:
        raise _unreadable(path, problem) from problem
    return {key: found[key] for key in SURROUNDINGS if found.get(key) and key not in environment}


def made_values(paths: Paths) -> dict[str, str]:
    """What Sophia made itself and keeps in its data folder: the key for served models."""
    try:
        token = paths.model_token.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return {}
    return {"SOPHIA_MODEL_TOKEN": token} if token else {}


def load(
    environment: Mapping[str, str],
    table: Mapping[str, str] | None = None,
    flags: Mapping[str, str] | None = None,
    made: Mapping[str, str] | None = None,
) -> Settings:
    """The settings in force; `made` are values that Sophia made itself, where nothing else is set.

    Raises UsageError T422 naming each wrong key, never its value.
    """
    return made_of(gathered(environment, table, flags, made))


def gathered(
    environment: Mapping[str, str],
    table: Mapping[str, str] | None = None,
    flags: Mapping[str, str] | None = None,
    made: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The values that `load` makes settings of, unchecked: cheap, so that it can be asked often
    whether any has changed. Raises UsageError for an env file that can't be read."""
    path, merged = read_sources(environment)
    # a key that is set to nothing counts as not set
    merged.update(
        {key: each for key, each in (made or {}).items() if not merged.get(key, "").strip()}
    )
    merged.update({key: value for key, value in (table or {}).items() if storable(key)})
    merged.update(flags or {})
    return {**merged, "SOPHIA_ENV_FILE": path}


def made_of(given: Mapping[str, Any], about: str | None = None) -> Settings:
    """The settings of these values alone; keys that are none of ours are passed over.

    Raises UsageError T422 naming each wrong key, never its value; with `about`, that key alone, and
    wrong values of others are left out.
    """
    known = keys()
    values = {key: value for key, value in given.items() if key in known}
    while True:
        try:
            return Settings(**values)
        except ValidationError as problem:
            errors = problem.errors(include_input=False, include_url=False)
            mine = [each for each in errors if about is None or each["loc"][:1] == (about,)]
            if not mine:
                for each in errors:
                    values.pop(str(each["loc"][0]))
                continue
            raise UsageError(
                "T422",
                _("A setting has a value that can't be used."),
                where_and_what(mine),
                _("Correct it in the environment, in the .env, or by `sophia settings set`."),
            ) from None
