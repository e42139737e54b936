"""Logistic regressions and softmaxes, solved exactly for a path of strengths."""
