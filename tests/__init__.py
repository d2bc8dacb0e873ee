"""From pure to real: rule, wire, table, broker; house rules; benchmarks; the product broken on purpose."""
