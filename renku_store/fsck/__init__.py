"""Check and repair: every invariant by its number; damage goes to quarantine and comes back from a copy or a run."""

from renku_store.fsck.checking import check_movie as check_movie
from renku_store.fsck.repairing import repair_movie as repair_movie
from renku_store.fsck.reports import CheckProgress as CheckProgress
from renku_store.fsck.reports import CheckReport as CheckReport
from renku_store.fsck.reports import Problem as Problem
