"""Commands about stored results: nothing is trained or encoded."""
