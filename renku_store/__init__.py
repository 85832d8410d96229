"""Renku Store: content-addressed builds for AI-made movies.

The public names, sorted; each room is loaded when the first of its names is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from renku_store._version import __version__

if TYPE_CHECKING:
    from renku_store.blobs import BlobStore as BlobStore
    from renku_store.blueprint import Blueprint as Blueprint
    from renku_store.blueprint import check_input as check_input
    from renku_store.blueprint import effective_inputs as effective_inputs
    from renku_store.blueprint import load_yaml_mapping as load_yaml_mapping
    from renku_store.blueprint import parse_blueprint as parse_blueprint
    from renku_store.blueprint import parse_graph as parse_graph
    from renku_store.blueprint import parse_value as parse_value
    from renku_store.calls import FileItem as FileItem
    from renku_store.calls import Item as Item
    from renku_store.calls import Job as Job
    from renku_store.calls import JobContext as JobContext
    from renku_store.calls import OutputSpec as OutputSpec
    from renku_store.calls import Produce as Produce
    from renku_store.calls import Produced as Produced
    from renku_store.calls import ValueItem as ValueItem
    from renku_store.clock import Clock as Clock
    from renku_store.clock import SystemClock as SystemClock
    from renku_store.commit import PublishedRevision as PublishedRevision
    from renku_store.compaction import CompactionProblem as CompactionProblem
    from renku_store.compaction import CompactionProgress as CompactionProgress
    from renku_store.compaction import CompactionReport as CompactionReport
    from renku_store.compaction import compact as compact
    from renku_store.conclusion import RunReport as RunReport
    from renku_store.differences import Changes as Changes
    from renku_store.differences import RevisionDiff as RevisionDiff
    from renku_store.differences import diff_revisions as diff_revisions
    from renku_store.edits import movie_blueprint as movie_blueprint
    from renku_store.edits import set_inputs as set_inputs
    from renku_store.errors import BadInputError as BadInputError
    from renku_store.errors import BlobCorruptError as BlobCorruptError
    from renku_store.errors import BlobMissingError as BlobMissingError
    from renku_store.errors import BlueprintError as BlueprintError
    from renku_store.errors import BudgetExceededError as BudgetExceededError
    from renku_store.errors import ConflictError as ConflictError
    from renku_store.errors import DamageError as DamageError
    from renku_store.errors import GraphError as GraphError
    from renku_store.errors import InputConflictError as InputConflictError
    from renku_store.errors import InvalidIdError as InvalidIdError
    from renku_store.errors import InvalidValueError as InvalidValueError
    from renku_store.errors import JobError as JobError
    from renku_store.errors import LeaseLostError as LeaseLostError
    from renku_store.errors import ManifestConflictError as ManifestConflictError
    from renku_store.errors import MigrationError as MigrationError
    from renku_store.errors import NotFoundError as NotFoundError
    from renku_store.errors import ProducerError as ProducerError
    from renku_store.errors import RateLimitedError as RateLimitedError
    from renku_store.errors import RevisionExistsError as RevisionExistsError
    from renku_store.errors import StalePlanError as StalePlanError
    from renku_store.errors import StoreError as StoreError
    from renku_store.errors import StoreUnavailableError as StoreUnavailableError
    from renku_store.errors import UnsafeDriverError as UnsafeDriverError
    from renku_store.errors import UnsupportedFormatError as UnsupportedFormatError
    from renku_store.errors import UnusableError as UnusableError
    from renku_store.events import EventLog as EventLog
    from renku_store.export import ExportReport as ExportReport
    from renku_store.export import export_revision as export_revision
    from renku_store.fsck import CheckProgress as CheckProgress
    from renku_store.fsck import CheckReport as CheckReport
    from renku_store.fsck import Problem as Problem
    from renku_store.fsck import check_movie as check_movie
    from renku_store.fsck import repair_movie as repair_movie
    from renku_store.gc import CollectedBlob as CollectedBlob
    from renku_store.gc import CollectionProgress as CollectionProgress
    from renku_store.gc import CollectionReport as CollectionReport
    from renku_store.gc import collect as collect
    from renku_store.hashing import canonical_json as canonical_json
    from renku_store.hashing import hash_bytes as hash_bytes
    from renku_store.hashing import hash_value as hash_value
    from renku_store.movie import ManifestService as ManifestService
    from renku_store.movie import Movie as Movie
    from renku_store.outlook import plan_movie as plan_movie
    from renku_store.planner import Planner as Planner
    from renku_store.plans import PlanStore as PlanStore
    from renku_store.producers.demo.sample import sample_blueprint as sample_blueprint
    from renku_store.producers.demo.sample import sample_inputs as sample_inputs
    from renku_store.producers.registry import ProducerRegistry as ProducerRegistry
    from renku_store.producers.registry import default_registry as default_registry
    from renku_store.rebuild import RebuildProgress as RebuildProgress
    from renku_store.rebuild import RebuildReport as RebuildReport
    from renku_store.records._base import Json as Json
    from renku_store.records.blob import BlobRef as BlobRef
    from renku_store.records.events import ArtefactEvent as ArtefactEvent
    from renku_store.records.events import InputEvent as InputEvent
    from renku_store.records.events import JobFailure as JobFailure
    from renku_store.records.events import RunEvent as RunEvent
    from renku_store.records.events import Trace as Trace
    from renku_store.records.graph import GraphEdge as GraphEdge
    from renku_store.records.graph import GraphInput as GraphInput
    from renku_store.records.graph import GraphNode as GraphNode
    from renku_store.records.graph import GraphOutput as GraphOutput
    from renku_store.records.graph import ProducerGraph as ProducerGraph
    from renku_store.records.graph import Reference as Reference
    from renku_store.records.manifest import ArtefactValue as ArtefactValue
    from renku_store.records.manifest import Expiry as Expiry
    from renku_store.records.manifest import Manifest as Manifest
    from renku_store.records.manifest import ManifestArtefact as ManifestArtefact
    from renku_store.records.manifest import ManifestInput as ManifestInput
    from renku_store.records.manifest import ManifestStub as ManifestStub
    from renku_store.records.manifest import Metrics as Metrics
    from renku_store.records.manifest import Pointer as Pointer
    from renku_store.records.manifest import Tag as Tag
    from renku_store.records.plan import Choices as Choices
    from renku_store.records.plan import CostRange as CostRange
    from renku_store.records.plan import ExecutionPlan as ExecutionPlan
    from renku_store.records.plan import PlannedJob as PlannedJob
    from renku_store.records.plan import Reason as Reason
    from renku_store.records.run import JobResult as JobResult
    from renku_store.records.run import RunProgress as RunProgress
    from renku_store.records.run import RunRecord as RunRecord
    from renku_store.regenerate import OnConflict as OnConflict
    from renku_store.regenerate import run_movie as run_movie
    from renku_store.restoration import rollback as rollback
    from renku_store.retention import KeptRevision as KeptRevision
    from renku_store.retention import PrunedRevision as PrunedRevision
    from renku_store.retention import PruneReport as PruneReport
    from renku_store.retention import RestoreReport as RestoreReport
    from renku_store.retention import RetentionPolicy as RetentionPolicy
    from renku_store.retention import TaggedRevision as TaggedRevision
    from renku_store.retention import prune as prune
    from renku_store.retention import restore_expired as restore_expired
    from renku_store.retention import tag_revision as tag_revision
    from renku_store.retention import untag as untag
    from renku_store.running.adaptive import AdaptiveLimiter as AdaptiveLimiter
    from renku_store.running.concurrency import ConcurrencyLimiter as ConcurrencyLimiter
    from renku_store.running.concurrency import resolve_concurrency as resolve_concurrency
    from renku_store.running.pacing import Pacer as Pacer
    from renku_store.running.pools import ResourcePool as ResourcePool
    from renku_store.running.runner import Runner as Runner
    from renku_store.running.runner import RunResult as RunResult
    from renku_store.running.wrapping import RetryPolicy as RetryPolicy
    from renku_store.running.wrapping import with_adaptive_concurrency as with_adaptive_concurrency
    from renku_store.running.wrapping import with_concurrency as with_concurrency
    from renku_store.running.wrapping import with_rate_limit as with_rate_limit
    from renku_store.running.wrapping import with_retry as with_retry
    from renku_store.running.wrapping import with_timeout as with_timeout
    from renku_store.runs import MovieStatus as MovieStatus
    from renku_store.runs import abandon as abandon
    from renku_store.runs import cancel as cancel
    from renku_store.runs import movie_status as movie_status
    from renku_store.stats import MovieStats as MovieStats
    from renku_store.stats import RevisionGrowth as RevisionGrowth
    from renku_store.stats import SpentCosts as SpentCosts
    from renku_store.stats import movie_stats as movie_stats
    from renku_store.store import MovieSummary as MovieSummary
    from renku_store.store import Store as Store
    from renku_store.store import open_store as open_store
    from renku_store.tags import TagStore as TagStore

_NAMES = {
    "blobs": "BlobStore",
    "blueprint": "Blueprint check_input effective_inputs load_yaml_mapping parse_blueprint parse_graph parse_value",
    "calls": "FileItem Item Job JobContext OutputSpec Produce Produced ValueItem",
    "clock": "Clock SystemClock",
    "commit": "PublishedRevision",
    "compaction": "CompactionProblem CompactionProgress CompactionReport compact",
    "conclusion": "RunReport",
    "differences": "Changes RevisionDiff diff_revisions",
    "edits": "movie_blueprint set_inputs",
    "errors": (
        "BadInputError BlobCorruptError BlobMissingError BlueprintError BudgetExceededError ConflictError "
        "DamageError GraphError InputConflictError InvalidIdError InvalidValueError JobError LeaseLostError "
        "ManifestConflictError MigrationError NotFoundError ProducerError RateLimitedError "
        "RevisionExistsError StalePlanError StoreError StoreUnavailableError UnsafeDriverError "
        "UnsupportedFormatError UnusableError"
    ),
    "events": "EventLog",
    "export": "ExportReport export_revision",
    "fsck": "CheckProgress CheckReport Problem check_movie repair_movie",
    "gc": "CollectedBlob CollectionProgress CollectionReport collect",
    "hashing": "canonical_json hash_bytes hash_value",
    "movie": "ManifestService Movie",
    "outlook": "plan_movie",
    "planner": "Planner",
    "plans": "PlanStore",
    "producers.demo.sample": "sample_blueprint sample_inputs",
    "producers.registry": "ProducerRegistry default_registry",
    "rebuild": "RebuildProgress RebuildReport",
    "records._base": "Json",
    "records.blob": "BlobRef",
    "records.events": "ArtefactEvent InputEvent JobFailure RunEvent Trace",
    "records.graph": "GraphEdge GraphInput GraphNode GraphOutput ProducerGraph Reference",
    "records.manifest": "ArtefactValue Expiry Manifest ManifestArtefact ManifestInput ManifestStub Metrics Pointer Tag",
    "records.plan": "Choices CostRange ExecutionPlan PlannedJob Reason",
    "records.run": "JobResult RunProgress RunRecord",
    "regenerate": "OnConflict run_movie",
    "retention": (
        "KeptRevision PruneReport PrunedRevision RestoreReport RetentionPolicy TaggedRevision prune "
        "restore_expired tag_revision untag"
    ),
    "restoration": "rollback",
    "running.adaptive": "AdaptiveLimiter",
    "running.concurrency": "ConcurrencyLimiter resolve_concurrency",
    "running.pacing": "Pacer",
    "running.pools": "ResourcePool",
    "running.runner": "RunResult Runner",
    "running.wrapping": (
        "RetryPolicy with_adaptive_concurrency with_concurrency with_rate_limit with_retry with_timeout"
    ),
    "runs": "MovieStatus abandon cancel movie_status",
    "stats": "MovieStats RevisionGrowth SpentCosts movie_stats",
    "store": "MovieSummary Store open_store",
    "tags": "TagStore",
}
"""Room -> the public names that it gives."""

_ROOMS = {name: room for room, names in _NAMES.items() for name in names.split()}

__all__ = [
    "AdaptiveLimiter",
    "ArtefactEvent",
    "ArtefactValue",
    "BadInputError",
    "BlobCorruptError",
    "BlobMissingError",
    "BlobRef",
    "BlobStore",
    "Blueprint",
    "BlueprintError",
    "BudgetExceededError",
    "Changes",
    "CheckProgress",
    "CheckReport",
    "Choices",
    "Clock",
    "CollectedBlob",
    "CollectionProgress",
    "CollectionReport",
    "CompactionProblem",
    "CompactionProgress",
    "CompactionReport",
    "ConcurrencyLimiter",
    "ConflictError",
    "CostRange",
    "DamageError",
    "EventLog",
    "ExecutionPlan",
    "Expiry",
    "ExportReport",
    "FileItem",
    "GraphEdge",
    "GraphError",
    "GraphInput",
    "GraphNode",
    "GraphOutput",
    "InputConflictError",
    "InputEvent",
    "InvalidIdError",
    "InvalidValueError",
    "Item",
    "Job",
    "JobContext",
    "JobError",
    "JobFailure",
    "JobResult",
    "Json",
    "KeptRevision",
    "LeaseLostError",
    "Manifest",
    "ManifestArtefact",
    "ManifestConflictError",
    "ManifestInput",
    "ManifestService",
    "ManifestStub",
    "Metrics",
    "MigrationError",
    "Movie",
    "MovieStats",
    "MovieStatus",
    "MovieSummary",
    "NotFoundError",
    "OnConflict",
    "OutputSpec",
    "Pacer",
    "PlanStore",
    "PlannedJob",
    "Planner",
    "Pointer",
    "Problem",
    "Produce",
    "Produced",
    "ProducerError",
    "ProducerGraph",
    "ProducerRegistry",
    "PruneReport",
    "PrunedRevision",
    "PublishedRevision",
    "RateLimitedError",
    "Reason",
    "RebuildProgress",
    "RebuildReport",
    "Reference",
    "ResourcePool",
    "RestoreReport",
    "RetentionPolicy",
    "RetryPolicy",
    "RevisionDiff",
    "RevisionExistsError",
    "RevisionGrowth",
    "RunEvent",
    "RunProgress",
    "RunRecord",
    "RunReport",
    "RunResult",
    "Runner",
    "SpentCosts",
    "StalePlanError",
    "Store",
    "StoreError",
    "StoreUnavailableError",
    "SystemClock",
    "Tag",
    "TagStore",
    "TaggedRevision",
    "Trace",
    "UnsafeDriverError",
    "UnsupportedFormatError",
    "UnusableError",
    "ValueItem",
    "__version__",
    "abandon",
    "cancel",
    "canonical_json",
    "check_input",
    "check_movie",
    "collect",
    "compact",
    "default_registry",
    "diff_revisions",
    "effective_inputs",
    "export_revision",
    "hash_bytes",
    "hash_value",
    "load_yaml_mapping",
    "movie_blueprint",
    "movie_stats",
    "movie_status",
    "open_store",
    "parse_blueprint",
    "parse_graph",
    "parse_value",
    "plan_movie",
    "prune",
    "repair_movie",
    "resolve_concurrency",
    "restore_expired",
    "rollback",
    "run_movie",
    "sample_blueprint",
    "sample_inputs",
    "set_inputs",
    "tag_revision",
    "untag",
    "with_adaptive_concurrency",
    "with_concurrency",
    "with_rate_limit",
    "with_retry",
    "with_timeout",
]


def __getattr__(name: str) -> object:
    if name not in _ROOMS:
        raise AttributeError(f"module 'renku_store' has no attribute {name!r}")
    value = getattr(import_module(f"renku_store.{_ROOMS[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
