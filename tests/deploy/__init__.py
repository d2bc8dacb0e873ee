"""What people deploy beside the gate: alerts, dashboard, runbook."""
