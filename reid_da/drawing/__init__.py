"""Drawn pedestrians, where they stand and the cameras that see them: what the synthetic worlds are made of.

wardrobe (who wears what) -> figure (lengths and poses) -> pedestrians (a person in a pose) -> pictures (a person in a scene of
`scenes`) -> camera_styles (as a camera sees it).
"""
