"""How a report is shown: figures, tables, charts, sentences."""
