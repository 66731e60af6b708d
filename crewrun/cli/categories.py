"""The flags that name a category of failures."""

from crewrun.errors import Category, UsageError, suggest


def category_named(flag: str, name: str) -> Category:
    """The category that `flag` names. Raises UsageError."""
    categories = [str(category) for category in Category]
    if name not in categories:
        raise UsageError(
            f"{flag} {name!r}: no such category{suggest(name, categories)}; one of {', '.join(categories)}"
        )
    return Category(name)
