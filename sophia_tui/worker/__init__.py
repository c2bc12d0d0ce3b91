"""The process that takes jobs, starts and watches runs."""
