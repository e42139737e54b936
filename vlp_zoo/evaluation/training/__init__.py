"""What all protocols that train share: learner, plan, loop, decoders."""
