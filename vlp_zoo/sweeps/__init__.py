"""Many runs of one command: plan, execution, search, and what came out."""
