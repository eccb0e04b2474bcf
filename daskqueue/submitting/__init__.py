"""From a call to a record batch on its way to a queue: options, routing, batches that form while calls come in."""
