"""Written reports: a decoder on an encoder, and how texts are judged."""
