"""Collection: what nothing needs any more is condemned, then swept, while others go on writing."""

from renku_store.gc.collecting import collect as collect
from renku_store.gc.reports import CollectedBlob as CollectedBlob
from renku_store.gc.reports import CollectionProgress as CollectionProgress
from renku_store.gc.reports import CollectionReport as CollectionReport
