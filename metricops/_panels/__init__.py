"""The engine: passes over panels of rows. It knows no loss and no framework.

An `Objective` says what a row of scores costs, and the derivative by the scores. The
engine does the rest: panels, matrix products, both directions, one set by halves, and
the chain rule through temperature, length and penalty. Its words:

- A *panel* holds the scores of some anchors with all candidates. The matrix of all
  scores is never held.
- A row of scores is *closed* once all of it has been seen, so that its loss is known.
  In a panel rows are closed at once; columns are closed after the last panel.
- *Sums* are what is kept of a row or column that is seen in parts; for a softmax its
  peak and its partition. The *closing* numbers are what follows from them for the
  derivative.
- A *direction* is anchors against candidates, or candidates against anchors.
- *One set* means that the candidates are the anchors.
- *Own* is what belongs to a row's only positive, at its own position.
"""
