"""Report text: sections, sentences, entities and distilled context."""
