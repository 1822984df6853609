"""The report as one HTML page: evaluations and training logs in, the page's text out."""
