"""The database of a movie made anew from the objects, and who may have the movie open meanwhile: nobody."""

from renku_store.rebuild.database import RebuildProgress as RebuildProgress
from renku_store.rebuild.database import RebuildReport as RebuildReport
from renku_store.rebuild.database import fill_index as fill_index
from renku_store.rebuild.database import rebuild_database as rebuild_database
from renku_store.rebuild.placing import finish_rebuild as finish_rebuild
from renku_store.rebuild.placing import is_unfinished as is_unfinished
from renku_store.rebuild.turns import OPEN_LOCK as OPEN_LOCK
from renku_store.rebuild.turns import alone as alone
from renku_store.rebuild.turns import next_epoch as next_epoch
