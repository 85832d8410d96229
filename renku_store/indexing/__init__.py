"""What the index says of published revisions and ended runs: made of the objects, and kept up with them."""

from renku_store.indexing.booking import names_run as names_run
from renku_store.indexing.elsewhere import blobs_of as blobs_of
from renku_store.indexing.elsewhere import told_by as told_by
from renku_store.indexing.index import Indexer as Indexer
