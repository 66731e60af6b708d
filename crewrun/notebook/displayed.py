"""`Displayed`: the base of classes whose objects a notebook shows as a card."""

from crewrun.notebook.card import Card


class Displayed:
    """Something with a card. Jupyter looks for the two methods."""

    def _crewrun_card(self) -> Card:
        raise NotImplementedError

    def _repr_html_(self) -> str:
        """The card as HTML that runs and fetches nothing, readable on a light and on a dark page."""
        from crewrun.notebook.html import as_html

        return as_html(self._crewrun_card())

    def _repr_markdown_(self) -> str:
        """The card as Markdown, without the picture."""
        from crewrun.notebook.markdown import as_markdown

        return as_markdown(self._crewrun_card())
