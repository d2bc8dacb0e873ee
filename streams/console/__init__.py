"""The console for support: looks an account up and shows the gate at work, in a browser. It reads, and nothing else."""
