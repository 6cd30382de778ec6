"""What the pages on public platforms and tunnels say, done."""
