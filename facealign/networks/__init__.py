"""The networks and their training recipes as prototxt."""
