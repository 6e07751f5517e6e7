"""Where pixels lie on the ground."""
