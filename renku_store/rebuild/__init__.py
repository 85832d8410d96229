"""The database of a movie made anew from the objects, and who may have the movie open meanwhile: nobody.

Whoever opens a movie asks whether that has to be done; what does it is loaded where it has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from renku_store.late import late_names
from renku_store.rebuild.placing import finish_rebuild as finish_rebuild
from renku_store.rebuild.placing import is_unfinished as is_unfinished
from renku_store.rebuild.turns import OPEN_LOCK as OPEN_LOCK
from renku_store.rebuild.turns import alone as alone
from renku_store.rebuild.turns import next_epoch as next_epoch

if TYPE_CHECKING:
    from renku_store.rebuild.database import RebuildProgress as RebuildProgress
    from renku_store.rebuild.database import RebuildReport as RebuildReport
    from renku_store.rebuild.database import fill_index as fill_index
    from renku_store.rebuild.database import rebuild_database as rebuild_database
else:
    __getattr__ = late_names(__name__, {"database": "RebuildProgress RebuildReport fill_index rebuild_database"})
