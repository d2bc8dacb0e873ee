"""Other systems that do the gate's job, each as its users would write it; run by `make bench ARGS="--only peers"`."""
