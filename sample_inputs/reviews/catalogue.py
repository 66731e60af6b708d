"""The product catalogue that agents can query; a real one would use a database."""

from crewrun.tools import tool

PRODUCTS = {
    "KT-100": "Brisk kettle, 1.7 l, steel, keeps 60 to 100 °C",
    "MX-220": "Whirl hand mixer, 5 speeds, 450 W",
    "TS-310": "Ember toaster, 4 slots, defrosts",
    "GR-050": "Grind coffee mill, conical burrs, 40 settings",
}


@tool("look_up_product")
def look_up(sku: str) -> str:
    """Look a product up in the catalogue by its SKU, such as KT-100."""
    return PRODUCTS.get(sku.strip().upper(), f"There is no product {sku!r}. SKUs are {', '.join(PRODUCTS)}.")
