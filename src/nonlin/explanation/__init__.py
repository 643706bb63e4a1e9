"""The gallery, the explorer and the labs: a static site, made from the catalogue's formulas."""

from nonlin.explanation.site import ExploreError as ExploreError, write_site as write_site
