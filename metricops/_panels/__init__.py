"""The engine: passes over panels of rows. It knows no loss and no framework.

A panel is some anchors against all candidates, so the row of scores of an anchor is
whole inside it, and the matrix of all scores is never held. An `Objective` says what a
row's loss is and what its derivative by the scores is; the engine does the rest:
panels, matrix products, both directions, one set by halves, and the chain rule through
temperature, length and penalty.
"""
