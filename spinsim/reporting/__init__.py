"""From records to what people and programs read: metrics, tables, timeline, terminal, HTML report."""
