"""One module per metric: `run(lab, size)` measures it beside its anchor and returns rows of the table with raw samples."""
