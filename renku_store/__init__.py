"""Renku Store: content-addressed builds for AI-made movies.

The public names; each room is loaded when the first of its names is asked for. Type checkers read `__init__.pyi`.
"""

from __future__ import annotations

from importlib import import_module

_NAMES = {
    "_version": "__version__",
    "accepting": "Accepted accept_results",
    "blobs": "BlobStore",
    "blueprint": "Blueprint check_input effective_inputs load_yaml_mapping parse_blueprint parse_graph parse_value",
    "calls": "FileItem Item Job JobContext OutputSpec Part Produce Produced RememberedCall ValueItem",
    "clock": "Clock SystemClock",
    "commit": "PublishedRevision",
    "compaction": "CompactionProblem CompactionProgress CompactionReport compact",
    "copying": "CopyProgress CopyReport MovieCopy UncopiedObject copy_movies",
    "costs": "Prices budget_warnings",
    "differences": "Changes RevisionDiff diff_revisions",
    "drivers.base": "Guarantees",
    "drivers.examination": "probe_root",
    "drivers.probe": "ProbeReport",
    "durations": "run_seconds",
    "editing": "edit_artefact undo_edit",
    "edits": "movie_blueprint set_inputs",
    "errors": (
        "BadInputError BlobCorruptError BlobMissingError BlueprintError BudgetExceededError ConflictError "
        "DamageError GraphError InputConflictError InvalidIdError InvalidValueError JobError LeaseLostError "
        "ManifestConflictError MigrationError NotFoundError ProducerError RateLimitedError "
        "RevisionExistsError StalePlanError StoreError StoreUnavailableError UnsafeDriverError "
        "UnsupportedFormatError UnusableError"
    ),
    "events": "EventLog",
    "export": "ExportReport export_revision update_view",
    "filesystem": "RenkuFileSystem",
    "following": "follow_run",
    "fsck": "CheckProgress CheckReport Problem check_movie repair_movie",
    "gantt": "GanttBar RunGantt run_gantt",
    "gc": "CollectedBlob CollectionProgress CollectionReport collect",
    "hashing": "canonical_json hash_bytes hash_value",
    "migration": ("MigratedBytes MigratedPath MigrationProgress MigrationReport MovieMigration UnmigratedItem migrate"),
    "movie": "ManifestService Movie",
    "outlook": "plan_movie",
    "outset": "Outset set_out",
    "planner": "Planner",
    "plans": "PlanStore",
    "producers.clients": "ClientCache",
    "producers.demo.sample": "sample_blueprint sample_inputs",
    "producers.openai": "OpenAIHandler",
    "producers.polling": "polled_call",
    "producers.process": "kill_programs",
    "producers.registry": "ProducerRegistry default_registry",
    "producers.secrets": "SecretResolver",
    "producers.warming": "WarmStart",
    "rebuild": "RebuildProgress RebuildReport",
    "records._base": "Json Record",
    "records.blob": "BlobRef",
    "records.events": "ArtefactEvent InputEvent JobFailure RunEvent Trace",
    "records.graph": "CostRule GraphEdge GraphInput GraphNode GraphOutput ProducerGraph Reference",
    "records.ids": "check_movie_id",
    "records.manifest": "ArtefactValue Expiry Manifest ManifestArtefact ManifestInput ManifestStub Metrics Pointer Tag",
    "records.plan": "Choices CostRange ExecutionPlan PlannedJob Reason",
    "records.run": "JobResult RunProgress RunRecord RunReport",
    "regenerate": "OnConflict run_movie",
    "retention": (
        "KeptRevision PruneReport PrunedRevision RestoreReport RetentionPolicy TaggedRevision prune "
        "restore_expired tag_revision untag"
    ),
    "restoration": "rollback",
    "running.adaptive": "AdaptiveLimiter",
    "running.concurrency": "ConcurrencyLimiter",
    "running.limit_keys": "LimitUse",
    "running.limit_rules": "LimitRule read_limits read_retry",
    "running.limits": "Limits with_limits",
    "running.pacing": "Pacer",
    "running.pools": "ResourcePool",
    "running.runner": "RunResult Runner",
    "running.shares": "resolve_concurrency",
    "running.wrapping": (
        "RetryPolicy with_adaptive_concurrency with_concurrency with_rate_limit with_retry with_timeout"
    ),
    "runs": "MovieStatus abandon cancel movie_status",
    "stats": "MovieStats RevisionGrowth SpentCosts movie_stats",
    "store": "MovieSummary Store forget_memory open_store",
    "tags": "TagStore",
    "takes": "Take choose_take list_takes take_value",
}
"""Room -> the public names that it gives."""

_ROOMS = {name: room for room, names in _NAMES.items() for name in names.split()}

__all__ = sorted(_ROOMS)  # noqa: PLE0605  # pyright: ignore[reportUnsupportedDunderAll] (it reads the stub)


def __getattr__(name: str) -> object:
    if name not in _ROOMS:
        raise AttributeError(f"module 'renku_store' has no attribute {name!r}")
    value = getattr(import_module(f"renku_store.{_ROOMS[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
