"""The command line programs, one module per verb of `facealign`: options in, files and printed lines out."""
