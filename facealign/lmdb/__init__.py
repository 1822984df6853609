"""The LMDBs for training: how their samples are made, written and read."""
