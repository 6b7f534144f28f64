"""What knows nothing of networks: errors, commands, files, tables, intervals."""
