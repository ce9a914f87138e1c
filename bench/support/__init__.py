"""What the benches share: the context, statistics, tables, plots, and servers with their clients."""
