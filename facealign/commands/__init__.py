"""The programs: flags in, files and printed lines out; one module a verb of `facealign`."""
