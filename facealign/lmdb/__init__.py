"""The LMDBs for training: making, writing and reading their samples."""
