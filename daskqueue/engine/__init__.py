"""Commands against the log: facts are durable before a reply leaves."""
