"""The synthetic chest world: anatomy and pathology drawn, and the report about them."""
