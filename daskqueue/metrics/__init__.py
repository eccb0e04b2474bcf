"""What queues and consumers tell of themselves: one table of metrics, and how they come to Prometheus."""
