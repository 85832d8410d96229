"""Retention: which revisions stay, and why; the trash that the others go to; and the names that protect some."""

from renku_store.retention.policy import RetentionPolicy as RetentionPolicy
from renku_store.retention.pruning import prune as prune
from renku_store.retention.reports import KeptRevision as KeptRevision
from renku_store.retention.reports import PrunedRevision as PrunedRevision
from renku_store.retention.reports import PruneReport as PruneReport
from renku_store.retention.reports import RestoreReport as RestoreReport
from renku_store.retention.reports import TaggedRevision as TaggedRevision
from renku_store.retention.restoring import restore_expired as restore_expired
from renku_store.retention.tagging import tag_revision as tag_revision
from renku_store.retention.tagging import untag as untag
