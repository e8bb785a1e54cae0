"""The report: one HTML file of the results of tests, with CSV, LaTeX and JSON tables beside it."""
