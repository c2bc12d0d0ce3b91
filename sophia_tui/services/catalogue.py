"""The list of services whose operations Sophia offers; the order is the order of the help."""

from functools import cache

from sophia_tui.services.adaptive import AdaptiveService
from sophia_tui.services.advice import AdviceService
from sophia_tui.services.ask import AskService
from sophia_tui.services.audit import AuditService
from sophia_tui.services.backup import BackupService
from sophia_tui.services.browse import BrowseService
from sophia_tui.services.bundle import BundleService
from sophia_tui.services.calendar import CalendarService
from sophia_tui.services.checkpoints import CheckpointsService
from sophia_tui.services.clean import CleanService
from sophia_tui.services.collect import CollectService
from sophia_tui.services.convert import ConvertService
from sophia_tui.services.datasets import DatasetsService
from sophia_tui.services.demo import DemoService
from sophia_tui.services.env import EnvService
from sophia_tui.services.evaluate import EvaluateService
from sophia_tui.services.evaluations import EvaluationsService
from sophia_tui.services.export import ExportService
from sophia_tui.services.files import FilesService
from sophia_tui.services.finetune import FinetuneService
from sophia_tui.services.forget import ForgetService
from sophia_tui.services.inspect import InspectService
from sophia_tui.services.inspection_report import InspectionReportService
from sophia_tui.services.job_insight import JobInsightService
from sophia_tui.services.jobs import JobsService
from sophia_tui.services.meanwhile import MeanwhileService
from sophia_tui.services.merge import MergeService
from sophia_tui.services.model_files import ModelFilesService
from sophia_tui.services.model_gate import ModelGateService
from sophia_tui.services.model_lineage import ModelLineageService
from sophia_tui.services.model_parity import ModelParityService
from sophia_tui.services.model_production import ModelProductionService
from sophia_tui.services.model_states import ModelStatesService
from sophia_tui.services.models import ModelsService
from sophia_tui.services.monitor import MonitorService
from sophia_tui.services.near import NearService
from sophia_tui.services.notifications import NotificationsService
from sophia_tui.services.operations import Registry
from sophia_tui.services.overview import OverviewService
from sophia_tui.services.personas import PersonasService
from sophia_tui.services.prepare import PrepareService
from sophia_tui.services.prices import PricesService
from sophia_tui.services.promote import PromoteService
from sophia_tui.services.provider import ProviderService
from sophia_tui.services.prune import PruneService
from sophia_tui.services.quality_gate import QualityGateService
from sophia_tui.services.queue import QueueService
from sophia_tui.services.schedules import SchedulesService
from sophia_tui.services.serving import ServingService
from sophia_tui.services.settings import SettingsService
from sophia_tui.services.setup import SetupService
from sophia_tui.services.setup_begin import SetupBeginService
from sophia_tui.services.setup_steps import SetupStepsService
from sophia_tui.services.store import StoreService
from sophia_tui.services.succession import SuccessionService
from sophia_tui.services.train import TrainService
from sophia_tui.services.train_before import TrainBeforeService
from sophia_tui.services.tuning import TuningService
from sophia_tui.services.units import UnitsService
from sophia_tui.services.upload import UploadService
from sophia_tui.services.vary import VaryService
from sophia_tui.services.versions import VersionsService

SERVICES: tuple[type, ...] = (
    OverviewService,
    MeanwhileService,
    SetupService,
    UnitsService,
    SetupStepsService,
    SetupBeginService,
    PruneService,
    BundleService,
    BackupService,
    CollectService,
    PrepareService,
    CleanService,
    InspectService,
    ConvertService,
    NearService,
    BrowseService,
    InspectionReportService,
    QualityGateService,
    AdviceService,
    DatasetsService,
    VersionsService,
    ForgetService,
    VaryService,
    TrainService,
    TrainBeforeService,
    FinetuneService,
    FilesService,
    TuningService,
    AdaptiveService,
    PersonasService,
    JobsService,
    JobInsightService,
    CheckpointsService,
    QueueService,
    SchedulesService,
    EvaluateService,
    EvaluationsService,
    ModelsService,
    ModelLineageService,
    ModelStatesService,
    ModelProductionService,
    ModelFilesService,
    ModelGateService,
    CalendarService,
    SuccessionService,
    MergeService,
    ModelParityService,
    ExportService,
    UploadService,
    ProviderService,
    ServingService,
    AskService,
    PromoteService,
    PricesService,
    MonitorService,
    NotificationsService,
    SettingsService,
    EnvService,
    AuditService,
    StoreService,
    DemoService,
)


@cache
def registry() -> Registry:
    """All operations of Sophia."""
    return Registry(SERVICES)
