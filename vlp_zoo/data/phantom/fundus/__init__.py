"""The synthetic fundus world: eyes and their diseases drawn, and the report about them."""
