"""The page and its JSON API: what the store knows, live, and the few orders that a person gives."""
