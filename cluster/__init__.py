"""Submit the programs to a Ray cluster; nothing else imports this."""
