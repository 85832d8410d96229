"""What the index says of published revisions and ended runs: made of the objects, and kept up with them."""

from renku_store.indexing.index import Indexer as Indexer
from renku_store.indexing.index import names_run as names_run
