"""What `facealign align` reads and writes: images, the growing file of results, formats, contact sheets."""
