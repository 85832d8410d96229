"""Movies in older layouts, made at random with every irregularity that such folders have, and what is expected of them.

    expected = build_revision_folder(path, Random(7), irregularities={"gaps", "torn"})
    expected = build_manifest_logs(path, Random(7))

`renku_store.testing.old_folders.strategies` has the same for hypothesis.
"""

from renku_store.testing.old_folders.expectations import ExpectedMovie, ExpectedRevision
from renku_store.testing.old_folders.making import IRREGULARITIES
from renku_store.testing.old_folders.manifest_logs import build_manifest_logs
from renku_store.testing.old_folders.revision_folders import build_revision_folder

__all__ = ["IRREGULARITIES", "ExpectedMovie", "ExpectedRevision", "build_manifest_logs", "build_revision_folder"]
