# shellcheck shell=bash
# What the core of a server set-up says: flags, account, packages, env file, application, summary.
