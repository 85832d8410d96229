"""The commands, one module a group; `renku_cli.table` says which lives where and loads it when it is called."""
