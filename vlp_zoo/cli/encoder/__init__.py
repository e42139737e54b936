"""Commands about one encoder: what it sees, what it gives, and its way in and out."""
