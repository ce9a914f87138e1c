"""What the demonstrations share: a server to start, an HTTP client, the steps, a comparison, the printed report."""
