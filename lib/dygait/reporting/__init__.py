"""The report: one HTML file that shows what a test found, with tables for a paper beside it."""
